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
                                        "Address of /metrics, /health/live and /health/ready; off: none",
                                        "127.0.0.1:9464", "0.0.0.0:9464")};

constexpr std::array log_fields = {
    choices("trace|debug|info|warn|error", opt(PL_OPT_CHOICE, "level", "The least that is logged", "info")),
    choices("text|json", opt(PL_OPT_CHOICE, "format", "For people or for machines", "text"))};

constexpr std::array batch_fields = {
    between(1, 10'000'000, opt(PL_OPT_INT, "rows", "A batch is due when it has this many rows", "1000")),
    between(0, 3600, opt(PL_OPT_DURATION, "delay", "... or when its oldest row has waited this long", "100ms")),
    between(1024, tebibyte, opt(PL_OPT_SIZE, "max_bytes", "One write takes no more than this", "4MiB"))};

constexpr std::array retry_fields = {
    between(0.001, 86400, opt(PL_OPT_DURATION, "initial", "Wait after the first failure", "100ms")),
    between(0.001, 86400, opt(PL_OPT_DURATION, "max", "The longest wait", "30s")),
    between(1, 100, opt(PL_OPT_FLOAT, "multiplier", "Each wait is this much longer than the last", "2")),
    between(0, 1, opt(PL_OPT_FLOAT, "jitter", "Part of the wait that is random", "0.2")),
    opt(PL_OPT_DURATION, "give_up_after", "Stop the pipeline after failing for so long; never, if left out", "",
        "10m")};

constexpr std::array queue_fields = {between(
    4096, 1e13, opt(PL_OPT_SIZE, "max_bytes", "What may wait for this sink; then its sources slow down", "64MiB"))};

constexpr auto plugin_option =
    required(opt(PL_OPT_TEXT, "plugin", "Which component it is; see `pipeline-host plugins`", ""));

constexpr pl_option plugin_with(std::string_view example) {
  auto o = plugin_option;
  o.example = str(example);
  return o;
}

constexpr auto from_option =
    of(PL_OPT_TEXT,
       required(opt(PL_OPT_LIST, "from", "What it reads: a node, node.port, or a list of those", "", "telemetry")));

constexpr auto batch_option =
    with(batch_fields, opt(PL_OPT_OBJECT, "batch", "When rows are written", "{}", "{rows: 1000, delay: 100ms}"));
constexpr auto retry_option = with(
    retry_fields, opt(PL_OPT_OBJECT, "retry", "How failed writes are repeated", "{}", "{initial: 100ms, max: 30s}"));
constexpr auto queue_option =
    with(queue_fields, opt(PL_OPT_OBJECT, "queue", "What may wait", "{}", "{max_bytes: 64MiB}"));
constexpr auto writers_option = between(
    1, max_instances, opt(PL_OPT_INT, "writers", "Instances, each with its own thread; a stream stays with one", "1"));

constexpr auto sink_delivery_option = choices(
    "at_least_once|exactly_once",
    opt(PL_OPT_CHOICE, "delivery",
        "What this sink promises; the pipeline's, if left out. at_least_once: it may repeat, after a crash", ""));

constexpr std::array source_fields = {
    plugin_with("kafka_source"),
    between(
        1, max_instances,
        opt(PL_OPT_INT, "lanes", "Instances, each with its own thread; the pipeline's lanes, if left out", "", "4"))};
constexpr std::array transform_fields = {plugin_with("json_telemetry"), from_option};
constexpr std::array sink_fields = {
    plugin_with("timescale_sink"), from_option, writers_option, batch_option, retry_option, queue_option,
    sink_delivery_option};
constexpr std::array dead_letter_fields = {plugin_with("file_sink"), writers_option, batch_option, retry_option,
                                           queue_option};

constexpr std::array settings = {
    required(opt(PL_OPT_TEXT, "name", "Name of the pipeline, in metrics, logs and stored positions", "", "iot")),
    choices("at_least_once|exactly_once",
            opt(PL_OPT_CHOICE, "delivery",
                "What the sinks promise. exactly_once: rows and positions in one transaction, in sinks that can",
                "at_least_once")),
    between(1, max_instances, opt(PL_OPT_INT, "lanes", "Instances of each source", "1")),
    between(1 << 20, 1024 * tebibyte, opt(PL_OPT_SIZE, "memory_limit", "All that may be in flight", "512MiB")),
    between(0, 86400, opt(PL_OPT_DURATION, "shutdown_timeout", "How long a stop may take", "30s")),
    opt(PL_OPT_TEXT, "state_dir", "Directory for locks and spools", "state", "/var/lib/pipeline"),
    with(http_fields, opt(PL_OPT_OBJECT, "http", "Metrics and health", "{}", "{listen: off}")),
    with(log_fields, opt(PL_OPT_OBJECT, "log", "Logging", "{}", "{level: info, format: json}"))};

constexpr std::array structure = {
    with(source_fields, of(PL_OPT_OBJECT, required(opt(PL_OPT_MAP, "sources", "Where records come from", "")))),
    with(transform_fields, of(PL_OPT_OBJECT, opt(PL_OPT_MAP, "transforms", "What is done with them", ""))),
    with(sink_fields, of(PL_OPT_OBJECT, required(opt(PL_OPT_MAP, "sinks", "Where they go", "")))),
    with(dead_letter_fields, opt(PL_OPT_OBJECT, "dead_letters", "A sink for what can't be processed", ""))};

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
