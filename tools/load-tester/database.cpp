// SPDX-License-Identifier: Apache-2.0
#include "database.hpp"

#include "clock.hpp"

#include <fmt/format.h>
#include <pqxx/pqxx>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>

namespace pl::load {
namespace {

constexpr std::int64_t second_us = 1'000'000;
constexpr std::int64_t shortest_gap_us = 20'000;
constexpr std::int64_t near_us = 30 * second_us;  // older messages are found by the query of the whole run
constexpr std::int64_t far_gap_us = 2 * second_us;
constexpr int rows_at_once = 20'000;

std::string first_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return std::string(text.substr(0, text.find('\n')));
}

std::uint64_t number(std::string_view text, std::uint64_t otherwise) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? value : otherwise;
}

std::uint32_t device_of(std::string_view id, std::string_view prefix) {
  constexpr auto unknown = std::numeric_limits<std::uint32_t>::max();
  if (!id.starts_with(prefix)) return unknown;
  const auto n = number(id.substr(prefix.size()), 0);
  return n == 0 || n >= unknown ? unknown : static_cast<std::uint32_t>(n - 1);
}

stored_row row_of(const pqxx::row& r, std::string_view prefix) {
  stored_row row;
  row.seq = number(r[0].c_str(), std::numeric_limits<std::uint64_t>::max());
  row.device = device_of(r[1].c_str(), prefix);
  if (!r[2].is_null()) row.centi = static_cast<std::int32_t>(std::strtol(r[2].c_str(), nullptr, 10));
  return row;
}

void append_numbers(std::string_view list, std::vector<std::uint64_t>& to) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    to.push_back(number(list.substr(0, comma), std::numeric_limits<std::uint64_t>::max()));
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  }
}

}  // namespace

struct database::connection {
  explicit connection(const std::string& url) : pq(url) {}
  pqxx::connection pq;
};

database::database(table_options options) : options_(std::move(options)) {}
database::~database() = default;

std::string database::attempt(const std::function<void()>& what) {
  try {
    what();
    return {};
  } catch (const pqxx::sql_error& e) {
    return first_line(e.what());
  } catch (const std::exception& e) {
    connection_.reset();
    return first_line(e.what());
  }
}

std::string database::connect() {
  ::setenv("PGCONNECT_TIMEOUT", "10", 0);  // the default is minutes if the host does not respond
  return attempt([&] { connection_ = std::make_unique<connection>(options_.url); });
}

std::string database::table_sql() const {
  const auto dot = options_.table.find('.');
  auto& pq = connection_->pq;
  if (dot == std::string::npos) return pq.quote_name(options_.table);
  return pq.quote_name(options_.table.substr(0, dot)) + "." + pq.quote_name(options_.table.substr(dot + 1));
}

std::string database::filter_sql(std::int64_t from_us) const {
  auto& pq = connection_->pq;
  return fmt::format(" FROM {} WHERE time >= to_timestamp({}.{:03}) AND {}::jsonb->>'run' = {}", table_sql(),
                     from_us / second_us, from_us % second_us / 1000, pq.quote_name(options_.extra_column),
                     pq.quote(options_.run));
}

std::string database::check(bool& exists) {
  std::string missing;
  auto wrong = attempt([&] {
    pqxx::work tx(connection_->pq);
    exists = !tx.exec("SELECT to_regclass(" + tx.quote(table_sql()) + ")")[0][0].is_null();
    if (!exists) return;
    for (const auto& column :
         {std::string("time"), std::string("device_id"), std::string("temperature"), options_.extra_column}) {
      const auto found = tx.exec("SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(" + tx.quote(table_sql()) +
                                 ") AND attname = " + tx.quote(column) + " AND NOT attisdropped");
      if (found.empty()) missing = column;
    }
  });
  if (!wrong.empty() || missing.empty()) return wrong;
  return fmt::format(
      "table {} has no column '{}': the load tester needs the columns time, device_id and temperature, and a JSON "
      "column "
      "with run and seq (json_telemetry's `extra`; set another name with --extra-column)",
      options_.table, missing);
}

