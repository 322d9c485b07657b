// SPDX-License-Identifier: Apache-2.0
// mqtt_sink publishes one message per row, to a topic built from the row's columns.
#include "options.hpp"
#include "properties.hpp"

#include <pipeline/freed_by.hpp>
#include <pipeline/json.hpp>

#include <mqtt_common/reason.hpp>
#include <mqtt_common/strings.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace mqtt {

namespace {

// Return whether the rejection of a message is temporary. Other rejections are about the message itself and permanent.
bool is_temporary_refusal(int reason) {
  return reason == MQTTREASONCODE_UNSPECIFIED_ERROR || reason == MQTTREASONCODE_IMPLEMENTATION_SPECIFIC_ERROR ||
         reason == MQTTREASONCODE_SERVER_UNAVAILABLE || reason == MQTTREASONCODE_SERVER_BUSY ||
         reason == MQTTREASONCODE_QUOTA_EXCEEDED || reason == MQTTREASONCODE_PACKET_IDENTIFIER_IN_USE ||
         reason == MQTTREASONCODE_RECEIVE_MAXIMUM_EXCEEDED;
}

}  // namespace

class mqtt_sink final : public pl::sink, public pl::columns_aware, public pl::exclusive_user {
 public:
  using options = mqtt::options;

  static pl::description describe() {
    return {
        .name = "mqtt_sink",
        .doc =
            "Publishes each row as an MQTT message, to a topic built from the row's columns.\n"
            "Delivery is at least once with qos 1 and 2: a batch is delivered when the broker has acknowledged all of "
            "its messages. Values with / + # $ are escaped, so they cannot reach another device's topic.",
        .example =
            "plugin: mqtt_sink\nfrom: alerts\nurl: mqtt://127.0.0.1:1883\n"
            "topic: \"users/{user_id}/devices/{device_id}/alerts\"\nqos: 1\n"};
  }

  mqtt_sink(options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        live_(ctx.liveness()),
        settings_(connection_of(options_, ctx)),
        client_(settings_),
        topic_(topic_of(options_)),
        properties_(options_) {
    if (options_.payload) payload_ = payload_of(*options_.payload);
    acknowledged_ = ctx.counter("mqtt_sink_acknowledged_total",
                                "Messages that the broker has acknowledged (qos 0: written to the network)");
    connects_ = ctx.counter("mqtt_sink_connects_total", "Connections made to the broker");
    client_.on_connection(
        [live = live_](std::string_view why_not) { why_not.empty() ? live.connected() : live.disconnected(why_not); });
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in == nullptr) return nullptr;
    if (auto missing = topic_.bind(*in)) return no_column("topic", *missing, *in);
    if (payload_)
      if (auto missing = payload_->bind(*in)) return no_column("payload", *missing, *in);
    if (auto missing = properties_.bind(*in)) return no_column(missing->option, missing->column, *in);
    return nullptr;
  }

  std::vector<resource> exclusive() const override {
    return {{"MQTT client id", "'" + settings_.client_id + "' at " + settings_.url.identity(), "client_id"}};
  }

  // Connect with a different client id: the same id would disconnect a running host.
  pl::result<void> check() override {
    auto settings = settings_;
    settings.client_id += "-check";
    settings.will.reset();
    settings.session_expiry = 0s;
    client probe(std::move(settings));
    auto r = probe.connect();
    if (r.ok()) r = probe.accepts(options_.qos, options_.retain);
    probe.disconnect();
    return r;
  }

  pl::result<void> start() override { return connect(); }

  pl::result<void> stop() override {
    client_.disconnect();
    return {};
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    batches_ = &batches;
    if (auto r = prepare(batches); !r) return r;
    if (!entries_.empty()) {
      auto r = client_.connected() ? pl::result<void>{} : connect();
      if (r.ok()) r = publish_all(batches);
      if (!r.ok()) {
        save_progress();
        return r.why().code == pl::status::fatal ? pl::retry(r.why().message) : r.why();
      }
    }
    // Those that could not be handed over at once. A retry would reject them again, so wait until the write succeeds.
    for (const auto& r : rejected_) ctx_.reject(batches[r.batch], r.row, r.why);
    progress_.clear();
    return {};
  }

 private:
  struct entry {
    std::uint32_t batch, row;
    std::size_t topic, payload, end;  // in text_
    std::uint64_t identity;
    bool settled;  // delivered or rejected, possibly by an earlier attempt
  };
  struct rejection {
    std::uint32_t batch, row;
    std::string why;
  };
  struct attempt {
    std::uint64_t identity;
    bool settled;
    std::string rejected_because;
  };

  pl::failure no_column(const std::string& option, std::string_view column, const pl_schema& in) const {
    std::string known;
    for (std::uint32_t c = 0; c < in.ncols; ++c) known.append(known.empty() ? "" : ", ").append(pl::view(in.names[c]));
    return pl::bad_option(option, "the input has no column '" + std::string(column) + "'; its columns are: " + known);
  }

