// SPDX-License-Identifier: Apache-2.0
// Writes rows to a Kafka topic.
#include "encoder.hpp"
#include "options.hpp"
#include "producer.hpp"

#include <pipeline/plugin.hpp>

#include <kafka_common/client.hpp>
#include <kafka_common/properties.hpp>

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <vector>

namespace kafka {

namespace {

constexpr std::array owned_properties{
    owned_property{"bootstrap.servers", "use the option 'brokers'"},
    owned_property{"metadata.broker.list", "use the option 'brokers'"},
    owned_property{"compression.codec", "use the option 'compression'"},
    owned_property{"compression.type", "use the option 'compression'"},
    owned_property{"message.timeout.ms", "use the option 'delivery_timeout'"},
    owned_property{"delivery.timeout.ms", "use the option 'delivery_timeout'"},
    owned_property{"transactional.id", "this sink does not write in transactions"},
    owned_property{"delivery.report.only.error", "the sink waits for the report of each record"},
};

// A refusal of this one message, whatever is sent with it and whenever it is sent.
bool is_of_the_message(rd_kafka_resp_err_t code) {
  return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || code == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
         code == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
}

std::string_view name_of(codec c) {
  for (const auto& [name, value] : choices(codec{}))
    if (value == c) return name;
  return "none";
}

}  // namespace

pl::option_table<sink_options> sink_options::table() {
  using o = sink_options;
  return {
      pl::option(&o::brokers, "brokers", "Addresses of some brokers of the cluster: host:port, separated by commas.")
          .required()
          .example("kafka-1:9092,kafka-2:9092"),
      pl::option(&o::topic, "topic", "Topic to write to; it must exist.").required().example("device-alerts"),
      pl::option(&o::key, "key",
                 "Key of each record, with columns in braces; records with one key stay in order, in one partition. "
                 "Without it records have no key and spread over the partitions.")
          .example("'users/{user_id}/devices/{device_id}'"),
      pl::option(
          &o::format, "format",
          "json: the row as a JSON object, columns that are null left out; raw: the bytes of the column 'value', "
          "as they are (null makes a tombstone)."),
      pl::option(&o::headers, "headers", "Headers of each record: name, and text with columns in braces.")
          .example("{severity: '{severity}'}"),
      pl::option(&o::time, "time", "Column with the record's time; the time of sending where left out or null.")
          .example("time"),
      pl::option(&o::compression, "compression", "Codec that whole sets of records are compressed with."),
      pl::option(&o::delivery_timeout, "delivery_timeout",
                 "How long to try before a write counts as failed; the host then tries again, for as long as it takes.")
          .range(1, 3600),
      tls_option(&o::tls),
      sasl_option(&o::sasl),
      pl::option(&o::properties, "properties", "Any property of librdkafka, over this plugin's own choice.")
          .secret()
          .example("{linger.ms: 20}"),
  };
}

class kafka_sink final : public pl::sink, public pl::columns_aware {
 public:
  using options = sink_options;
  static pl::description describe() {
    return {.name = "kafka_sink",
            .doc =
                "Writes rows to a Kafka topic, as JSON or as they are.\n"
                "At least once: a write is done when the brokers have acknowledged every record; a write that failed "
                "half-way is repeated whole, and what had arrived is then there twice.",
            .example =
                "plugin: kafka_sink\nfrom: alerts\nbrokers: 127.0.0.1:9092\ntopic: device-alerts\n"
                "key: 'users/{user_id}/devices/{device_id}'\n"};
  }

  kafka_sink(sink_options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        encoder_(options_, faults_),
        repeated_(
            ctx.counter("kafka_undelivered_total", "Records that no broker acknowledged in time; written again")) {
    bool well = check_brokers(ctx_, options_.brokers);
    if (const auto fault = topic_name_fault(options_.topic); !fault.empty()) faults_.emplace_back("topic", fault);
    for (const auto& [option, fault] : faults_) ctx_.option_error(option, fault);
    kafka::properties properties(ctx_);
    well = set_security(properties, options_.tls, options_.sasl, options_.properties, ctx_) && well;
    well = properties.set_all(options_.properties, owned_properties) && well;
    if (!well || !faults_.empty()) throw pl::invalid_options{};
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in != nullptr)
      if (auto bound = encoder_.bind(*in); !bound.ok()) return bound.why();
    return nullptr;
  }

  pl::result<void> check() override {
    auto opened = open();
    if (!opened.ok()) return opened.why();
    return check_cluster(*opened.value());
  }

  pl::result<void> start() override {
    auto opened = open();
    if (!opened.ok()) return opened.why();
    if (auto fits = check_cluster(*opened.value()); !fits.ok()) return fits;
    producer_ = std::move(opened).value();
    return {};
  }

  pl::result<void> stop() override {
    producer_.reset();
    return {};
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    for (const auto batch : batches)
      if (auto bound = encoder_.bind(batch.schema()); !bound.ok() && batch.selected() > 0) return bound;
    if (auto ready = ready_to_send(); !ready.ok()) return ready;
    std::size_t sent = 0;
    for (const auto batch : batches) {
      if (batch.selected() == 0) continue;
      (void)encoder_.bind(batch.schema());  // succeeded above
      for (const auto row : batch.selection()) producer_->send(sent++, encoder_.encode(batch, row));
    }
    return conclude(batches, producer_->finish());
  }

 private:
  // Of a write, so far: what the brokers will never take, and what they may take later.
  struct outcome {
    std::vector<undelivered> refused, unacknowledged;
  };