// At the last query, all transactions older than the oldest open one had ended, and their rows were visible. This query
// needs only the rows of that open transaction and of later transactions.
std::string database::appeared(std::int64_t from_us, mark& since, std::vector<std::uint64_t>& seqs) {
  return attempt([&] {
    pqxx::work tx(connection_->pq);
    auto sql =
        fmt::format(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text, coalesce(string_agg({}::jsonb->>'seq', ','), '')",
            tx.quote_name(options_.extra_column)) +
        filter_sql(from_us);
    if (!since.transaction.empty()) sql += " AND age(xmin) <= age('" + since.transaction + "'::xid)";
    const auto found = tx.exec(sql);
    append_numbers(found[0][1].c_str(), seqs);
    // xmin of a row has only the low 32 bits of the transaction's number.
    since.transaction = std::to_string(number(found[0][0].c_str(), 0) & 0xFFFF'FFFFU);
  });
}

std::string database::all(const std::function<void(const stored_row&)>& row) {
  return attempt([&] {
    pqxx::work tx(connection_->pq);
    tx.exec(fmt::format("DECLARE load_tester NO SCROLL CURSOR FOR SELECT {}::jsonb->>'seq', device_id::text, "
                        "round(temperature * 100)::bigint",
                        tx.quote_name(options_.extra_column)) +
            filter_sql(options_.begin_us - 60 * second_us));
    for (;;) {
      const auto rows = tx.exec(fmt::format("FETCH FORWARD {} FROM load_tester", rows_at_once));
      for (const auto& r : rows) row(row_of(r, options_.device_prefix));
      if (rows.size() < rows_at_once) return;
    }
  });
}

watcher::watcher(const table_options& options, ledger& messages)
    : options_(options), ledger_(messages), database_(options) {}

watcher::~watcher() = default;

std::string watcher::start() {
  if (auto wrong = database_.connect(); !wrong.empty()) return wrong;
  if (auto wrong = database_.check(exists_); !wrong.empty()) return wrong;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  return {};
}

void watcher::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

latency watcher::resolution() const {
  const std::lock_guard hold(lock_);
  return summary(gaps_);
}

std::string watcher::error() const {
  const std::lock_guard hold(lock_);
  return error_;
}

void watcher::note(std::string error) {
  const std::lock_guard hold(lock_);
  error_ = std::move(error);
}

void watcher::run(const std::stop_token& stop) {
  auto last = now_us();
  while (!stop.stop_requested()) {
    const auto begin = now_us();
    {
      const std::lock_guard hold(lock_);
      gaps_.add(begin - last);
    }
    last = begin;
    auto wrong = poll(begin);
    const auto took = now_us() - begin;
    // Pause four times as long as the query took, so that the queries do not distort the measurement.
    auto pause = std::max(shortest_gap_us - took, 4 * took);
    if (!wrong.empty()) {
      pause = std::max(pause, second_us / 2);
      static_cast<void>(database_.connect());
    }
    note(std::move(wrong));
    for (auto left = pause; left > 0 && !stop.stop_requested(); left -= second_us / 10)
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(left, second_us / 10)));
  }
}

std::string watcher::poll(std::int64_t now) {
  if (!exists_) {
    if (auto wrong = database_.check(exists_); !wrong.empty()) return wrong;
    if (!exists_) return {};
  }
  const auto oldest = ledger_.oldest_unseen_us();
  if (!oldest) return {};
  const bool far = *oldest < now - near_us && now - last_far_us_ >= far_gap_us;
  if (far) last_far_us_ = now;
  std::vector<std::uint64_t> seqs;
  const auto from = far ? options_.begin_us : std::max(*oldest, now - near_us);
  auto wrong = database_.appeared(from - 1000, far ? far_ : near_, seqs);
  const auto at = now_us();
  for (const auto seq : seqs) ledger_.note_seen(seq, at);
  return wrong;
}

}  // namespace pl::load
