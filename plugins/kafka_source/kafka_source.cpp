// SPDX-License-Identifier: Apache-2.0
// kafka_source reads records as a member of a consumer group.
#include "consumer.hpp"
#include "fetch_queue.hpp"
#include "instance.hpp"
#include "options.hpp"
#include "replay.hpp"
#include "row_assembler.hpp"
#include "start_policy.hpp"

#include <pipeline/plugin.hpp>

#include <kafka_common/client.hpp>
#include <kafka_common/properties.hpp>
#include <regex.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kafka {

namespace {

constexpr std::array owned_properties{
    owned_property{"bootstrap.servers", "use the option 'brokers'"},
    owned_property{"metadata.broker.list", "use the option 'brokers'"},
    owned_property{"group.id", "use the option 'group'"},
    owned_property{"group.instance.id", "use the option 'instance'"},
    owned_property{"enable.auto.commit", "the source commits offsets only after every sink has the records"},
    owned_property{"auto.commit.interval.ms", "use the option 'commit_interval'"},
    owned_property{"enable.auto.offset.store", "the source commits offsets only after every sink has the records"},
    owned_property{"auto.offset.reset", "use the options 'start' and 'on_out_of_range'"},
    owned_property{"enable.partition.eof", "the source needs the end-of-partition events"},
};

bool is_regex(std::string_view topic) { return topic.starts_with('^'); }

std::string regex_fault(const std::string& pattern) {
  regex_t compiled;
  const int code = regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB);
  if (code == 0) {
    regfree(&compiled);
    return {};
  }
  std::array<char, 256> why{};
  regerror(code, &compiled, why.data(), why.size());
  return "'" + pattern + "' is not a valid regular expression: " + why.data();
}

// Two lists of the same brokers are the same cluster, whatever their order.
std::string sorted(std::string_view brokers) {
  std::set<std::string> all;
  for (std::size_t at = 0; at <= brokers.size();) {
    const auto end = std::min(brokers.find(',', at), brokers.size());
    all.emplace(brokers.substr(at, end - at));
    at = end + 1;
  }
  std::string text;
  for (const auto& broker : all) text += (text.empty() ? "" : ",") + broker;
  return text;
}

}  // namespace

pl::option_table<source_options> source_options::table() {
  using o = source_options;
  return {
      pl::option(&o::brokers, "brokers", "Addresses of some brokers of the cluster: host:port, separated by commas.")
          .required()
          .example("kafka-1:9092,kafka-2:9092"),
      pl::option(&o::topic, "topic",
                 "Topic to read. A name that begins with ^ is a regular expression; it also includes topics that are "
                 "created later.")
          .example("iot-stream"),
      pl::option(&o::topics, "topics", "List of topics or regular expressions, in place of 'topic'.")
          .example("[iot-stream, '^devices[.]']"),
      pl::option(&o::group, "group", "Consumer group. Default: the pipeline's name.").example("iot-backend"),
      pl::option(&o::instance, "instance",
                 "Name of this host in the group (static membership). It must be unique among live hosts and the same "
                 "after a restart, so that the host gets its partitions back at once. auto: derived from the host name "
                 "and a slot locked in the state directory; dynamic: no name (other hosts take over within 10 "
                 "seconds); or a name, such as a StatefulSet's pod name.")
          .example("${HOSTNAME}"),
      pl::option(
          &o::start, "start",
          "Start position of a topic that the group has not read before: earliest, latest, or a time (RFC 3339). A "
          "partition that is added later begins at its first record.")
          .example("2026-11-01T06:00:00Z"),
      pl::option(
          &o::on_out_of_range, "on_out_of_range",
          "Where to continue if the next offset was deleted (retention), lies beyond the end of the partition, or "
          "belongs to a topic that was deleted and created again: earliest, latest, or stop the pipeline. Lost "
          "records are logged and counted."),
      pl::option(&o::tombstones, "tombstones",
                 "Handling of records without a value. emit: pass them to the next step with null as the value; skip: "
                 "drop and count them."),
      pl::option(
          &o::header_columns, "header_columns",
          "Headers to add as columns, in addition to 'headers'. The value is text, or bytes if it is not valid UTF-8. "
          "If a record has several headers of that name, the column holds the last one; if it has none, null.")
          .example("[message_id]"),
      pl::option(&o::commit_interval, "commit_interval", "Minimum time between two offset commits.").range(0.01, 60),
      tls_option(&o::tls),
      sasl_option(&o::sasl),
      pl::option(&o::properties, "properties", "Any librdkafka property; overrides the values that this plugin sets.")
          .secret()
          .example("{fetch.wait.max.ms: 50}"),
  };
}

