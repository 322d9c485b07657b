// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>

namespace timescale {
namespace {

using result_ptr = std::unique_ptr<PGresult, decltype(&PQclear)>;

// The maximum size of a COPY data message is 1 GB. Much smaller messages keep libpq's buffer small.
constexpr std::size_t largest_message = 1 << 20;

std::string field(const PGresult* r, int code) {
  const char* text = PQresultErrorField(r, code);
  return text ? text : "";
}

sql_error error_of(const PGresult* r, std::size_t statement) {
  return {field(r, PG_DIAG_SQLSTATE),
          field(r, PG_DIAG_MESSAGE_PRIMARY),
          field(r, PG_DIAG_MESSAGE_DETAIL),
          field(r, PG_DIAG_CONTEXT),
          statement,
          field(r, PG_DIAG_MESSAGE_HINT)};
}

std::uint64_t rows_of(PGresult* r) {
  const std::string_view text = PQcmdTuples(r);
  std::uint64_t rows = 0;
  std::from_chars(text.data(), text.data() + text.size(), rows);
  return rows;
}

std::string seconds_text(std::chrono::nanoseconds d) {
  return std::to_string(std::chrono::ceil<std::chrono::seconds>(d).count()) + " s";
}

}  // namespace

void session::closer::operator()(PGconn* c) const noexcept { PQfinish(c); }

void session::disconnect() noexcept { connection_.reset(); }

maybe_error session::connect(const std::string& secret_conninfo) {
  connection_.reset(PQconnectdb(secret_conninfo.c_str()));
  if (!connection_) return sql_error{{}, "out of memory", {}, {}, 0};
  if (PQstatus(connection_.get()) != CONNECTION_OK) return lost("connecting");
  // Ignore notices, which libpq would print to stderr.
  PQsetNoticeReceiver(
      connection_.get(), [](void*, const PGresult*) {}, nullptr);
  if (PQsetnonblocking(connection_.get(), 1) != 0) return lost("connecting");
  return std::nullopt;
}

maybe_error session::run(const std::string& statements, const std::function<void()>& when_sent, other_work* meanwhile) {
  if (auto e = send(statements)) return e;
  if (when_sent) when_sent();
  if (meanwhile != nullptr) meanwhile->begin();
  auto e = results(awaited::end, meanwhile);
  if (e && meanwhile != nullptr) meanwhile->cancel();
  return e;
}

maybe_error session::begin_copy(const std::string& statements) {
  if (auto e = send(statements)) return e;
  return results(awaited::copy_in);
}

maybe_error session::put(std::string_view data) {
  while (!data.empty()) {
    const auto piece = data.substr(0, largest_message);
    const int queued = PQputCopyData(connection_.get(), piece.data(), static_cast<int>(piece.size()));
    if (queued < 0) return lost("sending rows");
    if (queued > 0) data.remove_prefix(piece.size());
    if (auto e = flush()) return e;
  }
  return std::nullopt;
}

maybe_error session::end_copy() {
  while (true) {
    const int queued = PQputCopyEnd(connection_.get(), nullptr);
    if (queued < 0) return lost("sending rows");
    if (auto e = flush()) return e;
    if (queued > 0) return results(awaited::end);
  }
}

maybe_error session::start_copy(const std::string& statements) {
  if (PQsendQuery(connection_.get(), statements.c_str()) == 0) return lost("sending a statement");
  bool sent = false;
  return send_more(sent);
}

// An error of a statement is not kept: the caller begins again.
maybe_error session::look_for_copy(bool& ready) {
  ready = false;
  if (PQconsumeInput(connection_.get()) == 0) return lost("waiting for a response");
  while (PQisBusy(connection_.get()) == 0) {
    const result_ptr r(PQgetResult(connection_.get()), PQclear);
    const auto status = r ? PQresultStatus(r.get()) : PGRES_FATAL_ERROR;
    ready = status == PGRES_COPY_IN;
    if (ready) return std::nullopt;
    if (status == PGRES_FATAL_ERROR) return r ? error_of(r.get(), 0) : sql_error{{}, "no COPY began", {}, {}, 0};
  }
  return std::nullopt;
}

maybe_error session::await_copy() {
  if (auto e = flush()) return e;
  return results(awaited::copy_in);
}

maybe_error session::send_more(bool& sent) {
  const int left = PQflush(connection_.get());
  if (left < 0 || PQconsumeInput(connection_.get()) == 0) return lost("sending");
  sent = left == 0;
  return std::nullopt;
}

// In libpq's non-blocking mode, PQputCopyData keeps what the socket does not take. It returns 0 only without memory.
maybe_error session::put_without_waiting(std::string_view data) {
  for (; !data.empty(); data.remove_prefix(std::min(largest_message, data.size()))) {
    const auto piece = data.substr(0, largest_message);
    if (PQputCopyData(connection_.get(), piece.data(), static_cast<int>(piece.size())) <= 0)
      return lost("sending rows");
  }
  return std::nullopt;
}

int session::socket() const { return connection_ ? PQsocket(connection_.get()) : -1; }

void session::roll_back() {
  if (!connection_) return;
  const auto state = PQtransactionStatus(connection_.get());
  if (state == PQTRANS_IDLE) return;
  if (state != PQTRANS_INTRANS && state != PQTRANS_INERROR) return disconnect();
  if (run("ROLLBACK")) disconnect();
}

maybe_error session::send(const std::string& statements) {
  if (PQsendQuery(connection_.get(), statements.c_str()) == 0) return lost("sending a statement");
  return flush();
}

// Read results until the server is ready for the next statements, or, with awaited::copy_in, for the rows of a COPY.
maybe_error session::results(awaited what, other_work* meanwhile) {
  maybe_error first;
  affected_.clear();
  for (std::size_t statement = 0;; ++statement) {
    if (auto e = wait_for_result(meanwhile)) return first ? first : e;  // prefer the server's message
    const result_ptr r(PQgetResult(connection_.get()), PQclear);
    if (!r) break;
    const auto status = PQresultStatus(r.get());
    if (status == PGRES_COPY_IN && what == awaited::copy_in) return std::nullopt;
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      disconnect();
      return sql_error{{}, "the server began an unexpected COPY", {}, {}, statement};
    }
    affected_.push_back(rows_of(r.get()));
    if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
      if (!first) first = error_of(r.get(), statement);
      if (first->connection_lost()) return lost("waiting for a response");
    }
  }
  if (PQstatus(connection_.get()) != CONNECTION_OK) {
    disconnect();
    return first ? first : sql_error{{}, "the connection broke", {}, {}, 0};
  }
  if (!first && what == awaited::copy_in) return sql_error{{}, "the server did not begin the COPY", {}, {}, 0};
  return first;
}

