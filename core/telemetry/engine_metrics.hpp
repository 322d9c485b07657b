// SPDX-License-Identifier: Apache-2.0
//
// The engine's own metrics, each declared once: the engine asks for them with `metrics.get(def, label values...)`, and
// the reference table in README.md is generated from them (a test compares). A plugin can't take their names for
// another kind.
#pragma once

#include "telemetry/metrics.hpp"

#include <string>
#include <tuple>

namespace pl::telemetry::engine_metrics {

template <std::size_t Labels>
using counter_def = metric_def<metric_kind::counter, Labels>;
template <std::size_t Labels>
using gauge_def = metric_def<metric_kind::gauge, Labels>;
template <std::size_t Labels>
using histogram_def = metric_def<metric_kind::histogram, Labels>;

inline constexpr counter_def<2> records_in_total{
    "records_in_total", "Records that a node has taken in (a source: read)", {"pipeline", "node"}};
inline constexpr counter_def<2> records_out_total{
    "records_out_total", "Records that a node has handed on (a sink: stored)", {"pipeline", "node"}};
inline constexpr counter_def<2> bytes_in_total{
    "bytes_in_total", "Payload bytes that a node has taken in", {"pipeline", "node"}};
inline constexpr counter_def<2> bytes_out_total{
    "bytes_out_total", "Payload bytes that a node has handed on", {"pipeline", "node"}};
inline constexpr counter_def<2> rejected_total{
    "rejected_total", "Records that a node has sent to the dead letters", {"pipeline", "node"}};
inline constexpr counter_def<2> retries_total{
    "retries_total", "Calls that failed for now and were made again", {"pipeline", "node"}};
inline constexpr counter_def<2> restarts_total{
    "restarts_total", "Times that a node was stopped and started again after a failure", {"pipeline", "node"}};
inline constexpr histogram_def<2> batch_rows{
    "batch_rows", "Rows in the batches that a node handles", {"pipeline", "node"}, bucket_set::size};
inline constexpr histogram_def<2> write_seconds{
    "write_seconds", "Time that one write of a sink takes", {"pipeline", "node"}};
inline constexpr gauge_def<2> queue_bytes{
    "queue_bytes", "Bytes that wait in the queue before a sink", {"pipeline", "node"}};
inline constexpr gauge_def<2> queue_limit_bytes{
    "queue_limit_bytes", "Bytes at which that queue is full and its sources pause", {"pipeline", "node"}};
inline constexpr gauge_def<2> in_flight_batches{
    "in_flight_batches", "Batches of a source that are read and not yet settled", {"pipeline", "node"}};
inline constexpr gauge_def<3> lag_records{
    "lag_records", "Records of a stream that are still to be read, as far as known", {"pipeline", "node", "stream"}};
inline constexpr gauge_def<3> settled_position{
    "settled_position", "Everything of a stream below this position is delivered", {"pipeline", "node", "stream"}};
inline constexpr gauge_def<1> memory_bytes{"memory_bytes", "Memory that the records in flight take", {"pipeline"}};
inline constexpr gauge_def<1> memory_limit_bytes{
    "memory_limit_bytes", "Memory at which the sources pause (memory_limit)", {"pipeline"}};
inline constexpr counter_def<1> config_reloads_total{
    "config_reloads_total", "Reloads of the configuration, by result: ok, failed", {"result"}};
inline constexpr gauge_def<1> build_info{
    "build_info", "Always 1; the label tells the version of the host", {"version"}};

// All of them, in the order of the reference table. (A tuple of references: the declarations differ in type.)
inline constexpr auto all =
    std::tie(records_in_total, records_out_total, bytes_in_total, bytes_out_total, rejected_total, retries_total,
             restarts_total, batch_rows, write_seconds, queue_bytes, queue_limit_bytes, in_flight_batches, lag_records,
             settled_position, memory_bytes, memory_limit_bytes, config_reloads_total, build_info);

// The reference table, in Markdown.
std::string to_markdown();

}  // namespace pl::telemetry::engine_metrics