class kafka_source final : public pl::source,
                           public pl::columns_aware,
                           public pl::replayable,
                           public pl::exclusive_user {
 public:
  using options = source_options;
  static pl::description describe() {
    return {.name = "kafka_source",
            .doc =
                "Reads records from Kafka topics as a member of a consumer group.\n"
                "Columns: value and key (bytes), time (the record's timestamp), topic, partition, offset, headers "
                "(JSON: [[name, value], ...]). An offset is committed only after every sink has the records before it.",
            .example = "plugin: kafka_source\nbrokers: 127.0.0.1:9092\ntopic: iot-stream\ngroup: iot-backend\n",
            .abilities = PL_REPLAYABLE | PL_RECORDS_UNREAD};
  }

  kafka_source(source_options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        live_(ctx.liveness()),
        rows_(ctx, options_.tombstones, options_.header_columns) {
    bool well = check_brokers(ctx_, options_.brokers);
    well = check_topics_option() && well;
    well = check_names() && well;
    well = check_header_columns() && well;
    kafka::properties properties(ctx_);
    well = set_security(properties, options_.tls, options_.sasl, options_.properties, ctx_) && well;
    well = properties.set_all(options_.properties, owned_properties) && well;
    if (!well) throw pl::invalid_options{};
  }
  ~kafka_source() override { consumer_.reset(); }

  pl::result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return rows_.emitted().schema; }
  pl::result<pl::column_set> typed_columns(const pl::column_set&, std::uint32_t) override { return rows_.emitted(); }

  // In a group, each partition has one reader: of two sources with one topic, each would miss a part of the records. The
  // lanes of one source share its topics.
  std::vector<resource> exclusive() const override {
    std::vector<resource> all;
    if (ctx_.lane() != 0) return all;
    const std::set<std::string> topics(topics_.begin(), topics_.end());
    for (const auto& topic : topics)
      all.push_back({"Kafka topic", "'" + topic + "' in the group '" + group() + "' at " + sorted(options_.brokers),
                     options_.topic ? "topic" : "topics"});
    return all;
  }

  pl::result<void> check() override {
    if (auto readable = check_files(options_.tls); !readable.ok()) return readable;
    kafka::properties properties(ctx_);
    configure(properties);
    auto asking = client::create(RD_KAFKA_CONSUMER, properties.copy(), ctx_);
    if (!asking.ok()) return asking.why();
    return check_cluster(asking.value()->get());
  }

  pl::result<std::vector<window>> windows(pl_bound from, pl_bound until) override {
    if (auto ready = open_replay(); !ready.ok()) return ready.why();
    if (auto there = check_cluster(replay_->handle()); !there.ok()) return there.why();
    return replay_->windows(topics_, from, until);
  }
  pl::result<void> select(std::vector<window> windows) override {
    if (auto ready = open_replay(); !ready.ok()) return ready.why();
    return replay_->select(windows);
  }
  pl::result<void> reset_offsets(const std::vector<window>& windows) override {
    if (auto ready = open_replay(); !ready.ok()) return ready.why();
    return replay_->reset_offsets(windows, group());
  }

  pl::result<void> start() override {
    if (replay_) return {};
    if (auto fits = check(); !fits.ok()) return fits;
    membership_.emplace(join_as(options_.instance, ctx_, this_host(), topics_));
    kafka::properties properties(ctx_);
    const bool backs_off_itself = configure(properties);
    consumer_settings settings{.brokers = options_.brokers,
                               .group = group(),
                               .instance = membership_->id,
                               .topics = topics_,
                               .start = start_,
                               .on_out_of_range = options_.on_out_of_range,
                               .commit_interval = options_.commit_interval,
                               .wakes_fetchers = {}};
    if (!backs_off_itself)
      settings.wakes_fetchers = {
          properties.get("sasl.username"), properties.get("sasl.password"),
          std::strtoull(properties.get("queued.min.messages").c_str(), nullptr, 10),
          std::strtoull(properties.get("queued.max.messages.kbytes").c_str(), nullptr, 10) * 1024};
    auto joined = consumer::join(std::move(settings), properties.copy(), ctx_);
    if (!joined.ok()) return joined.why();
    consumer_ = std::move(joined).value();
    live_.disconnected("joining the group '" + group() + "'");
    ctx_.info("group '" + group() + "' at " + options_.brokers +
              (membership_->id.empty() ? ", dynamic member" : ", instance '" + membership_->id + "'"));
    return {};
  }

  pl::result<void> stop() override {
    if (consumer_) consumer_->leave();
    consumer_.reset();
    membership_.reset();
    replay_.reset();
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    rows_.want_arrivals(live_.wanted());
    if (replay_) return poll_replay(request);
    if (!consumer_) return pl::fatal("poll before start");
    if (request.max_rows == 0) return keep_alive(request.timeout);
    return rows_until(request, consumer_->fetched(), *consumer_, [this]() -> std::optional<pl::failure> {
      consumer_->serve(std::chrono::nanoseconds(0));
      consumer_->tend(true);
      return consumer_->failure();
    });
  }

  void settle(std::span<const pl_range> ranges) override {
    if (!consumer_) return;
    for (const auto& range : ranges) consumer_->settle(pl::view(range.stream), static_cast<std::int64_t>(range.next));
    consumer_->commit_if_due();
  }

 private:
  bool check_header_columns() {
    bool well = true;
    const auto& names = options_.header_columns;
    for (std::size_t i = 0; i < names.size(); ++i) {
      auto fault = row_assembler::header_column_fault(names[i]);
      if (fault.empty() && std::find(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(i), names[i]) !=
                               names.begin() + static_cast<std::ptrdiff_t>(i))
        fault = "'" + names[i] + "' is listed twice";
      if (fault.empty()) continue;
      ctx_.option_error("header_columns[" + std::to_string(i) + "]", fault);
      well = false;
    }
    return well;
  }
  bool check_topics_option() {
    topics_ = options_.topics;
    if (options_.topic) topics_.push_back(*options_.topic);
    if (options_.topic && !options_.topics.empty()) {
      ctx_.option_error("topics", "set either 'topic' or 'topics', not both");
      return false;
    }
    if (topics_.empty()) {
      ctx_.option_error("topic", "set the topic to read, or a list of topics in 'topics'");
      return false;
    }
    bool well = true;
    for (std::size_t i = 0; i < topics_.size(); ++i) {
      const auto fault = is_regex(topics_[i]) ? regex_fault(topics_[i]) : topic_name_fault(topics_[i]);
      if (fault.empty()) continue;
      ctx_.option_error(options_.topic ? "topic" : "topics[" + std::to_string(i) + "]", fault);
      well = false;
    }
    return well;
  }

  bool check_names() {
    bool well = true;
    if (options_.group && options_.group->empty()) {
      ctx_.option_error("group", "must not be empty; omit the option to use the pipeline's name");
      well = false;
    }
    if (const auto fault = instance_name_fault(options_.instance); !fault.empty()) {
      ctx_.option_error("instance", fault);
      well = false;
    }
    if (const auto start = parse_start(options_.start)) {
      start_ = *start;
    } else {
      ctx_.option_error(
          "start", "'" + options_.start + "' is neither earliest nor latest nor a time such as 2026-11-01T06:00:00Z");
      well = false;
    }
    return well;
  }

  [[nodiscard]] std::string group() const { return options_.group.value_or(std::string(ctx_.pipeline())); }

  // Set the plugin's properties, then the user's. Return true if this librdkafka checks often enough by itself whether
  // a full queue has room again.
  bool configure(kafka::properties& to) const {
    to.set("bootstrap.servers", options_.brokers);
    to.set("client.id", "pipeline-host-" + std::string(ctx_.pipeline()) + "." + std::string(ctx_.node()));
    to.set("group.id", group());
    to.set("enable.auto.commit", "false");
    to.set("enable.auto.offset.store", "false");
    to.set("auto.offset.reset", "error");
    to.set("enable.partition.eof", "true");
    to.set("partition.assignment.strategy", "cooperative-sticky");
    to.set("statistics.interval.ms", "5000");
    to.set("socket.keepalive.enable", "true");
    to.set("reconnect.backoff.max.ms", "2000");
    // New partitions and topics are found at the next refresh; the default is 5 minutes.
    to.set("topic.metadata.refresh.interval.ms", "30000");
    if (membership_ && !membership_->id.empty())
      to.set("group.instance.id", membership_->id);
    else
      to.set("session.timeout.ms", "10000");
    limit_memory(to);
    const bool backs_off_itself = to.try_set("fetch.queue.backoff.ms", "5");
    (void)set_security(to, options_.tls, options_.sasl, options_.properties, ctx_);  // checked in the constructor
    (void)to.set_all(options_.properties, owned_properties);
    return backs_off_itself;
  }

  void limit_memory(kafka::properties& to) const {
    constexpr std::uint64_t mib = 1 << 20;
    constexpr std::uint64_t overhead = 512;  // librdkafka's overhead in bytes for each queued message
    const auto limit = std::max<std::uint64_t>(ctx_.memory_limit(), 4 * mib);
    to.set("queued.max.messages.kbytes", std::to_string(std::min<std::uint64_t>(limit / 2 / 1024, 2'000'000)));
    to.set("queued.min.messages", std::to_string(std::clamp<std::uint64_t>(limit / 8 / overhead, 1000, 10'000'000)));
    const auto fetch = std::clamp<std::uint64_t>(limit / 4, mib, 50 * mib);
    to.set("fetch.max.bytes", std::to_string(fetch));
    to.set("fetch.message.max.bytes", std::to_string(std::min(fetch, mib)));
  }

  // Return rows, or the failure that `tend` returns, or nothing_yet once the time-out has passed.
  template <class Tend>
  pl::result<pl::batch> rows_until(const pl::poll_request& request, fetch_queue& fetched, message_origin& from,
                                   Tend&& tend) {
    using clock = std::chrono::steady_clock;
    const auto deadline = clock::now() + request.timeout;
    while (true) {
      if (auto why = tend()) return *why;
      if (auto rows = rows_.assemble(fetched.take(request.max_rows, request.max_bytes), from)) return std::move(*rows);
      const auto left = deadline - clock::now();
      if (left <= clock::duration::zero()) return pl::nothing_yet();
      // Wait briefly: placing partitions and committing offsets are due at fixed times.
      fetched.wait(std::min<std::chrono::nanoseconds>(left, std::chrono::milliseconds(100)));
    }
  }

  pl::result<void> open_replay() {
    if (replay_) return {};
    kafka::properties properties(ctx_);
    configure(properties);
    auto opened = replay::open(properties.copy(), ctx_);
    if (!opened.ok()) return opened.why();
    replay_ = std::move(opened).value();
    return {};
  }

  pl::result<pl::batch> poll_replay(const pl::poll_request& request) {
    if (request.max_rows == 0) {
      replay_->tend();
      return pl::nothing_yet();
    }
    return rows_until(request, replay_->fetched(), *replay_, [this]() -> std::optional<pl::failure> {
      replay_->tend();
      if (replay_->done()) return pl::end_of_stream();
      return std::nullopt;
    });
  }

  pl::result<void> check_cluster(rd_kafka_t* handle) const {
    std::vector<std::string> named;
    std::copy_if(topics_.begin(), topics_.end(), std::back_inserter(named), [](const auto& t) { return !is_regex(t); });
    return check_topics(handle, options_.brokers, named, std::chrono::seconds(5));
  }

  pl::result<pl::batch> keep_alive(std::chrono::nanoseconds timeout) {
    consumer_->tend(false);
    consumer_->serve(timeout);
    if (auto why = consumer_->failure()) return *why;
    return pl::nothing_yet();
  }

  source_options options_;
  pl::context ctx_;
  pl::liveness live_;
  std::vector<std::string> topics_;
  start_policy start_;
  std::optional<membership> membership_;
  row_assembler rows_;
  std::unique_ptr<consumer> consumer_;
  std::unique_ptr<replay> replay_;  // in place of consumer_
};

}  // namespace kafka

PL_EXPORT("0.1.0", kafka::kafka_source)
