// SPDX-License-Identifier: Apache-2.0
// Tells the broker how far we are: for lag tools, for operators, and for the next start.
#pragma once

#include "group_watch.hpp"
#include "partition.hpp"

#include <kafka_common/client.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace kafka {

class committer {
 public:
  committer(std::shared_ptr<client> with, std::shared_ptr<group_watch> watch, pl::context ctx,
            std::chrono::nanoseconds interval);

  // Sends what is settled and not yet committed, not more often than the interval, and not while the group is being
  // joined. The answer comes to `on_answer`.
  void commit_if_due(const partition_table& table);
  void on_answer(const partition_table& table, rd_kafka_resp_err_t code,
                 const rd_kafka_topic_partition_list_t* offsets);

  // Commits carry a mark: who made it, and for which very offset. The usual tools drop it when somebody resets the
  // group, so an offset without it is an operator's order to go there.
  [[nodiscard]] std::string mark(std::int64_t offset) const;

  // Sends it and waits for the answer, for a bounded time.
  void commit_now(const std::vector<partition*>& those);

 private:
  partition_list_ptr offsets_of(const std::vector<partition*>& those) const;
  void note(partition& p, rd_kafka_resp_err_t code, std::int64_t offset);

  std::shared_ptr<client> client_;
  std::shared_ptr<group_watch> watch_;
  pl::context ctx_;
  std::chrono::nanoseconds interval_;
  std::chrono::steady_clock::time_point sent_{};
  bool waiting_ = false;  // for an answer
  pl::counter commits_, failures_;
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
