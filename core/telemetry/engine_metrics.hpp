// SPDX-License-Identifier: Apache-2.0
//
// The engine's own metrics, each declared once. The engine gets a metric with `metrics.get(def, label values...)`. The
// reference table in README.md is generated from the declarations (a test compares them). A plugin cannot register one
// of these names as another kind.
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
    "records_in_total", "Records that a node received (a source: read)", {"pipeline", "node"}};
inline constexpr counter_def<2> records_out_total{
    "records_out_total", "Records that a node emitted (a sink: stored)", {"pipeline", "node"}};
inline constexpr counter_def<2> bytes_in_total{
    "bytes_in_total", "Payload bytes that a node received", {"pipeline", "node"}};
inline constexpr counter_def<2> bytes_out_total{
    "bytes_out_total", "Payload bytes that a node emitted", {"pipeline", "node"}};
inline constexpr counter_def<2> rejected_total{
    "rejected_total", "Records that a node rejected to the dead letters", {"pipeline", "node"}};
inline constexpr counter_def<2> collapsed_total{
    "collapsed_total",
    "Rejected records whose originals are not in the dead letters, because there are too many for one reason",
    {"pipeline", "node"}};
inline constexpr counter_def<2> discarded_total{
    "discarded_total",
    "Rejected records that are not in the dead letters, because the dead-letter sink failed and its queue was full",
    {"pipeline", "node"}};
inline constexpr counter_def<2> given_up_total{
    "given_up_total",
    "Records that a sink with on_failure: dead_letters gave up on, while it did not work; part of rejected_total",
    {"pipeline", "node"}};
inline constexpr counter_def<2> dropped_total{
    "dropped_total", "Records that a sink dropped because its queue was full (when_full)", {"pipeline", "node"}};
inline constexpr gauge_def<2> circuit_open{
    "circuit_open",
    "Writers of a sink that gave up: rows go to the dead letters until the sink works again (on_failure: dead_letters)",
    {"pipeline", "node"}};
inline constexpr counter_def<2> retries_total{
    "retries_total", "Calls that were retried after a temporary failure", {"pipeline", "node"}};
inline constexpr counter_def<2> restarts_total{
    "restarts_total", "Restarts of a node after a failure", {"pipeline", "node"}};
inline constexpr histogram_def<2> batch_rows{
    "batch_rows", "Rows per batch that a node handled", {"pipeline", "node"}, bucket_set::size};
inline constexpr histogram_def<2> write_seconds{
    "write_seconds", "Duration of a write of a sink, in seconds", {"pipeline", "node"}};
inline constexpr gauge_def<2> queue_bytes{
    "queue_bytes",
    "Bytes of memory that a sink has not written yet: in its queue and in its current write",
    {"pipeline", "node"}};
inline constexpr gauge_def<2> queue_limit_bytes{
    "queue_limit_bytes",
    "Limit of the queue of a sink; while it is full, its sources pause, or rows are dropped (when_full)",
    {"pipeline", "node"}};
inline constexpr gauge_def<2> queue_disk_bytes{
    "queue_disk_bytes", "Bytes of the files of a sink's queue, of the part that is on disk", {"pipeline", "node"}};
inline constexpr gauge_def<2> queue_disk_batches{
    "queue_disk_batches", "Batches of a sink's queue that are on disk", {"pipeline", "node"}};
inline constexpr gauge_def<2> queue_disk_limit_bytes{
    "queue_disk_limit_bytes", "Limit of the part of a sink's queue that is on disk; 0: none", {"pipeline", "node"}};
inline constexpr gauge_def<2> in_flight_batches{
    "in_flight_batches", "Batches of a source that are read but not yet settled", {"pipeline", "node"}};
inline constexpr gauge_def<3> lag_records{
    "lag_records", "Records of a stream that are not yet settled, if known", {"pipeline", "node", "stream"}};
inline constexpr gauge_def<3> settled_position{
    "settled_position", "Position below which all records of a stream are settled", {"pipeline", "node", "stream"}};
inline constexpr gauge_def<3> arrival_clock_lag_seconds{
    "arrival_clock_lag_seconds",
    "Seconds by which a stream's arrival clock is behind the wall clock, if a transform uses it",
    {"pipeline", "node", "stream"}};
inline constexpr gauge_def<1> memory_bytes{"memory_bytes", "Memory of the records in flight", {"pipeline"}};
inline constexpr gauge_def<1> memory_limit_bytes{
    "memory_limit_bytes", "Memory limit at which the sources pause (memory_limit)", {"pipeline"}};
inline constexpr gauge_def<2> unclaimed_spool_records{
    "unclaimed_spool_records",
    "Records in spools of a source that is no longer configured: see `pipeline-host spools`",
    {"pipeline", "node"}};
inline constexpr counter_def<1> config_reloads_total{
    "config_reloads_total", "Reloads of the configuration, by result: ok, failed", {"result"}};
inline constexpr counter_def<1> metric_series_rejected_total{
    "metric_series_rejected_total",
    "Requests for a new series of a metric that were rejected, because it or the host has too many",
    {"metric"}};
inline constexpr gauge_def<1> build_info{"build_info", "Always 1; the label is the version of the host", {"version"}};

// All engine metrics, in the order of the reference table. (A tuple of references: the declarations differ in type.)
inline constexpr auto all = std::tie(
    records_in_total, records_out_total, bytes_in_total, bytes_out_total, rejected_total, collapsed_total,
    discarded_total, given_up_total, dropped_total, circuit_open, retries_total, restarts_total, batch_rows,
    write_seconds, queue_bytes, queue_limit_bytes, queue_disk_bytes, queue_disk_batches, queue_disk_limit_bytes,
    in_flight_batches, lag_records, settled_position, arrival_clock_lag_seconds, memory_bytes, memory_limit_bytes,
    unclaimed_spool_records, config_reloads_total, metric_series_rejected_total, build_info);

// Return the reference table in Markdown.
std::string to_markdown();

}  // namespace pl::telemetry::engine_metrics
