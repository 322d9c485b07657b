// SPDX-License-Identifier: Apache-2.0
// Reads a part of the topics' history outside the group: partitions are assigned manually, and offsets are never
// committed.
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
#include <cstdint>
#include <map>
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

  // Return, for each partition of the topics, the window between the bounds. A topic that begins with ^ is a regular
  // expression. A time bound refers to the timestamps of the records.
  pl::result<std::vector<window>> windows(const std::vector<std::string>& topics, pl_bound from, pl_bound until);
  // Start fetching the windows.
  pl::result<void> select(const std::vector<window>& windows);
  // Commit the `first` of each window for the group, without commit metadata. The group's next reader treats
  // such a commit as an offset reset.
  pl::result<void> reset_offsets(const std::vector<window>& windows, const std::string& group);

  [[nodiscard]] fetch_queue& fetched() noexcept { return fetched_; }
  void tend();                               // serves the client; retries partitions whose position is out of range
  [[nodiscard]] bool done() const noexcept;  // all windows are read and their last ranges are in batches
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
  void attach();
  void on_stray_record(const rd_kafka_message_t& record);
  [[nodiscard]] bool read_twice(const partition& p) const;
  void doubt(partition& p);
  void check_ends();
  void read_again();
  void finish(partition& p);
  void repair(partition& p);

  pl::context ctx_;
  std::shared_ptr<client> client_;
  fetch_queue fetched_;
  offset_lookup offsets_;
  partition_table table_;
  std::set<const partition*> open_;  // partitions whose window is not yet read to its end
  std::set<partition*> ended_;       // an event or a record says that the window is read to its end; to be checked
  std::set<partition*> doubtful_;    // records may be missing: read again from `next`; what else arrives is dropped
  std::map<const partition*, std::int64_t> again_from_;  // where the last repeated reading began
  rate_limit warnings_{std::chrono::seconds(10)};
};

}  // namespace kafka
