// SPDX-License-Identifier: Apache-2.0
// kafka_sink writes rows to a Kafka topic.
#include "connection.hpp"
#include "delivery.hpp"
#include "encoder.hpp"
#include "exact_writer.hpp"
#include "options.hpp"
#include "producer.hpp"

#include <pipeline/moves.hpp>
#include <pipeline/plugin.hpp>

#include <kafka_common/client.hpp>

#include <map>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace kafka {

pl::option_table<sink_options> sink_options::table() {
  using o = sink_options;
  return {
      pl::option(&o::brokers, "brokers", "Addresses of some brokers of the cluster: host:port, separated by commas.")
          .required()
          .example("kafka-1:9092,kafka-2:9092"),
      pl::option(&o::topic, "topic", "Topic to write to. It must exist.").required().example("device-alerts"),
      pl::option(
          &o::key, "key",
          "Key of each record: text with columns in braces. Records with the same key go to the same partition, "
          "in order. With several columns, the characters between them are percent-encoded in the values, so that "
          "different values never make the same key. Without it records have no key and are distributed over the "
          "partitions.")
          .example("'users/{user_id}/devices/{device_id}'"),
      pl::option(
          &o::format, "format",
          "json: the row as a JSON object without the columns that are null; raw: the bytes of the column 'value', "
          "unchanged (null becomes a tombstone)."),
      pl::option(&o::headers, "headers", "Headers of each record: names, and texts with columns in braces.")
          .example("{severity: '{severity}'}"),
      pl::option(&o::time, "time", "Column with the record's timestamp. If omitted or null: the time of sending.")
          .example("time"),
      pl::option(&o::compression, "compression", "Compression codec for record batches."),
      pl::option(&o::delivery_timeout, "delivery_timeout",
                 "How long a write may take before it fails. The host retries a failed write until it succeeds.")
          .range(1, 3600),
      pl::option(&o::transaction_timeout, "transaction_timeout",
                 "With 'delivery: exactly_once': time after which the brokers abort a transaction whose host is gone. "
                 "Consumers cannot read past the transaction until then, or until another host takes over the stream.")
          .range(1, 900),
      pl::option(
          &o::positions_topic, "positions_topic",
          "With 'delivery: exactly_once': the compacted topic for positions and state, shared by all pipelines. The "
          "sink creates it if it does not exist."),
      tls_option(&o::tls),
      sasl_option(&o::sasl),
      pl::option(&o::properties, "properties", "Any librdkafka property; overrides the values that this plugin sets.")
          .secret()
          .example("{linger.ms: 20}"),
  };
}

class kafka_sink final : public pl::sink, public pl::columns_aware, public pl::position_store {
 public:
  using options = sink_options;
  static pl::description describe() {
    return {
        .name = "kafka_sink",
        .doc =
            "Writes rows to a Kafka topic, as JSON or as unchanged bytes.\n"
            "At least once: a write succeeds when the brokers have acknowledged every record; a write that fails "
            "half-way is repeated as a whole, which can cause duplicates. With 'delivery: exactly_once' the records, "
            "the positions of the source and the state of transforms are in one transaction: consumers that read only "
            "committed records read each record once.",
        .example =
            "plugin: kafka_sink\nfrom: alerts\nbrokers: 127.0.0.1:9092\ntopic: device-alerts\n"
            "key: 'users/{user_id}/devices/{device_id}'\n",
        .ports = {},
        .abilities = PL_TRANSACTIONAL};
  }

  kafka_sink(sink_options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        encoder_(options_, faults_),
        exact_(options_, ctx),
        positions_(options_, ctx),
        repeated_(ctx.counter("kafka_undelivered_total", "Records not acknowledged in time; they are written again")),
        transactions_(ctx.counter("kafka_transactions_total", "Transactions committed")) {
    if (const auto fault = topic_name_fault(options_.topic); !fault.empty()) faults_.emplace_back("topic", fault);
    if (const auto fault = topic_name_fault(options_.positions_topic); !fault.empty())
      faults_.emplace_back("positions_topic", fault);
    for (const auto& [option, fault] : faults_) ctx_.option_error(option, fault);
    if (!check_connection(options_, ctx_) || !faults_.empty()) throw pl::invalid_options{};
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in != nullptr)
      if (auto bound = encoder_.bind(*in); !bound.ok()) return bound.why();
    return nullptr;
  }

  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override {
    if (auto bound = columns(in.schema, port); !bound.ok()) return bound.why();
    if (options_.time)
      if (auto why = pl::wrong_kind(in, "time", *options_.time, {PL_TIME_NS})) return *std::move(why);
    return pl::column_set{};
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
    exact_.stop();
    return {};
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    for (const auto batch : batches) {
      // A batch without rows, such as one with only state changes, may have no columns at all.
      if (batch.selected() == 0) continue;
      if (auto bound = encoder_.bind(batch.schema()); !bound.ok()) return bound;
    }
    auto moves = pl::moves_of(batches);
    if (!moves) return pl::fenced("a stream was claimed again while its records were in flight");
    begin_write(*std::move(moves));
    share_out(batches);
    if (auto written = write_loose(batches); !written.ok()) return written;
    if (auto written = exact_.write(shares_, token_, encoder_, batches); !written.ok()) return written;
    transactions_.add(static_cast<double>(shares_.size()));
    exact_.drop_idle_holders();
    moves_.clear();  // a later write with equal moves is a different write
    return {};
  }

