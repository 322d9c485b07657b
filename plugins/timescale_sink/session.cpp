// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace timescale {
namespace {

using result_ptr = std::unique_ptr<PGresult, decltype(&PQclear)>;

// A message of COPY data may have a gigabyte at most; far smaller ones keep libpq's buffer small.
constexpr std::size_t largest_message = 1 << 20;

std::string field(const PGresult* r, int code) {
  const char* text = PQresultErrorField(r, code);
  return text ? text : "";
}

sql_error error_of(const PGresult* r, std::size_t statement) {
  return {field(r, PG_DIAG_SQLSTATE), field(r, PG_DIAG_MESSAGE_PRIMARY), field(r, PG_DIAG_MESSAGE_DETAIL),
          field(r, PG_DIAG_CONTEXT), statement};
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
  // Notices are for people at a terminal; libpq would print them on ours.
  PQsetNoticeReceiver(
      connection_.get(), [](void*, const PGresult*) {}, nullptr);
  if (PQsetnonblocking(connection_.get(), 1) != 0) return lost("connecting");
  return std::nullopt;
}

maybe_error session::run(const std::string& statements, const std::function<void()>& when_sent) {
  if (auto e = send(statements)) return e;
  if (when_sent) when_sent();
  return results(awaited::end);
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

// Reads results until the server is ready for the next statements or, if that is awaited, for the rows of a COPY.
maybe_error session::results(awaited what) {
  maybe_error first;
  for (std::size_t statement = 0;; ++statement) {
    if (auto e = wait_for_result()) return first ? first : e;  // the server's own last words say more
    const result_ptr r(PQgetResult(connection_.get()), PQclear);
    if (!r) break;
    const auto status = PQresultStatus(r.get());
    if (status == PGRES_COPY_IN && what == awaited::copy_in) return std::nullopt;
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      disconnect();
      return sql_error{{}, "the server began a COPY that nobody asked for", {}, {}, statement};
    }
    if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
      if (!first) first = error_of(r.get(), statement);
      if (first->connection_lost()) return lost("waiting for an answer");
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
    // A server that reports an error while it is being sent rows is read from here too, or both sides would wait.
    if (left < 0 || (PQconsumeInput(connection_.get()) == 0)) return lost("sending");
    if (!wait(POLLIN | POLLOUT)) return stalled("sending");
  }
}

maybe_error session::wait_for_result() {
  while (PQisBusy(connection_.get()) != 0) {
    if (!wait(POLLIN)) return stalled("waiting for an answer");
    if (PQconsumeInput(connection_.get()) == 0) return lost("waiting for an answer");
  }
  return std::nullopt;
}

bool session::wait(short events) const {
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  pollfd p{PQsocket(connection_.get()), events, 0};
  while (true) {
    const auto left = deadline - std::chrono::steady_clock::now();
    const auto ms = std::clamp<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(left).count(), 0, 1 << 30);
    const int n = ::poll(&p, 1, static_cast<int>(ms));
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

sql_error session::lost(std::string_view when) {
  std::string why = PQerrorMessage(connection_.get());
  if (why.empty()) why = "no reason given";
  disconnect();
  return {{}, "the connection broke while " + std::string(when) + ": " + why, {}, {}, 0};
}

sql_error session::stalled(std::string_view when) {
  // Closing says goodbye, and must not wait for a peer that is not there.
  ::shutdown(PQsocket(connection_.get()), SHUT_RDWR);
  disconnect();
  return {{},
          "the server was silent for " + seconds_text(patience_) + " while " + std::string(when) +
              ": the connection is given up",
          {},
          {},
          0};
}

}  // namespace timescale
