// SPDX-License-Identifier: Apache-2.0
// Begins the next write while the database commits the current one. Its rows go into a transaction of a second connection,
// which is committed only by that write itself, after the current one: docs/decisions/0019-overlapping-writes.md.
#pragma once

#include "session.hpp"
#include "writer.hpp"

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace timescale {

class early_write final : public other_work {
 public:
  using clock = std::chrono::steady_clock;
  // next: return the portions of the next write, or none if it is not due or must not begin early.
  early_write(std::chrono::nanoseconds patience, std::string settings, std::function<std::vector<portion>()> next)
      : session_(patience), spare_(patience), writer_(std::move(settings)), next_(std::move(next)) {}

  // The writer of the second connection. It needs the settings of the first.
  [[nodiscard]] writer& rows() noexcept { return writer_; }

  // Connect, if a write could have begun early, and if the server then has a connection left for what needs one. Return the
  // error; there is another attempt after a while.
  [[nodiscard]] maybe_error connect_if_wanted(const std::string& secret_conninfo);
  void disconnect() noexcept;
  void release() noexcept;  // disconnect, and do not connect for a while: another connection may need the place
  [[nodiscard]] bool connected() const noexcept { return session_.connected(); }

  // Return whether a write has begun. It ends in one of two ways.
  [[nodiscard]] bool begun() const noexcept { return begun_; }
  void discard() noexcept;                        // roll it back
  clock::time_point take(session& s, writer& w);  // exchange connections and writers, and return when it began

  // While the current write is being committed.
  void begin() override;
  void cancel() noexcept override;
  [[nodiscard]] int socket() const override;
  [[nodiscard]] short events() const override { return writer_.awaits(); }
  void proceed() override;

 private:
  session session_, spare_;
  writer writer_;
  std::function<std::vector<portion>()> next_;
  std::vector<portion> portions_;
  bool begun_ = false, wanted_ = false;
  clock::time_point began_, not_before_;
};

}  // namespace timescale