  pl::result<std::unique_ptr<producer>> open() const {
    if (auto readable = check_files(options_.tls); !readable.ok()) return readable.why();
    kafka::properties to(ctx_);
    to.set("bootstrap.servers", options_.brokers);
    to.set("client.id", "pipeline-host-" + std::string(ctx_.pipeline()) + "." + std::string(ctx_.node()));
    to.set("enable.idempotence", "true");
    to.set("compression.codec", name_of(options_.compression));
    to.set("partitioner", "murmur2_random");  // as Java's clients: one key, one partition, whoever writes
    to.set("linger.ms", "5");
    to.set("queue.buffering.max.messages", "1000000");
    constexpr std::uint64_t least = 4096, most = 2'000'000;
    to.set("queue.buffering.max.kbytes", std::to_string(std::clamp(ctx_.memory_limit() / 1024, least, most)));
    to.set("message.timeout.ms",
           std::to_string(std::chrono::ceil<std::chrono::milliseconds>(options_.delivery_timeout).count()));
    to.set("socket.keepalive.enable", "true");
    to.set("reconnect.backoff.max.ms", "2000");
    (void)set_security(to, options_.tls, options_.sasl, options_.properties, ctx_);  // checked when we were made
    (void)to.set_all(options_.properties, owned_properties);
    return producer::open(to.copy(), options_.topic, ctx_);
  }

  pl::result<void> check_cluster(const producer& with) const {
    return check_topics(with.handle(), options_.brokers, std::span(&options_.topic, 1), std::chrono::seconds(5));
  }

  pl::result<void> ready_to_send() {
    if (producer_ && !producer_->broken()) return {};
    producer_.reset();
    auto opened = open();
    if (!opened.ok()) return opened.why();
    producer_ = std::move(opened).value();
    return {};
  }

  // Rows are rejected only once all others have arrived: a write that is repeated must not reject them twice.
  pl::result<void> conclude(const pl::batch_list& batches, const std::vector<undelivered>& failed) {
    if (failed.empty()) return {};
    outcome so_far;
    sort_out(batches, failed, so_far);
    if (!so_far.unacknowledged.empty()) return undone(so_far.unacknowledged);
    for (const auto& r : so_far.refused) {
      const auto [batch, row] = place_of(batches, r.row);
      ctx_.reject(batch, row, explain(batches, r));
    }
    return {};
  }

  // A broker refuses a whole set of records for one of them. Which it is shows when the set is sent again in halves.
  void sort_out(const pl::batch_list& batches, const std::vector<undelivered>& failed, outcome& to) {
    std::vector<std::size_t> again;
    for (const auto& f : failed) {
      if (is_of_the_message(f.why))
        again.push_back(f.row);
      else
        to.unacknowledged.push_back(f);
    }
    if (again.empty()) return;
    if (warnings_.allows("halves"))
      ctx_.warn("the broker refuses records for topic '" + options_.topic +
                "' as too large or invalid; what it refused is sent again in halves. Where the topic's "
                "max.message.bytes is smaller than 1 MB, set message.max.bytes in 'properties' to it");
    std::sort(again.begin(), again.end());
    const auto half = again.size() / 2;
    const std::span<const std::size_t> rows(again);
    if (half > 0) resend(batches, rows.first(half), to);
    resend(batches, rows.subspan(half), to);
  }

  void resend(const pl::batch_list& batches, std::span<const std::size_t> rows, outcome& to) {
    for (const auto index : rows) {
      const auto [batch, row] = place_of(batches, index);
      (void)encoder_.bind(batch.schema());
      producer_->send(index, encoder_.encode(batch, row));
    }
    const auto failed = producer_->finish();
    if (rows.size() == 1 && !failed.empty() && is_of_the_message(failed.front().why))
      to.refused.push_back(failed.front());
    else
      sort_out(batches, failed, to);
  }

  std::string explain(const pl::batch_list& batches, const undelivered& refused) {
    const auto [batch, row] = place_of(batches, refused.row);
    (void)encoder_.bind(batch.schema());
    const auto& encoded = encoder_.encode(batch, row);
    const auto size = (encoded.value ? encoded.value->size() : 0) + (encoded.key ? encoded.key->size() : 0);
    if (refused.why != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
      return "the broker does not take the record into topic '" + options_.topic + "': " + text_of(refused.why);
    return "the record is too large for topic '" + options_.topic + "' (" + std::to_string(size) +
           " bytes of key and value); raise the topic's max.message.bytes, and message.max.bytes in 'properties'";
  }

  pl::failure undone(const std::vector<undelivered>& rows) {
    repeated_.add(static_cast<double>(rows.size()));
    return pl::retry(std::to_string(rows.size()) + " records were not acknowledged by the brokers at " +
                     options_.brokers + " for topic '" + options_.topic + "': " + text_of(rows.front().why));
  }

  // The row that was sent as number `index` of a write.
  static std::pair<pl::batch_view, pl::row_index> place_of(const pl::batch_list& batches, std::size_t index) {
    for (const auto batch : batches) {
      if (index < batch.selected()) return {batch, batch.selection()[static_cast<std::uint32_t>(index)]};
      index -= batch.selected();
    }
    throw std::logic_error("a delivery report for a record that was not sent");
  }

  std::vector<std::pair<std::string, std::string>> faults_;  // of options; before encoder_, which fills it
  sink_options options_;
  pl::context ctx_;
  encoder encoder_;
  std::unique_ptr<producer> producer_;
  pl::counter repeated_;
  rate_limit warnings_{std::chrono::minutes(1)};
};

}  // namespace kafka

PL_EXPORT("0.1.0", kafka::kafka_sink)
