// SPDX-License-Identifier: Apache-2.0
// Reads the positions topic: the positions of streams and the state of transforms. Single-threaded.
#pragma once

#include "options.hpp"
#include "position_record.hpp"

#include <pipeline/component.hpp>
#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <kafka_common/client.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace kafka {

class position_log {
 public:
  position_log(const sink_options& options, pl::context ctx) : options_(options), ctx_(ctx) {}
  position_log(const position_log&) = delete;
  position_log& operator=(const position_log&) = delete;
  ~position_log();

  // Return the committed position. An open transaction of another producer in the same partition may hide the newest
  // one.
  pl::result<stream_position> read_committed(const stream_id& of);
  // Return the newest position. Wait, with a time-out, until all transactions that were open at the call are finished.
  // After a takeover of the stream's transactional id the result is final.
  pl::result<stream_position> read_latest(const stream_id& of);
  using entries = std::map<std::pair<std::string, std::string>, std::string>;  // indexed by node and key
  pl::result<entries> state_of(const stream_id& of);
  // Return the streams with a position or state. of_source: without a stream. Creates no topic.
  pl::result<std::set<std::string>> streams(const stream_id& of_source);

 private:
  using take = std::function<void(std::string_view key, std::optional<std::string_view> value)>;

  pl::result<void> open();
  pl::result<void> connect();
  pl::result<bool> topic_exists();
  pl::result<void> make_topic();
  pl::result<void> wait_for_topic();
  pl::result<void> check_cleanup();
  pl::result<std::optional<stream_position>> last_position(const stream_id& of, std::int64_t from,
                                                           std::optional<std::int64_t> until);
  pl::result<stream_position> find(const stream_id& of, std::optional<std::int64_t> until);
  pl::result<std::int64_t> end_of(std::int32_t partition);
  pl::result<void> scan(std::int32_t partition, std::int64_t from, std::optional<std::int64_t> until, const take& each);
  pl::result<void> read_on(std::int32_t partition, std::optional<std::int64_t> until, const take& each);
  [[nodiscard]] pl::failure failed(std::string_view what, std::string_view why) const;

  const sink_options& options_;
  pl::context ctx_;
  std::shared_ptr<client> reader_, observer_;
  topic_ptr topic_;
  bool topic_is_there_ = false;
};

}  // namespace kafka
