// SPDX-License-Identifier: Apache-2.0
// A configured pipeline: plain data, checked as far as possible without its plugins.
#pragma once

#include "config/diagnostics.hpp"
#include "config/value.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

enum class role : std::uint8_t { source = 1, transform = 2, sink = 3 };  // PL_SOURCE, PL_TRANSFORM, PL_SINK
[[nodiscard]] std::string_view to_string(role r);

enum class delivery : std::uint8_t { at_least_once, exactly_once };
enum class log_format : std::uint8_t { text, json };
/// What happens when a sink has failed for `retry.give_up_after`.
enum class failure_policy : std::uint8_t { stop, dead_letters };
/// What happens to rows for which a sink's queue has no room.
enum class full_policy : std::uint8_t { block, drop_newest, drop_oldest };
[[nodiscard]] std::string_view to_string(full_policy p);

/// A batch is written after `rows` rows or `delay`, whichever comes first. A write exceeds neither `max_bytes` nor
/// `max_rows`, unless one record does.
struct batch_settings {
  std::uint64_t rows = 1000;
  std::chrono::nanoseconds delay = std::chrono::milliseconds(100);
  std::uint64_t max_bytes = 4U << 20U;
  std::uint64_t max_rows = 1'000'000;
  friend bool operator==(const batch_settings&, const batch_settings&) = default;
};

struct retry_settings {
  std::chrono::nanoseconds initial = std::chrono::milliseconds(100);
  std::chrono::nanoseconds max = std::chrono::seconds(30);
  double multiplier = 2;
  double jitter = 0.2;                                    ///< part of the delay that is random, 0 to 1
  std::optional<std::chrono::nanoseconds> give_up_after;  ///< nullopt: never
  friend bool operator==(const retry_settings&, const retry_settings&) = default;
};

struct queue_settings {
  std::uint64_t max_bytes = 64U << 20U;  ///< in memory
  std::uint64_t disk = 0;                ///< in files, in addition; 0: none
  friend bool operator==(const queue_settings&, const queue_settings&) = default;
};

/// How many originals of records that a transform rejects for one reason are stored in a period. The others are stored as
/// one dead letter for each batch and reason, with their number and positions.
struct collapse_settings {
  std::uint64_t originals = 10'000;  ///< 0: all
  std::chrono::nanoseconds per = std::chrono::minutes(1);
  friend bool operator==(const collapse_settings&, const collapse_settings&) = default;
};

/// What happens to records that a transform rejects while the dead-letter sink fails and its queue is full.
enum class full_dead_letters : std::uint8_t {
  wait,    ///< the sources pause
  discard  ///< the records are counted and logged, and not stored
};

/// One item of `from`: "node" or "node.port".
struct input {
  std::string node;
  std::string port;  ///< empty: the component's first port
  location where;
};

struct node {
  config::role role = config::role::source;
  std::string name;    ///< "dead_letters" for the dead letters' sink
  std::string plugin;  ///< the component's name; empty where an error was reported
  location where;      ///< position of the name
  location plugin_where;

  std::uint32_t lanes = 1;                                        ///< sources: instances, one thread each
  std::uint32_t writers = 1;                                      ///< sinks: instances, one thread each
  std::vector<input> from;                                        ///< transforms and sinks
  batch_settings batch;                                           ///< sinks
  retry_settings retry;                                           ///< sinks
  queue_settings queue;                                           ///< sinks
  collapse_settings collapse;                                     ///< the dead-letter sink
  full_dead_letters when_letters_full = full_dead_letters::wait;  ///< the dead-letter sink
  std::optional<config::delivery> delivery;                       ///< sinks: if it differs from the pipeline's
  failure_policy on_failure = failure_policy::stop;               ///< sinks
  full_policy when_full = full_policy::block;                     ///< sinks
  location on_failure_where, when_full_where;

  value options;  ///< a map with the plugin's options, see bind()
};

/// Return whether the host-level settings are equal. Ignores positions and `options`; compare those with bind() and
/// equal().
[[nodiscard]] bool equal_settings(const node& a, const node& b);

struct http_settings {
  bool enabled = true;
  std::string host = "127.0.0.1";
  std::uint16_t port = 9464;
  bool configured = false;  ///< `listen` is set, to any value
  friend bool operator==(const http_settings&, const http_settings&) = default;
};

struct log_settings {
  int level = 2;  ///< PL_LOG_TRACE ... PL_LOG_ERROR
  log_format format = log_format::text;
  friend bool operator==(const log_settings&, const log_settings&) = default;
};

struct pipeline {
  std::string name;
  location where;  ///< position of the name, else of the document

  std::vector<node> sources, transforms, sinks;  ///< in the order of the file
  std::optional<node> dead_letters;              ///< role sink, without from

  std::uint64_t memory_limit = 512U << 20U;
  std::uint32_t lanes = 1;  ///< already applied to each source's `lanes`
  std::chrono::nanoseconds shutdown_timeout = std::chrono::seconds(30);
  std::chrono::nanoseconds slow_call = std::chrono::minutes(1);
  std::string state_dir = "state";
  config::delivery delivery = config::delivery::at_least_once;
  http_settings http;
  log_settings log;

  /// Return sources, transforms, sinks and the dead-letter sink, in this order.
  [[nodiscard]] std::vector<const node*> nodes() const;
  [[nodiscard]] const node* find(std::string_view node_name) const;
  /// Return each transform after all transforms that it reads from. Complete if the pipeline has no cycles.
  [[nodiscard]] std::vector<const node*> transforms_in_order() const;
};

}  // namespace pl::config