  pl::result<pl_position> position(std::string_view source, std::string_view stream) override {
    const auto at = positions_.position(id_of(source, stream));
    if (!at.ok()) return at.why();
    return pl_position{at->next, at->epoch};
  }

  pl::result<bool> claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                         const pl_state_watermark& watermark) override {
    return positions_.claim(id_of(source, stream), seen, wanted, watermark);
  }

  pl::result<void> load(std::string_view source, std::string_view stream, const entry& each) override {
    const auto entries = positions_.state_of(id_of(source, stream));
    if (!entries.ok()) return entries.why();
    for (const auto& [name, value] : *entries) each(name.first, name.second, value);
    return {};
  }

  pl::result<void> streams(std::string_view source, const stream_entry& each) override {
    const auto found = positions_.streams(id_of(source, {}));
    if (!found.ok()) return found.why();
    for (const auto& stream : *found) each(stream);
    return {};
  }

 private:
  pl::result<std::unique_ptr<producer>> open() const {
    if (auto readable = check_files(options_.tls); !readable.ok()) return readable.why();
    return producer::open(producer_conf(options_, ctx_), options_.topic, ctx_);
  }

  pl::result<void> check_cluster(const producer& with) const {
    return check_topics(with.handle(), options_.brokers, std::span(&options_.topic, 1), std::chrono::seconds(5));
  }

  [[nodiscard]] stream_id id_of(std::string_view source, std::string_view stream) const {
    return {std::string(ctx_.pipeline()), std::string(ctx_.node()), std::string(source), std::string(stream)};
  }

  // Set the token, which identifies the write over all its attempts.
  void begin_write(std::vector<pl::stream_move> moves) {
    if (moves == moves_ && token_ != 0) return;
    moves_ = std::move(moves);
    do token_ = random_();
    while (token_ == 0);
  }

  // Assign rows and state changes to their streams. Rows of streams without a claim go to `loose_`.
  void share_out(const pl::batch_list& batches) {
    shares_.clear();
    loose_.clear();
    std::map<std::pair<std::string_view, std::string_view>, std::size_t> share_of;
    for (const auto& m : moves_) {
      share_of.emplace(std::pair{std::string_view(m.source), std::string_view(m.stream)}, shares_.size());
      shares_.push_back({m, {}, {}});
    }
    for (std::uint32_t b = 0; b < batches.size(); ++b) {
      const auto batch = batches[b];
      std::vector<stream_share*> of_range;
      for (const auto& r : batch.ranges())
        of_range.push_back(r.epoch == 0 ? nullptr : &shares_[share_of.at({pl::view(r.source), pl::view(r.stream)})]);
      for (const auto row : batch.selection()) {
        auto* share = of_range.empty() ? nullptr : of_range[batch.origin(row)];
        (share != nullptr ? share->rows : loose_).push_back({b, row});
      }
      for (const auto& c : batch.state_changes())
        if (auto* share = of_range[c.range]; share != nullptr) share->changes.push_back(&c);
    }
  }

  // Reject rows only after all others have arrived: a repeated write must not reject them twice.
  pl::result<void> write_loose(const pl::batch_list& batches) {
    if (loose_.empty()) return {};
    if (auto ready = ready_to_send(); !ready.ok()) return ready;
    delivery rows(encoder_, batches, loose_);
    rows.send_all(*producer_);
    const auto failed = producer_->finish();
    if (failed.empty()) return {};
    warn_about_refusal(failed);
    const auto found = rows.bisect(*producer_, failed, [](const auto& part) { part(); });
    if (!found.unacknowledged.empty()) return retry_later(found.unacknowledged);
    rows.reject(ctx_, found.refused, options_.topic);
    return {};
  }

  pl::result<void> ready_to_send() {
    if (producer_ && !producer_->broken()) return {};
    producer_.reset();
    auto opened = open();
    if (!opened.ok()) return opened.why();
    producer_ = std::move(opened).value();
    return {};
  }

  void warn_about_refusal(const std::vector<undelivered>& failed) {
    for (const auto& f : failed)
      if (is_message_fault(f.why) && warnings_.allows("refused"))
        return ctx_.warn("the broker rejects records for topic '" + options_.topic +
                         "' as too large or invalid; bisecting the rejected set to find them. If the topic's "
                         "max.message.bytes is smaller than 1 MB, set message.max.bytes in 'properties' to the same "
                         "value");
  }

  pl::failure retry_later(const std::vector<undelivered>& rows) {
    repeated_.add(static_cast<double>(rows.size()));
    return pl::retry(std::to_string(rows.size()) + " records were not acknowledged by the brokers at " +
                     options_.brokers + " for topic '" + options_.topic + "': " + text_of(rows.front().why));
  }

  std::vector<std::pair<std::string, std::string>> faults_;  // option errors; before encoder_, which adds to it
  sink_options options_;
  pl::context ctx_;
  encoder encoder_;
  std::unique_ptr<producer> producer_;  // for rows outside of transactions
  exact_writer exact_;
  topic_position_store positions_;
  std::mt19937_64 random_{std::random_device{}()};
  std::vector<pl::stream_move> moves_;  // of the current write
  std::uint64_t token_ = 0;
  std::vector<stream_share> shares_;
  std::vector<row_ref> loose_;
  pl::counter repeated_, transactions_;
  rate_limit warnings_{std::chrono::minutes(1)};
};

}  // namespace kafka

PL_EXPORT("0.1.0", kafka::kafka_sink)