  pl::result<void> connect() {
    if (auto r = client_.connect(); !r) return r;
    if (auto r = client_.accepts(options_.qos, options_.retain); !r) return client_.disconnect(), r;
    connects_.add();
    live_.connected();
    if (ctx_.logs(pl::log_level::info)) ctx_.info("connected to " + client_.name() + " as " + settings_.client_id);
    return {};
  }

  // ---- from rows to messages

  pl::result<void> prepare(const pl::batch_list& batches) {
    text_.clear();
    entries_.clear();
    rejected_.clear();
    for (std::uint32_t i = 0; i < batches.size(); ++i) {
      const auto b = batches[i];
      if (b.selected() == 0) continue;
      if (auto known = columns(&b.schema(), 0); !known.ok()) return known.why();
      for (const auto row : b.selection()) prepare_row(i, b, row);
    }
    restore_progress();
    return {};
  }

  void prepare_row(std::uint32_t index, pl::batch_view b, pl::row_index row) {
    if (auto problem = topic_.render(topic_text_, b, row)) return reject(index, row, std::move(*problem));
    entry e{index, row, text_.size(), 0, 0, 0, false};
    text_ += topic_text_;
    text_.push_back('\0');
    e.payload = text_.size();
    if (payload_)
      payload_->render(text_, b, row);
    else
      pl::append_json_row(text_, b, row);
    e.end = text_.size();
    if (const auto size = e.end - e.topic; size > options_.max_message.bytes) {
      text_.resize(e.topic);
      return reject(index, row,
                    "the message has " + std::to_string(size) + " bytes; max_message is " +
                        std::to_string(options_.max_message.bytes));
    }
    e.identity = identity_of(b, row, std::string_view(text_).substr(e.topic));
    entries_.push_back(e);
  }

  static std::uint64_t identity_of(pl::batch_view b, pl::row_index row, std::string_view content) {
    const std::hash<std::string_view> hash;
    auto id = hash(content);
    id = (id ^ hash(b.stream(row))) * 0x9E3779B97F4A7C15ULL;
    return (id ^ b.position(row)) * 0xBF58476D1CE4E5B9ULL;
  }

  // Dead-letter the row at once if the host can, so that it does not wait for the others.
  void reject(std::uint32_t batch, std::uint32_t row, std::string why) {
    if (!ctx_.reject_now((*batches_)[batch], row, why)) rejected_.push_back({batch, row, std::move(why)});
  }

  // Apply the progress of a failed attempt: do not send acknowledged messages again. The rows are those of that attempt,
  // without those that were rejected at once.
  void restore_progress() {
    std::unordered_multimap<std::uint64_t, const attempt*> before;
    for (const auto& p : progress_)
      if (p.settled) before.emplace(p.identity, &p);
    for (auto& e : entries_) {
      const auto found = before.find(e.identity);
      if (found == before.end()) continue;
      e.settled = true;
      if (const auto& why = found->second->rejected_because; !why.empty()) reject(e.batch, e.row, why);
      before.erase(found);
    }
  }

  void save_progress() {
    std::map<std::pair<std::uint32_t, std::uint32_t>, const std::string*> reasons;
    for (const auto& r : rejected_) reasons[{r.batch, r.row}] = &r.why;
    std::vector<attempt> now;
    now.reserve(entries_.size());
    for (const auto& e : entries_) {
      const auto reason = reasons.find({e.batch, e.row});
      now.push_back({e.identity, e.settled, reason == reasons.end() ? std::string{} : *reason->second});
    }
    progress_ = std::move(now);
  }

  // ---- publishing

  pl::result<void> publish_all(const pl::batch_list& batches) {
    tickets_.assign(entries_.size(), {});
    auto r = send_all(batches);
    if (r.ok()) r = wait_for(0);
    const bool lost = !r.ok();
    if (lost) client_.abandon();  // from here on Paho does not write to the tickets
    auto refused = collect();
    if (lost) {
      find_culprit();
      return r;
    }
    if (refused) return pl::retry(client_.name() + " rejects messages: " + *refused + "; retrying");
    return {};
  }

