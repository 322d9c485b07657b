// SPDX-License-Identifier: Apache-2.0
// Reads a part of the past, beside the group: partitions are assigned by hand, and no offset is ever committed.
#pragma once

#include "fetch_queue.hpp"
#include "message_origin.hpp"
#include "offset_lookup.hpp"
#include "partition.hpp"

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace kafka {

class replay final : public message_origin {
 public:
  using window = pl::replayable::window;

  static pl::result<std::unique_ptr<replay>> open(conf_ptr conf, pl::context ctx);
  replay(const replay&) = delete;
  replay& operator=(const replay&) = delete;
  ~replay() override;

  // Which records of the topics (a regular expression begins with ^) lie between. Times are the records' own in the topic.
  pl::result<std::vector<window>> windows(const std::vector<std::string>& topics, pl_bound from, pl_bound until);
  // Begins to fetch these.
  pl::result<void> choose(const std::vector<window>& windows);
  // Commits each window's `first` for the group, without our mark: an order to whoever reads next.
  pl::result<void> order(const std::vector<window>& windows, const std::string& group);

  [[nodiscard]] fetch_queue& fetched() noexcept { return fetched_; }
  void tend();                               // serves the client; repairs what stopped
  [[nodiscard]] bool done() const noexcept;  // all windows are read, and their last ranges handed on
  [[nodiscard]] rd_kafka_t* handle() const noexcept { return client_->get(); }

  [[nodiscard]] partition* reading(const rd_kafka_message_t& message) override;
  void on_fetch_event(const rd_kafka_message_t& event) override;
  [[nodiscard]] const partition_table& partitions() const noexcept override { return table_; }
  [[nodiscard]] std::uint64_t end_of(const partition& p, std::int64_t next) const noexcept override;

 private:
  replay(std::shared_ptr<client> with, pl::context ctx);

  pl::result<std::vector<window>> windows_of(std::vector<partition>& found, pl_bound from, pl_bound until);
  pl::result<std::vector<partition>> partitions_of(const std::vector<std::string>& topics) const;
  pl::result<std::int64_t> offset_at(const partition& of, pl_bound bound, const watermarks& ends) const;
  pl::result<void> assign();
  void finish(partition& p);
  void repair(partition& p);

  pl::context ctx_;
  std::shared_ptr<client> client_;
  fetch_queue fetched_;
  offset_lookup offsets_;
  partition_table table_;
  std::set<const partition*> open_;  // not read to the end of their window
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
