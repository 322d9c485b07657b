// SPDX-License-Identifier: Apache-2.0
#include "early_write.hpp"

#include <pipeline/failpoint.hpp>

#include <algorithm>
#include <utility>

namespace timescale {

using namespace std::chrono_literals;

namespace {

constexpr auto until_next_connection = 1min;
// If the two transactions have disturbed each other, the retry of the first runs alone, with a connection less.
constexpr auto until_next_begin = 5s;

}  // namespace

maybe_error early_write::connect_if_wanted(const std::string& secret_conninfo) {
  if (!std::exchange(wanted_, false) || session_.connected() || clock::now() < not_before_) return std::nullopt;
  auto e = session_.connect(secret_conninfo);
  if (!e && (e = spare_.connect(secret_conninfo))) {
    e->message = "no connection would be left for positions and the catalog: " + e->message;
    disconnect();
  }
  spare_.disconnect();
  if (e) not_before_ = clock::now() + until_next_connection;
  return e;
}

void early_write::release() noexcept {
  disconnect();
  not_before_ = std::max(not_before_, clock::now() + until_next_begin);
}

void early_write::disconnect() noexcept {
  session_.disconnect();
  writer_.abandon();
  begun_ = false;
}

// The server rolls back when the connection ends. ROLLBACK would have to wait until it has read all rows.
void early_write::discard() noexcept {
  if (begun_) disconnect();
}

early_write::clock::time_point early_write::take(session& s, writer& w) {
  begun_ = false;
  std::swap(session_, s);
  std::swap(writer_, w);
  return began_;
}

void early_write::begin() {
  if (begun_ || clock::now() < not_before_) return;
  portions_ = next_();
  wanted_ = !portions_.empty();
  if (portions_.empty() || !session_.connected()) return;
  pl::failpoint("early.before");
  began_ = clock::now();
  begun_ = true;
  if (writer_.begin_early(session_, portions_)) disconnect();
}

void early_write::cancel() noexcept {
  if (!begun_) return;
  release();
}

int early_write::socket() const { return begun_ && writer_.awaits() != 0 ? session_.socket() : -1; }

// The write itself reports an error, if it occurs there again.
void early_write::proceed() {
  if (writer_.proceed(session_, portions_)) disconnect();
}

}  // namespace timescale
