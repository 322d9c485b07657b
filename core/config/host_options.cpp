// SPDX-License-Identifier: Apache-2.0
#include "config/host_options.hpp"

#include <array>
#include <cmath>
#include <limits>

namespace pl::config {

namespace {

constexpr double no_limit = std::numeric_limits<double>::infinity();
constexpr double max_instances = 1024;
constexpr double tebibyte = 1024.0 * 1024 * 1024 * 1024;

constexpr pl_str str(std::string_view s) { return {s.data(), s.size()}; }

constexpr pl_option opt(std::uint32_t kind, std::string_view key, std::string_view doc, std::string_view def,
                        std::string_view example = {}) {
  pl_option o{};
  o.kind = kind;
  o.key = str(key);
  o.doc = str(doc);
  o.def = str(def);
  o.example = str(example);
  o.allowed = str({});
  o.min = -no_limit;
  o.max = no_limit;
  return o;
}

constexpr pl_option required(pl_option o) {
  o.flags |= PL_REQUIRED;
  return o;
}

constexpr pl_option between(double min, double max, pl_option o) {
  o.min = min;
  o.max = max;
  return o;
}

constexpr pl_option choices(std::string_view allowed, pl_option o) {
  o.allowed = str(allowed);
  return o;
}

template <std::size_t Size>
constexpr pl_option with(const std::array<pl_option, Size>& fields, pl_option o) {
  o.fields = fields.data();
  o.nfields = static_cast<std::uint32_t>(Size);
  return o;
}

constexpr pl_option of(std::uint32_t element, pl_option o) {
  o.element = element;
  return o;
}

constexpr std::array http_fields = {opt(PL_OPT_TEXT, "listen",
                                        "Listen address of /metrics, /health/live and /health/ready; off disables them",
                                        "127.0.0.1:9464", "0.0.0.0:9464")};

constexpr std::array log_fields = {
    choices("trace|debug|info|warn|error", opt(PL_OPT_CHOICE, "level", "Minimum log level", "info")),
    choices("text|json", opt(PL_OPT_CHOICE, "format", "Log format: text for people, json for programs", "text"))};

constexpr std::array batch_fields = {
    between(1, 10'000'000, opt(PL_OPT_INT, "rows", "Write a batch when it has this many rows", "1000")),
    between(0, 3600, opt(PL_OPT_DURATION, "delay", "Write a batch when its oldest row has waited this long", "100ms")),
    between(
        1024, tebibyte,
        opt(PL_OPT_SIZE, "max_bytes",
            "Maximum size of one write: 16 bytes for each value, and the length of text and JSON. Larger batches are "
            "split between records",
            "4MiB")),
    between(1, 10'000'000,
            opt(PL_OPT_INT, "max_rows", "Maximum number of rows of one write. Larger batches are split between records",
                "1000000", "5000"))};

constexpr std::array retry_fields = {
    between(0.001, 86400, opt(PL_OPT_DURATION, "initial", "Delay after the first failure", "100ms")),
    between(0.001, 86400, opt(PL_OPT_DURATION, "max", "Maximum delay between attempts", "30s")),
    between(1, 100, opt(PL_OPT_FLOAT, "multiplier", "Factor by which the delay grows after each failure", "2")),
    between(0, 1, opt(PL_OPT_FLOAT, "jitter", "Random part of the delay", "0.2")),
    opt(PL_OPT_DURATION, "give_up_after",
        "Stop the pipeline, or act as on_failure determines, after failing for this long; default: never", "", "10m")};

constexpr std::array queue_fields = {
    between(4096, 10 * tebibyte,
            opt(PL_OPT_SIZE, "max_bytes",
                "Upper bound on data queued for this sink in memory; a full queue slows the sources, unless when_full "
                "drops rows",
                "64MiB")),
    between(1 << 20, 1024 * tebibyte,
            opt(PL_OPT_SIZE, "disk",
                "Upper bound on data queued for this sink in files in `state_dir`, while it has no room in memory; "
                "default: none",
                "", "10GiB"))};

constexpr std::array collapse_fields = {
    between(0, 1e12,
            opt(PL_OPT_INT, "originals",
                "Originals that are stored for each reason of a transform in the time `per`; 0: all. The other records "
                "become one dead letter for each batch and reason, with their number and positions",
                "10000")),
    between(1, 86400, opt(PL_OPT_DURATION, "per", "Period after which originals are stored again", "1m"))};

constexpr auto plugin_option =
    required(opt(PL_OPT_TEXT, "plugin", "Name of the component; see `pipeline-host plugins`", ""));

constexpr pl_option plugin_with(std::string_view example) {
  auto o = plugin_option;
  o.example = str(example);
  return o;
}

constexpr auto from_option = of(
    PL_OPT_TEXT, required(opt(PL_OPT_LIST, "from", "Inputs: a node, node.port, or a list of these", "", "telemetry")));

constexpr auto batch_option =
    with(batch_fields, opt(PL_OPT_OBJECT, "batch", "Size and delay of batches", "{}", "{rows: 1000, delay: 100ms}"));
constexpr auto retry_option = with(
    retry_fields, opt(PL_OPT_OBJECT, "retry", "How failed writes are retried", "{}", "{initial: 100ms, max: 30s}"));
constexpr auto queue_option = with(
    queue_fields, opt(PL_OPT_OBJECT, "queue", "Limits of the sink's queue", "{}", "{max_bytes: 64MiB, disk: 10GiB}"));
constexpr auto writers_option = between(
    1, max_instances,
    opt(PL_OPT_INT, "writers", "Instances, each with its own thread; one instance writes all rows of a stream", "1"));

constexpr auto sink_delivery_option = choices(
    "at_least_once|exactly_once",
    opt(PL_OPT_CHOICE, "delivery",
        "Delivery guarantee of this sink (default: the pipeline's). at_least_once: rows may repeat after a crash", ""));

constexpr auto on_failure_option = choices(
    "stop|dead_letters",
    opt(PL_OPT_CHOICE, "on_failure",
        "What happens once retry.give_up_after has passed. stop: the pipeline stops. dead_letters: the rows go to the "
        "dead letters until the sink works again, and nothing else is affected",
        "stop"));
constexpr auto when_full_option =
    choices("block|drop_newest|drop_oldest", opt(PL_OPT_CHOICE, "when_full",
                                                 "What happens when the queue is full, in memory and on disk. block: "
                                                 "the sources wait. drop_newest, drop_oldest: rows are dropped and "
                                                 "counted, and nothing else waits",
                                                 "block"));

constexpr std::array source_fields = {
    plugin_with("kafka_source"),
    between(1, max_instances,
            opt(PL_OPT_INT, "lanes", "Instances, each with its own thread; default: the pipeline's lanes", "", "4"))};
constexpr std::array transform_fields = {plugin_with("json_telemetry"), from_option};
constexpr std::array sink_fields = {
    plugin_with("timescale_sink"), from_option,       writers_option,  batch_option, retry_option, queue_option,
    sink_delivery_option,          on_failure_option, when_full_option};
constexpr std::array dead_letter_fields = {
    plugin_with("file_sink"),
    writers_option,
    batch_option,
    retry_option,
    queue_option,
    with(collapse_fields, opt(PL_OPT_OBJECT, "collapse", "Limit of the originals that are stored in a flood", "{}",
                              "{originals: 10000, per: 1m}")),
    choices(
        "wait|discard",
        opt(PL_OPT_CHOICE, "when_full",
            "What happens to records that a transform rejects while this sink fails and its queue is full. wait: the "
            "sources pause. discard: the records are logged as LOST and counted, and all other records are "
            "delivered",
            "wait"))};

constexpr std::array settings = {
    required(opt(PL_OPT_TEXT, "name", "Name of the pipeline, in metrics, logs and stored positions", "", "iot")),
    choices("at_least_once|exactly_once",
            opt(PL_OPT_CHOICE, "delivery",
                "Delivery guarantee. exactly_once: sinks that support it write rows and positions in one transaction",
                "at_least_once")),
    between(1, max_instances, opt(PL_OPT_INT, "lanes", "Instances of each source", "1")),
    between(1 << 20, 1024 * tebibyte, opt(PL_OPT_SIZE, "memory_limit", "Upper bound on records in flight", "512MiB")),
    between(0, 86400, opt(PL_OPT_DURATION, "shutdown_timeout", "Maximum time to finish records in flight", "30s")),
    between(1, 86400,
            opt(PL_OPT_DURATION, "slow_call",
                "A call into a plugin that takes longer than this is logged, and its node is not ready until the call "
                "returns",
                "1m")),
    opt(PL_OPT_TEXT, "state_dir", "Directory for locks and spools", "state", "/var/lib/pipeline"),
    with(http_fields, opt(PL_OPT_OBJECT, "http", "Metrics and health", "{}", "{listen: off}")),
    with(log_fields, opt(PL_OPT_OBJECT, "log", "Logging", "{}", "{level: info, format: json}"))};

constexpr std::array structure = {
    with(source_fields, of(PL_OPT_OBJECT, required(opt(PL_OPT_MAP, "sources", "Sources of records, by name", "")))),
    with(transform_fields, of(PL_OPT_OBJECT, opt(PL_OPT_MAP, "transforms", "Transforms, by name", ""))),
    with(sink_fields, of(PL_OPT_OBJECT, required(opt(PL_OPT_MAP, "sinks", "Sinks, by name", "")))),
    with(dead_letter_fields, opt(PL_OPT_OBJECT, "dead_letters", "Sink for records that cannot be processed", ""))};

}  // namespace

std::span<const pl_option> pipeline_options() { return settings; }
std::span<const pl_option> structure_options() { return structure; }
std::span<const pl_option> dead_letter_options() { return dead_letter_fields; }

std::span<const pl_option> node_options(role r) {
  switch (r) {
    case role::source:
      return source_fields;
    case role::transform:
      return transform_fields;
    case role::sink:
      break;
  }
  return sink_fields;
}

std::vector<std::string_view> keys_of(std::span<const pl_option> table) {
  std::vector<std::string_view> keys;
  for (const auto& option : table) keys.emplace_back(option.key.p, option.key.n);
  return keys;
}

}  // namespace pl::config
