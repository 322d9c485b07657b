// SPDX-License-Identifier: Apache-2.0
// A member of the consumer group: joins and leaves the group, keeps the membership alive, and does the periodic work
// on the assigned partitions. All code, including librdkafka's callbacks, runs on the thread that calls serve() and
// tend().
#pragma once

#include "assignment.hpp"
#include "committer.hpp"
#include "deleted_topics.hpp"
#include "end_watch.hpp"
#include "fetch_queue.hpp"
#include "group_watch.hpp"
#include "message_origin.hpp"
#include "offset_lookup.hpp"
#include "options.hpp"
#include "partition.hpp"
#include "placement.hpp"
#include "range_repair.hpp"
#include "reception.hpp"
#include "start_policy.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kafka {

struct consumer_settings {
  std::string brokers, group, instance;  // instance: empty if the membership is dynamic
  std::vector<std::string> topics;       // as passed to subscribe: a regex begins with ^
  start_policy start;
  out_of_range on_out_of_range = out_of_range::earliest;
  std::chrono::nanoseconds commit_interval{};
  std::optional<fetch_waking> wakes_fetchers;
};

class consumer final : public message_origin {
 public:
  // Start to join the group without waiting for the coordinator. Sets the callbacks in `conf`.
  static pl::result<std::unique_ptr<consumer>> join(consumer_settings settings, conf_ptr conf, pl::context ctx);
  consumer(const consumer&) = delete;
  consumer& operator=(const consumer&) = delete;
  ~consumer() override;

  // Serve rebalances, errors, statistics and commit responses, which keeps the membership alive.
  void serve(std::chrono::nanoseconds at_most);
  // Do the work that is due: place, move and repair partitions; commit. reading: records are polled for, too.
  void tend(bool reading);
  // Return the failure that prevents the source from continuing, if any.
  [[nodiscard]] std::optional<pl::failure> failure();

  [[nodiscard]] fetch_queue& fetched() noexcept { return fetched_; }
  [[nodiscard]] partition* reading(const rd_kafka_message_t& message) override;
  [[nodiscard]] const partition_table& partitions() const noexcept override { return table_; }
  [[nodiscard]] std::uint64_t end_of(const partition& p, std::int64_t next) const noexcept override;
  void on_fetch_event(const rd_kafka_message_t& event) override;

  void settle(std::string_view stream, std::int64_t next);
  void commit_if_due();
  void leave();  // commits and leaves the group (a static member stays in it until its session ends)

 private:
  consumer(consumer_settings settings, std::shared_ptr<client> with, std::shared_ptr<group_watch> watch,
           pl::context ctx);

  static void on_rebalance(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list, void* opaque);
  static void on_commit(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list, void* opaque);
  static void on_error(rd_kafka_t*, int code, const char* reason, void* opaque);
  static int on_statistics(rd_kafka_t*, char* json, std::size_t size, void* opaque);

  void assigned(rd_kafka_topic_partition_list_t& list);
  void revoked(rd_kafka_topic_partition_list_t& list);
  void note_error(rd_kafka_resp_err_t code, std::string_view reason);
  void report(std::string_view statistics_json);
  void on_stray_record(const rd_kafka_message_t& record);

  void close();
  [[nodiscard]] bool half_joined() const noexcept;
  [[nodiscard]] bool destroyed() const noexcept { return left_ && !leaving_; }

  void warn_unplaced(const pl::result<void>& placed);
  void place_waiting();
  void commit_before_leaving(const std::vector<partition*>& those);
  void note_unknown(rd_kafka_resp_err_t code, const rd_kafka_message_t& event);
  void move(partition& p);
  void attach_new();
  void report_reception();
  void observe_ends(bool reading);
  void count_not_reading();

  consumer_settings settings_;
  pl::context ctx_;
  std::shared_ptr<client> client_;
  std::shared_ptr<group_watch> watch_;
  fetch_queue fetched_;
  offset_lookup offsets_;
  committer committer_;
  partition_table table_;
  deleted_topics deleted_;
  std::optional<pl::failure> failure_;
  assignment assignment_;
  placement placement_;
  range_repair repair_;
  bool left_ = false;         // closed, or closing
  bool leaving_ = false;      // by leave()
  bool assigned_ = false;     // the first assignment has arrived; it may be empty
  bool deleted_any_ = false;  // a topic, while this member read it
  std::chrono::steady_clock::time_point place_at_{}, watch_at_{};
  std::size_t not_reading_ = 0;  // number of partitions in another phase than reading
  rate_limit warnings_{std::chrono::seconds(10)};
  pl::liveness live_;
  reception reception_;
  end_watch ends_;

  pl::gauge owned_, queued_messages_, queued_bytes_, connected_, round_trip_;
  pl::counter rebalances_;
};

}  // namespace kafka
