// SPDX-License-Identifier: Apache-2.0
// A member of the consumer group: which partitions are ours, where to begin in each, what to do when things go wrong.
#pragma once

#include "committer.hpp"
#include "fetch_queue.hpp"
#include "group_watch.hpp"
#include "message_origin.hpp"
#include "offset_lookup.hpp"
#include "options.hpp"
#include "partition.hpp"
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
  std::string brokers, group, instance;  // instance: empty where the membership is dynamic
  std::vector<std::string> topics;       // as to subscribe: a regex begins with ^
  start_policy start;
  out_of_range on_out_of_range = out_of_range::earliest;
  std::chrono::nanoseconds commit_interval{};
  bool wakes_fetchers = false;  // see fetch_queue
  std::string user, password;
};

class consumer final : public message_origin {
 public:
  // Joins the group, as far as that goes without waiting. Callbacks are set in `conf`.
  static pl::result<std::unique_ptr<consumer>> join(consumer_settings settings, conf_ptr conf, pl::context ctx);
  consumer(const consumer&) = delete;
  consumer& operator=(const consumer&) = delete;
  ~consumer() override;

  // Serves rebalances, errors, statistics, answers to commits: keeps the membership alive.
  void serve(std::chrono::nanoseconds at_most);
  // Does what is due: placing, moving and repairing partitions, committing.
  void tend();
  // Why there is no going on; nothing while there is.
  [[nodiscard]] std::optional<pl::failure> failure();

  [[nodiscard]] fetch_queue& fetched() noexcept { return fetched_; }
  [[nodiscard]] partition* reading(const rd_kafka_message_t& message) override;
  [[nodiscard]] const partition_table& partitions() const noexcept override { return table_; }
  [[nodiscard]] std::uint64_t end_of(const partition& p, std::int64_t next) const noexcept override;
  void on_fetch_event(const rd_kafka_message_t& event) override;

  void seek(std::string_view stream, std::int64_t next);
  void settle(std::string_view stream, std::int64_t next);
  void commit_if_due() { committer_.commit_if_due(table_); }
  void leave();  // commits, and leaves the group (a static member: until it comes back)

 private:
  consumer(consumer_settings settings, std::shared_ptr<client> with, std::shared_ptr<group_watch> watch,
           pl::context ctx);

  static void on_rebalance(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list, void* opaque);
  static void on_commit(rd_kafka_t*, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t* list, void* opaque);
  static void on_error(rd_kafka_t*, int code, const char* reason, void* opaque);
  static int on_statistics(rd_kafka_t*, char* json, std::size_t size, void* opaque);

  void assigned(rd_kafka_topic_partition_list_t& list);
  void revoked(rd_kafka_topic_partition_list_t& list);
  void apply_assignment(rd_kafka_topic_partition_list_t& list);
  void apply_revocation(rd_kafka_topic_partition_list_t& list);
  [[nodiscard]] bool cooperative() const;
  void note_error(rd_kafka_resp_err_t code, std::string_view reason);
  void report(std::string_view statistics_json);

  void close();
  [[nodiscard]] bool half_joined() const noexcept;
  [[nodiscard]] bool destroyed() const noexcept { return left_ && !leaving_; }

  pl::result<void> place(const std::vector<partition*>& those);
  pl::result<void> place_one(partition& p);
  pl::result<void> report_missing_offset(const partition& p, std::int64_t start);
  pl::result<void> mark_start(partition& p);
  void warn_unplaced(const pl::result<void>& placed);
  void place_waiting();
  void move(partition& p);
  bool restart(partition& p, std::int64_t from);
  void repair(partition& p);
  void go_on_after_loss(partition& p, const watermarks& ends);
  bool go_back(partition& p, std::int64_t to);
  void attach_new();

  consumer_settings settings_;
  pl::context ctx_;
  std::shared_ptr<client> client_;
  std::shared_ptr<group_watch> watch_;
  fetch_queue fetched_;
  offset_lookup offsets_;
  committer committer_;
  partition_table table_;
  std::optional<pl::failure> failure_;
  bool left_ = false;      // closed, or closing
  bool leaving_ = false;   // in an orderly way
  bool assigned_ = false;  // partitions, or none of them: the group was joined once
  std::chrono::steady_clock::time_point place_at_{};
  std::size_t not_reading_ = 0;  // partitions that tend() has to do with
  rate_limit warnings_{std::chrono::seconds(10)};

  pl::gauge owned_, queued_messages_, queued_bytes_, connected_, round_trip_;
  pl::counter rebalances_;
};

}  // namespace kafka