  pl::result<void> send_all(const pl::batch_list& batches) {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      auto& e = entries_[i];
      if (e.settled) continue;
      const auto window = fruitless_ > 0 ? 1U : client_.window();
      if (auto r = wait_for(window - 1); !r) return r;
      if (auto r = send(e, batches[e.batch], tickets_[i]); !r) return r;
    }
    return {};
  }

  pl::result<void> send(entry& e, pl::batch_view b, flight::ticket& ticket) {
    MQTTProperties properties = MQTTProperties_initializer;
    const std::unique_ptr<MQTTProperties, pl::freed_by<MQTTProperties_free>> owned(&properties);
    if (auto problem = properties_.fill(properties, b, e.row)) return settle_as_rejected(e, std::move(*problem));
    const auto size = e.end - e.topic + static_cast<std::size_t>(properties.length) + 16;
    if (size > client_.max_packet_size())
      return settle_as_rejected(e, "the message has " + std::to_string(size) + " bytes with its headers; " +
                                       client_.name() + " accepts at most " +
                                       std::to_string(client_.max_packet_size()));
    const message m{text_.c_str() + e.topic, std::string_view(text_).substr(e.payload, e.end - e.payload), options_.qos,
                    options_.retain, properties};
    const int code = client_.publish(m, ticket);
    if (code == MQTTASYNC_SUCCESS) return {};
    if (code == MQTTASYNC_BAD_UTF8_STRING) return settle_as_rejected(e, "the topic is not valid UTF-8");
    if (code == MQTTASYNC_DISCONNECTED) client_.in_flight().lose("the connection was lost");
    return lost_failure(MQTTAsync_strerror(code));
  }

  pl::result<void> wait_for(std::uint32_t room) {
    switch (client_.in_flight().wait_until(room, options_.ack_timeout)) {
      case flight::wait_result::ok:
        return {};
      case flight::wait_result::lost:
        return lost_failure(client_.in_flight().loss());
      case flight::wait_result::timeout:
        break;
    }
    timed_out_ = true;
    return lost_failure("no acknowledgement for " + pl::detail::duration_text(options_.ack_timeout) + " (ack_timeout)");
  }

  pl::failure lost_failure(const std::string& why) {
    const auto n = client_.in_flight().waiting();
    return pl::retry(client_.name() + ": " + why + "; " + std::to_string(n) +
                     (n == 1 ? " message is" : " messages are") + " unacknowledged and will be sent again");
  }

  pl::result<void> settle_as_rejected(entry& e, std::string why) {
    reject(e.batch, e.row, std::move(why));
    e.settled = true;
    return {};
  }

  // Evaluate the tickets. Return the reason of a temporary rejection, if any.
  std::optional<std::string> collect() {
    std::optional<std::string> temporary;
    std::size_t delivered = 0;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      auto& e = entries_[i];
      const auto& t = tickets_[i];
      if (e.settled || t.state == outcome::waiting) continue;
      if (t.state == outcome::delivered) {
        e.settled = true;
        ++delivered;
      } else if (is_temporary_refusal(t.reason)) {
        temporary = reason_text(t.reason);
      } else {
        (void)settle_as_rejected(e, client_.name() + " rejects the message to " + shown(text_.c_str() + e.topic) +
                                        ": " + reason_text(t.reason));
      }
    }
    acknowledged_.add(static_cast<double>(delivered));
    if (delivered != 0) {
      fruitless_ = 0;
      ctx_.progress();
    }
    return temporary;
  }

  // Handle a connection that ended without an acknowledgement: send one message at a time until one is acknowledged.
  // Reject a message that is alone in flight when the connection ends `max_disconnects` times in a row.
  void find_culprit() {
    const bool one_at_a_time = fruitless_ > 0;
    const auto& connection = client_.in_flight();
    if (std::exchange(timed_out_, false) || connection.blameless() || connection.settled() != 0) return;
    ++fruitless_;
    if (!one_at_a_time || options_.max_disconnects == 0) return;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      auto& e = entries_[i];
      if (e.settled || tickets_[i].owner == nullptr) continue;
      suspect_count_ = suspect_ == e.identity ? suspect_count_ + 1 : 1;
      suspect_ = e.identity;
      if (suspect_count_ < options_.max_disconnects) return;
      (void)settle_as_rejected(
          e, client_.name() + " closed the connection " + std::to_string(suspect_count_) + " times on a message of " +
                 std::to_string(e.end - e.topic) + " bytes to " + shown(text_.c_str() + e.topic) +
                 "; it may be larger than the broker allows, or the user may not publish to the topic");
      fruitless_ = 0;
      suspect_count_ = 0;
      return;
    }
  }

  const options options_;
  const pl::context ctx_;
  const pl::liveness live_;
  const connection_settings settings_;
  client client_;
  topic_template topic_;
  std::optional<pl::payload_template> payload_;
  publish_properties properties_;
  pl::counter acknowledged_, connects_;

  const pl::batch_list* batches_ = nullptr;  // of the current write
  std::string text_, topic_text_;            // text_: topic, NUL, payload of each entry
  std::vector<entry> entries_;
  std::vector<flight::ticket> tickets_;  // one for each of entries_
  std::vector<rejection> rejected_;
  std::vector<attempt> progress_;  // of a failed write, for the next attempt
  bool timed_out_ = false;
  std::uint32_t fruitless_ = 0, suspect_count_ = 0;
  std::uint64_t suspect_ = 0;
};

}  // namespace mqtt

PL_EXPORT("0.1.0", mqtt::mqtt_sink)
