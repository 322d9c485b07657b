// SPDX-License-Identifier: Apache-2.0
// A pipeline as it is configured: plain data, checked as far as it can be without its plugins.
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

/// A batch is due after `rows` rows or `delay`, whichever is first; a write never takes more than `max_bytes`.
struct batch_settings {
  std::uint64_t rows = 1000;
  std::chrono::nanoseconds delay = std::chrono::milliseconds(100);
  std::uint64_t max_bytes = 4U << 20U;
  friend bool operator==(const batch_settings&, const batch_settings&) = default;
};

struct retry_settings {
  std::chrono::nanoseconds initial = std::chrono::milliseconds(100);
  std::chrono::nanoseconds max = std::chrono::seconds(30);
  double multiplier = 2;
  double jitter = 0.2;                                    ///< part of the delay that is random, 0 to 1
  std::optional<std::chrono::nanoseconds> give_up_after;  ///< nothing: never
  friend bool operator==(const retry_settings&, const retry_settings&) = default;
};

struct queue_settings {
  std::uint64_t max_bytes = 64U << 20U;
  friend bool operator==(const queue_settings&, const queue_settings&) = default;
};

/// One item of `from`: "node" or "node.port".
struct input {
  std::string node;
  std::string port;  ///< empty: the component's first
  location where;
};

struct node {
  config::role role = config::role::source;
  std::string name;    ///< "dead_letters" for the dead letters' sink
  std::string plugin;  ///< the component's name; empty where an error was reported
  location where;      ///< of the name
  location plugin_where;

  std::uint32_t lanes = 1;                   ///< sources: instances, one thread each
  std::uint32_t writers = 1;                 ///< sinks: instances, one thread each
  std::vector<input> from;                   ///< transforms and sinks
  batch_settings batch;                      ///< sinks
  retry_settings retry;                      ///< sinks
  queue_settings queue;                      ///< sinks
  std::optional<config::delivery> delivery;  ///< sinks: where it differs from the pipeline's

  value options;  ///< a map: what is left for the plugin, see bind()
};

/// Whether the host-level settings of both are equal (all but positions and `options`; those: bind() and equal()).
[[nodiscard]] bool equal_settings(const node& a, const node& b);

struct http_settings {
  bool enabled = true;
  std::string host = "127.0.0.1";
  std::uint16_t port = 9464;
  friend bool operator==(const http_settings&, const http_settings&) = default;
};

struct log_settings {
  int level = 2;  ///< PL_LOG_TRACE ... PL_LOG_ERROR
  log_format format = log_format::text;
  friend bool operator==(const log_settings&, const log_settings&) = default;
};

struct pipeline {
  std::string name;
  location where;  ///< of the name, else of the document

  std::vector<node> sources, transforms, sinks;  ///< in the order of the file
  std::optional<node> dead_letters;              ///< role sink, without from

  std::uint64_t memory_limit = 512U << 20U;
  std::uint32_t lanes = 1;  ///< already in each source's `lanes`
  std::chrono::nanoseconds shutdown_timeout = std::chrono::seconds(30);
  std::string state_dir = "state";
  config::delivery delivery = config::delivery::at_least_once;
  http_settings http;
  log_settings log;

  /// Sources, transforms, sinks and the dead letters, in this order.
  [[nodiscard]] std::vector<const node*> nodes() const;
  [[nodiscard]] const node* find(std::string_view node_name) const;
  /// Each after all that it reads from. Of a checked pipeline (no cycles) every transform.
  [[nodiscard]] std::vector<const node*> transforms_in_order() const;
};

}  // namespace pl::config
