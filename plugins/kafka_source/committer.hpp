// SPDX-License-Identifier: Apache-2.0
// Commits settled offsets to the broker, for lag tools, operators and the next start.
#pragma once

#include "commit_check.hpp"
#include "group_watch.hpp"
#include "offset_lookup.hpp"
#include "partition.hpp"

#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace kafka {

class committer {
 public:
  committer(std::shared_ptr<client> with, std::shared_ptr<group_watch> watch, const offset_lookup& offsets,
            pl::context ctx, std::chrono::nanoseconds interval);

  // Commit settled offsets asynchronously, at most once per interval and not while the consumer is joining the group.
  // The response goes to `on_response`. A commit is preceded by a check that the previous commit still exists, and
  // followed by one of the partition's log. Return the partitions whose topic was deleted: their previous commit, or that of
  // another partition of the topic, has vanished, or their log is another one.
  std::vector<partition*> commit_if_due(const partition_table& table);
  void on_response(const partition_table& table, rd_kafka_resp_err_t code,
                   const rd_kafka_topic_partition_list_t* offsets);
  // Check soon, even if there is nothing to commit.
  void check_soon() noexcept { next_check_ = {}; }
  // Before a stop: wait for the check of the last commit. Return the partitions as commit_if_due does.
  std::vector<partition*> verify_now(const partition_table& table);
  // Before the consumer closes: check no more. Waits for the requests in progress, each at most two seconds.
  void stop_checks() { check_.stop(); }

  // Return the metadata of a commit, which identifies the pipeline and the offset. The usual tools drop the metadata
  // when they reset a group, so an offset without it is an operator's offset reset.
  [[nodiscard]] std::string commit_metadata(std::int64_t offset) const;

  // Check and commit, and wait for the responses, with a time-out. Return the partitions whose previous commit has
  // vanished, or that of another partition of their topic.
  enum class check { now, done };
  std::vector<partition*> commit_now(const std::vector<partition*>& those, check when);
  // Commit the offset from which a partition is read, and wait.
  pl::result<void> commit_start(partition& p);
  // Commit an offset reset, as the usual tools do, and wait: the next owner of the partition begins there.
  pl::result<void> commit_reset(const partition& p, std::int64_t offset);
  // Commit the start (`first`) of partitions that this member need not own, and wait.
  pl::result<void> commit_first(const std::vector<partition*>& those);

 private:
  enum class mark { own, none };
  partition_list_ptr offsets_of(const std::vector<partition*>& those) const;
  void append(rd_kafka_topic_partition_list_t& to, const partition& p, std::int64_t offset, mark with) const;
  rd_kafka_resp_err_t send_and_wait(const rd_kafka_topic_partition_list_t& offsets) const;
  void note(partition& p, rd_kafka_resp_err_t code, std::int64_t offset);
  void ask(const partition_table& table, commit_check::ends with);
  void verify(const partition_table& table);
  std::vector<partition*> note_answer(const partition_table& table, const commit_check::answer& answer);

  std::shared_ptr<client> client_;
  std::shared_ptr<group_watch> watch_;
  const offset_lookup& offsets_;
  pl::context ctx_;
  std::chrono::nanoseconds interval_;
  std::chrono::steady_clock::time_point sent_{}, asked_{}, next_check_{};
  std::uint64_t checks_ = 0;  // number of checks that were sent
  bool asked_ends_ = false;   // by the last check
  bool waiting_ = false;      // for a response
  // When to verify that the topic to which the last commit went is the one that was read; empty: done.
  std::optional<std::chrono::steady_clock::time_point> verify_at_;
  commit_check check_;
  pl::counter commits_, failures_;
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
