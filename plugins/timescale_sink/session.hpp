// SPDX-License-Identifier: Apache-2.0
// One connection for the hot path, on libpq itself: libpqxx has no binary COPY, and waits without a limit. Every wait
// here ends when the other side has been silent for `patience`, so that a half-open connection can't hold a sink up for
// ever.
#pragma once

#include "sql_error.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

extern "C" {
typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;
}

namespace timescale {

using maybe_error = std::optional<sql_error>;

class session {
 public:
  explicit session(std::chrono::nanoseconds patience) : patience_(patience) {}

  // `secret_conninfo`: with connect_timeout in it, which libpq keeps to for each host.
  [[nodiscard]] maybe_error connect(const std::string& secret_conninfo);
  // False also after an error that left the connection, or what is on its way through it, in an unknown state.
  [[nodiscard]] bool connected() const noexcept { return connection_ != nullptr; }
  void disconnect() noexcept;

  // Runs a string of statements to its end.
  [[nodiscard]] maybe_error run(const std::string& statements, const std::function<void()>& when_sent = nullptr);

  // Runs a string of statements whose last is COPY ... FROM STDIN, then takes its data.
  [[nodiscard]] maybe_error begin_copy(const std::string& statements);
  [[nodiscard]] maybe_error put(std::string_view data);
  [[nodiscard]] maybe_error end_copy();

  // Leaves a transaction that failed; a connection that can't even do that is given up.
  void roll_back();

 private:
  struct closer {
    void operator()(PGconn* c) const noexcept;
  };
  enum class awaited { end, copy_in };

  [[nodiscard]] maybe_error send(const std::string& statements);
  [[nodiscard]] maybe_error results(awaited what);
  [[nodiscard]] maybe_error flush();
  [[nodiscard]] maybe_error wait_for_result();
  [[nodiscard]] bool wait(short events) const;
  [[nodiscard]] sql_error lost(std::string_view when);
  [[nodiscard]] sql_error stalled(std::string_view when);

  std::chrono::nanoseconds patience_;
  std::unique_ptr<PGconn, closer> connection_;
};

}  // namespace timescale
