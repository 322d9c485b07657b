// SPDX-License-Identifier: Apache-2.0
// One connection for writing. It uses libpq directly, because libpqxx has no binary COPY and waits without a timeout.
// Every wait ends if the server sends nothing for `patience`, so that a half-open connection cannot block a sink.
#pragma once

#include "sql_error.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

extern "C" {
typedef struct pg_conn PGconn;
typedef struct pg_result PGresult;
}

namespace timescale {

using maybe_error = std::optional<sql_error>;

// Work on another connection, which is done while a session waits for the response to a string of statements.
class other_work {
 public:
  virtual ~other_work() = default;
  virtual void begin() = 0;            // the statements are sent
  virtual void cancel() noexcept = 0;  // they have failed
  // Return what the work waits for; -1: for nothing.
  [[nodiscard]] virtual int socket() const = 0;
  [[nodiscard]] virtual short events() const = 0;
  // Do a piece of the work, without waiting.
  virtual void proceed() = 0;
};

class session {
 public:
  explicit session(std::chrono::nanoseconds patience) : patience_(patience) {}

  // secret_conninfo: must contain connect_timeout, which libpq applies to each host.
  [[nodiscard]] maybe_error connect(const std::string& secret_conninfo);
  // Return false also after an error that left the connection in an unknown state.
  [[nodiscard]] bool connected() const noexcept { return connection_ != nullptr; }
  void disconnect() noexcept;

  // Run a string of statements and wait for its results. meanwhile: done while waiting.
  [[nodiscard]] maybe_error run(const std::string& statements, const std::function<void()>& when_sent = nullptr,
                                other_work* meanwhile = nullptr);

  // Run a string of statements whose last one is COPY ... FROM STDIN. Send its data with `put`, then call `end_copy`.
  [[nodiscard]] maybe_error begin_copy(const std::string& statements);
  [[nodiscard]] maybe_error put(std::string_view data);
  [[nodiscard]] maybe_error end_copy();

  // The same without waiting. What cannot be sent yet is kept in memory until the next call.
  [[nodiscard]] maybe_error start_copy(const std::string& statements);
  // Return whether the server is ready for the rows; `await_copy` waits until it is.
  [[nodiscard]] maybe_error look_for_copy(bool& ready);
  [[nodiscard]] maybe_error await_copy();
  // Return whether everything is sent that was put.
  [[nodiscard]] maybe_error send_more(bool& sent);
  [[nodiscard]] maybe_error put_without_waiting(std::string_view data);
  [[nodiscard]] int socket() const;  // -1: not connected

  // Return the number of rows that each statement of the last string wrote, by its command tag; 0 if it has none.
  [[nodiscard]] const std::vector<std::uint64_t>& affected() const noexcept { return affected_; }

  // Roll back a failed transaction. Close the connection if this fails.
  void roll_back();

 private:
  struct closer {
    void operator()(PGconn* c) const noexcept;
  };
  enum class awaited { end, copy_in };

  [[nodiscard]] maybe_error send(const std::string& statements);
  [[nodiscard]] maybe_error results(awaited what, other_work* meanwhile = nullptr);
  [[nodiscard]] maybe_error flush();
  [[nodiscard]] maybe_error wait_for_result(other_work* meanwhile);
  [[nodiscard]] bool wait(short events, other_work* meanwhile = nullptr) const;
  [[nodiscard]] sql_error lost(std::string_view when);
  [[nodiscard]] sql_error stalled(std::string_view when);

  std::chrono::nanoseconds patience_;
  std::unique_ptr<PGconn, closer> connection_;
  std::vector<std::uint64_t> affected_;
};

}  // namespace timescale
