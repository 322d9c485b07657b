// SPDX-License-Identifier: Apache-2.0
// Writes readings by binary COPY into the table that configs/iot.yaml creates. Each transaction also moves the positions
// of its partitions, by compare-and-set, in two round trips: BEGIN and COPY, then the positions and COMMIT.
#pragma once

#include "reading.hpp"

#include <libpq-fe.h>
#include <timescale_sink/byte_buffer.hpp>

#include <bit>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace straight {

class row_copy {
 public:
  explicit row_copy(const std::string& url) : connection_(PQconnectdb(url.c_str()), PQfinish) {
    if (PQstatus(connection_.get()) != CONNECTION_OK) fail();
    run("SET client_min_messages = warning");
    run("CREATE TABLE IF NOT EXISTS straight_line_positions (part int PRIMARY KEY, next bigint NOT NULL) "
        "WITH (fillfactor = 50)");
  }

  // Return the stored position of a partition, which is created with `first` if there is none.
  std::int64_t position(std::int32_t partition, std::int64_t first) {
    const auto part = std::to_string(partition);
    run("INSERT INTO straight_line_positions VALUES (" + part + ", " + std::to_string(first) +
        ") ON CONFLICT DO NOTHING");
    const result r(PQexec(connection_.get(), ("SELECT next FROM straight_line_positions WHERE part = " + part).c_str()),
                   PQclear);
    if (PQresultStatus(r.get()) != PGRES_TUPLES_OK || PQntuples(r.get()) != 1) fail();
    return std::stoll(PQgetvalue(r.get(), 0, 0));
  }

  void append(const reading& r) {
    if (!copying_) begin();
    buffer_.put(std::uint16_t{8});
    put(static_cast<std::uint64_t>(r.time_us - epoch_us));
    put(r.user);
    put(r.device);
    for (const auto& value : r.metrics) value ? put(std::bit_cast<std::uint64_t>(*value)) : buffer_.put(null_length);
    if (r.extra.empty()) {
      buffer_.put(null_length);
    } else {
      buffer_.put(static_cast<std::uint32_t>(r.extra.size() + 3));
      buffer_.append("\1{");  // version of jsonb's format
      buffer_.append(r.extra);
      buffer_.append("}");
    }
    if (buffer_.size() >= piece_bytes) send();
  }
  // Commit the rows, and move each partition from its first to its next position.
  struct move {
    std::int64_t first, next;
  };
  void commit(const std::map<std::int32_t, move>& moves) {
    if (!copying_) begin();
    buffer_.append("\377\377");
    send();
    if (PQputCopyEnd(connection_.get(), nullptr) != 1) fail();
    finish();
    std::string values;
    for (const auto& [partition, m] : moves)
      values += (values.empty() ? "(" : ",(") + std::to_string(partition) + "," + std::to_string(m.first) +
                "::bigint," + std::to_string(m.next) + "::bigint)";
    run("WITH want(part, first, next) AS (VALUES " + values +
        "), moved AS (UPDATE straight_line_positions p SET next = w.next FROM want w WHERE p.part = w.part AND p.next "
        "= "
        "w.first RETURNING 1) SELECT 1 / (count(*) = " +
        std::to_string(moves.size()) + ")::int FROM moved; COMMIT");
    copying_ = false;
  }

 private:
  using result = std::unique_ptr<PGresult, decltype(&PQclear)>;
  static constexpr std::int64_t epoch_us = 10'957LL * 86'400 * 1'000'000;  // 2000-01-01
  static constexpr std::uint32_t null_length = 0xFFFF'FFFF;
  static constexpr std::size_t piece_bytes = std::size_t{32} * 1024;

  void put(std::uint64_t fixed) {
    buffer_.put(std::uint32_t{8});
    buffer_.put(fixed);
  }
  void put(std::string_view text) {
    buffer_.put(static_cast<std::uint32_t>(text.size()));
    buffer_.append(text);
  }
  void begin() {
    run("BEGIN; COPY raw_telemetry (time, user_id, device_id, temperature, humidity, pressure, battery, extra) FROM "
        "STDIN "
        "(FORMAT binary)");
    buffer_.clear(std::size_t{1} << 20U);
    buffer_.append({"PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19});
    copying_ = true;
  }
  void send() {
    const auto bytes = buffer_.bytes();
    if (PQputCopyData(connection_.get(), bytes.data(), static_cast<int>(bytes.size())) != 1) fail();
    buffer_.clear(std::size_t{1} << 20U);
  }
  // Statements separated by semicolons; returns when COPY expects data, or after the last statement.
  void run(const std::string& sql) {
    if (PQsendQuery(connection_.get(), sql.c_str()) != 1) fail();
    finish();
  }
  void finish() {
    for (PGresult* raw = PQgetResult(connection_.get()); raw != nullptr; raw = PQgetResult(connection_.get())) {
      const result r(raw, PQclear);
      const auto status = PQresultStatus(raw);
      if (status == PGRES_COPY_IN) return;
      if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail();
    }
  }
  [[noreturn]] void fail() { throw std::runtime_error(PQerrorMessage(connection_.get())); }

  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
  timescale::byte_buffer buffer_;
  bool copying_ = false;
};

}  // namespace straight