maybe_error session::flush() {
  while (true) {
    const int left = PQflush(connection_.get());
    if (left == 0) return std::nullopt;
    // Also read while sending. Otherwise a server that reports an error while it receives rows would cause a deadlock.
    if (left < 0 || (PQconsumeInput(connection_.get()) == 0)) return lost("sending");
    if (!wait(POLLIN | POLLOUT)) return stalled("sending");
  }
}

maybe_error session::wait_for_result(other_work* meanwhile) {
  while (PQisBusy(connection_.get()) != 0) {
    if (!wait(POLLIN, meanwhile)) return stalled("waiting for a response");
    if (PQconsumeInput(connection_.get()) == 0) return lost("waiting for a response");
  }
  return std::nullopt;
}

bool session::wait(short events, other_work* meanwhile) const {
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  while (true) {
    std::array<pollfd, 2> both{pollfd{PQsocket(connection_.get()), events, 0}, pollfd{-1, 0, 0}};  // poll ignores -1
    if (meanwhile != nullptr) both[1] = {meanwhile->socket(), meanwhile->events(), 0};
    const auto left = deadline - std::chrono::steady_clock::now();
    const auto ms = std::clamp<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(left).count(), 0, 1 << 30);
    const int n = ::poll(both.data(), both.size(), static_cast<int>(ms));
    if (n == 0 || (n < 0 && errno != EINTR)) return false;
    if (n > 0 && both[0].revents != 0) return true;
    if (n > 0 && both[1].revents != 0) meanwhile->proceed();
  }
}

sql_error session::lost(std::string_view when) {
  std::string why = PQerrorMessage(connection_.get());
  if (why.empty()) why = "no reason given";
  disconnect();
  return {{}, "the connection broke while " + std::string(when) + ": " + why, {}, {}, 0};
}

sql_error session::stalled(std::string_view when) {
  // PQfinish sends a message. Shut the socket down first, so that it does not wait for an unreachable peer.
  ::shutdown(PQsocket(connection_.get()), SHUT_RDWR);
  disconnect();
  return {{},
          "the server sent nothing for " + seconds_text(patience_) + " while " + std::string(when) +
              "; the connection was closed",
          {},
          {},
          0};
}

}  // namespace timescale
