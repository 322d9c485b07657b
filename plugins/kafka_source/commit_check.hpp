// SPDX-License-Identifier: Apache-2.0
// Asks the group's coordinator whether the group's committed offsets still exist, and the brokers about the logs of the
// partitions. A broker deletes committed offsets together with their topic. A later commit would bring them back, and
// hide that the topic is another one; then the partition's end, which is below the position, or the times of its records
// (see log_identity) still show it. A thread of its own waits for the response: the asynchronous request of librdkafka's
// admin interface makes version 2.0.2 abort the process if the coordinator's connection is lost at the wrong moment.
#pragma once

#include "log_ends.hpp"
#include "partition.hpp"

#include <kafka_common/client.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace kafka {

class commit_check {
 public:
  using place = std::pair<std::string, std::int32_t>;  // topic and partition
  struct answer {
    rd_kafka_resp_err_t why = RD_KAFKA_RESP_ERR_NO_ERROR;  // the coordinator did not respond, or refused
    std::vector<place> missing;
    // Of the partitions whose leader has responded, if they were asked for:
    std::map<place, std::int64_t> ends;
    std::map<place, std::int64_t> first_later;  // the first record at or after the queried time; negative: none
  };

  explicit commit_check(std::shared_ptr<client> with) : client_(std::move(with)) {}
  commit_check(const commit_check&) = delete;
  commit_check& operator=(const commit_check&) = delete;
  ~commit_check() { stop(); }

  struct question {
    place about;
    std::int32_t leader;
    std::optional<std::int64_t> time;  // in ms since 1970; look up the first record from then on
  };

  // Whether an answer is expected that was not taken yet.
  [[nodiscard]] bool pending() const;
  enum class ends { yes, no };  // whether to ask for the partitions' ends, too
  void ask(std::vector<question> about, ends with);
  // Wait for the answer.
  void wait_until(std::chrono::steady_clock::time_point at_most);
  // Return the answer, once, when it has arrived.
  [[nodiscard]] std::optional<answer> take();
  // Ask no more. Waits for the requests in progress, each at most two seconds.
  void stop();

 private:
  void run(const std::stop_token& stop);
  [[nodiscard]] answer look_up(const std::vector<question>& about, ends with) const;

  std::shared_ptr<client> client_;
  mutable std::mutex mutex_;
  std::condition_variable_any asked_, answered_;
  std::vector<question> questions_;
  ends with_ = ends::no;
  std::optional<answer> answer_;
  bool pending_ = false, stopped_ = false;
  std::jthread thread_;  // runs from the first question on
};

}  // namespace kafka
