// SPDX-License-Identifier: Apache-2.0
// The connection of a source to its broker: connects with back-off, subscribes, and makes the subscriptions of a kept
// session those that are configured. Lane's thread; Paho's thread stores the messages (intake).
#pragma once

#include "intake.hpp"
#include "options.hpp"
#include "session.hpp"

#include <pipeline/context.hpp>
#include <pipeline/result.hpp>

#include <mqtt_common/client.hpp>
#include <spool_common/spool.hpp>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace mqtt {

class broker_link {
 public:
  // filters: those to subscribe to.
  broker_link(pl::context ctx, const source_options& o, std::vector<std::string> filters);
  ~broker_link() { close(); }

  // Check that the broker accepts the connection and grants the subscriptions as requested. Uses a client id and a
  // session of its own, and no shared subscriptions, so that a running host is not disturbed.
  pl::result<void> check() const;

  // Connect for the first time after a start of the source. Messages go to `to`, whose folder is `folder`. Fail with
  // fatal if the broker would reject every attempt; later rejections are retried.
  pl::result<void> open(std::shared_ptr<spool::log> to, std::filesystem::path folder);
  // Make the next attempt later, after a failure that is not fatal.
  void put_off(const pl::failure& why);
  // Connect if that is due. full: the spool is full, so disconnect. Return only fatal failures.
  pl::result<void> tend(bool full);
  void close();  // disconnect, and release the spool

  [[nodiscard]] const connection_settings& settings() const noexcept { return settings_; }

 private:
  using clock = std::chrono::steady_clock;

  pl::result<void> connect();
  void leave();
  pl::result<void> attempt();
  void renew();
  void report() const;

  [[nodiscard]] bool keeps_session() const noexcept;
  pl::result<void> prepare_session(const client& fresh);
  pl::result<void> subscribe(client& fresh);
  [[nodiscard]] std::vector<std::string> filters_to_subscribe(bool resumed) const;
  void note_grants(const std::vector<subscription>& all);
  void note_lost_session() const;
  void note_other_session() const;
  void note_unused_sessions() const;

  const source_options& options_;
  const pl::context ctx_;
  const connection_settings settings_;
  const std::vector<std::string> filters_;
  pl::gauge connected_;
  pl::counter connects_, sessions_lost_, grants_lowered_;
  const pl::liveness live_;

  std::shared_ptr<spool::log> spool_;
  std::filesystem::path folder_;
  session session_;
  std::shared_ptr<intake> intake_;
  std::unique_ptr<client> client_;
  clock::time_point connect_at_{}, connected_since_{};
  std::uint32_t short_lives_ = 0;  // consecutive connections that lasted less than short_life
  std::chrono::nanoseconds pause_;
  std::string why_not_;        // there is no connection
  bool worked_ = false;        // there was a connection with all subscriptions: later rejections are retried
  bool same_session_ = false;  // the broker resumed the session that session_ describes
};

}  // namespace mqtt
