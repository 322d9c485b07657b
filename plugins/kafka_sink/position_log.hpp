// SPDX-License-Identifier: Apache-2.0
// The positions topic, as it is read: where streams stand, and what transforms remember of them. One thread.
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

  // What is committed. Another producer's open transaction in the same partition may hide the newest of it.
  pl::result<standing> glance(const stream_id& of);
  // Nothing is hidden: waits, for a moment, until all transactions are finished that had begun when it was called. So, of a
  // stream whose transactional id was taken over before, it is the last word.
  pl::result<standing> look(const stream_id& of);
  using entries = std::map<std::pair<std::string, std::string>, std::string>;  // by node and key
  pl::result<entries> state_of(const stream_id& of);

 private:
  using take = std::function<void(std::string_view key, std::optional<std::string_view> value)>;

  pl::result<void> open();
  pl::result<void> make_topic();
  pl::result<void> wait_for_topic();
  pl::result<void> check_cleanup();
  pl::result<std::optional<standing>> last_standing(const stream_id& of, std::int64_t from,
                                                    std::optional<std::int64_t> until);
  pl::result<standing> find(const stream_id& of, std::optional<std::int64_t> until);
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
