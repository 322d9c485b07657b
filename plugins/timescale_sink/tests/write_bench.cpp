// SPDX-License-Identifier: Apache-2.0
// Rows a second through the sink's write(), beside binary COPY of the very same rows, encoded beforehand, by bare
// libpq:
//
//   DATABASE_URL=postgresql://... timescale_sink_bench [rows in all] [rows a transaction]
//
// Both take turns, transaction by transaction, so that a busy machine is busy for both; the medians are compared. Needs
// a database to make a table in.
#include "encoder.hpp"
#include "mapping.hpp"

#include <pipeline/context.hpp>
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/instance.hpp>

#include <libpq-fe.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;
using connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

constexpr const char* table = "timescale_sink_bench";
constexpr int rounds = 9;

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "timescale_sink_bench: %s\n", why.c_str());
  std::exit(1);
}

void run(PGconn* c, const std::string& sql, ExecStatusType expected = PGRES_COMMAND_OK) {
  const std::unique_ptr<PGresult, decltype(&PQclear)> r(PQexec(c, sql.c_str()), PQclear);
  const auto got = PQresultStatus(r.get());
  if (got != expected && got != PGRES_TUPLES_OK) give_up(sql + ": " + PQerrorMessage(c));
}

void create_table(PGconn* c) {
  run(c, "DROP TABLE IF EXISTS " + std::string(table));
  run(c, "CREATE TABLE " + std::string(table) +
             " (time timestamptz NOT NULL, user_id text, device_id text, temperature double precision, humidity double "
             "precision, battery double precision, extra jsonb)");
  run(c,
      "DO $$ BEGIN IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN PERFORM "
      "create_hypertable('" +
          std::string(table) + "', 'time'); ELSE CREATE INDEX ON " + table + " (time DESC); END IF; END $$");
}

pl::batch make_rows(pl::testing::fake_host& host, std::uint32_t rows, std::int64_t first) {
  static constexpr std::int64_t start = 1'764'000'000'000'000'000;
  const auto* schema =
      pl::context(&host.raw()).schema({"time", "user_id", "device_id", "temperature", "humidity", "battery", "extra"});
  pl::batch_builder b(&host.raw(), schema, rows);
  std::vector<std::span<pl::cell>> columns;
  for (pl::column_index c = 0; c < 7; ++c) columns.push_back(b.make_column(c));
  for (std::uint32_t r = 0; r < rows; ++r) {
    const auto n = first + r;
    columns[0][r] = pl::time_cell(start + n * 1'000'000);
    columns[1][r] = pl::text_cell(b.copy("user-" + std::to_string(n % 30)));
    columns[2][r] = pl::text_cell(b.copy("device-" + std::to_string(n % 90)));
    columns[3][r] = pl::real_cell(20.0 + static_cast<double>(n % 1000) / 100);
    columns[4][r] = pl::real_cell(40.0 + static_cast<double>(n % 500) / 10);
    columns[5][r] = pl::int_cell(n % 101);
  }
  return std::move(b).finish();
}

std::string encoded(pl::batch_view rows) {
  using timescale::wire;
  timescale::row_encoder encoder({{0, wire::timestamp, true, 0, "time", "time", "timestamptz"},
                                  {1, wire::text, false, 0, "user_id", "user_id", "text"},
                                  {2, wire::text, false, 0, "device_id", "device_id", "text"},
                                  {3, wire::float8, false, 0, "temperature", "temperature", "double precision"},
                                  {4, wire::float8, false, 0, "humidity", "humidity", "double precision"},
                                  {5, wire::float8, false, 0, "battery", "battery", "double precision"},
                                  {6, wire::jsonb, false, 0, "extra", "extra", "jsonb"}});
  timescale::byte_buffer out;
  out.append(timescale::copy_header);
  encoder.bind(rows);
  for (const auto row : rows.selection())
    if (!encoder.append(out, row)) give_up(encoder.why());
  out.append(timescale::copy_trailer);
  return std::string(out.bytes());
}

void copy_raw(PGconn* c, const std::string& data) {
  run(c, "BEGIN; COPY " + std::string(table) + " FROM STDIN (FORMAT binary)", PGRES_COPY_IN);
  for (std::size_t at = 0; at < data.size(); at += 65536)
    PQputCopyData(c, data.data() + at, static_cast<int>(std::min<std::size_t>(65536, data.size() - at)));
  PQputCopyEnd(c, nullptr);
  for (PGresult* r = PQgetResult(c); r; r = PQgetResult(c)) PQclear(r);
  run(c, "COMMIT");
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

template <class F>
double seconds(F&& f) {
  const auto began = clock_type::now();
  f();
  return std::chrono::duration<double>(clock_type::now() - began).count();
}

double encoding_seconds(pl::batch_view rows) {
  std::vector<double> all;
  for (int i = 0; i < rounds; ++i) all.push_back(seconds([&] { (void)encoded(rows); }));
  return median(all);
}

}  // namespace

int main(int argc, char** argv) {
  const auto* url = std::getenv("DATABASE_URL");
  const auto* plugins = std::getenv("PIPELINE_PLUGIN_DIR");
  if (!url || !plugins) give_up("set DATABASE_URL, and PIPELINE_PLUGIN_DIR to the built plugins");
  const auto rows = static_cast<std::uint32_t>(argc > 1 ? std::atoi(argv[1]) : 200'000);
  const auto per_transaction = static_cast<std::uint32_t>(argc > 2 ? std::atoi(argv[2]) : 10'000);

  const connection c(PQconnectdb(url), PQfinish);
  if (PQstatus(c.get()) != CONNECTION_OK) give_up(PQerrorMessage(c.get()));
  run(c.get(), "SET client_min_messages = warning");
  create_table(c.get());

  std::string error;
  const auto* plugin = pl::testing::load_plugin(std::string(plugins) + "/timescale_sink.so", error);
  if (!plugin) give_up(error);
  pl::testing::fake_host host;
  pl::testing::instance sink(host, *plugin->components[0], {{"url", url}, {"table", table}});
  if (sink.create() != PL_OK || sink.start() != PL_OK) give_up(host.error_text());

  std::vector<pl::batch> batches;
  std::vector<std::string> data;
  for (std::uint32_t first = 0; first < rows; first += per_transaction) {
    batches.push_back(make_rows(host, std::min(per_transaction, rows - first), first));
    data.push_back(encoded(batches.back().get()));
  }
  std::vector<double> ours, raw;  // of one transaction each
  for (int round = 0; round < rounds; ++round) {
    run(c.get(), "TRUNCATE " + std::string(table));
    for (std::size_t i = 0; i < batches.size(); ++i) {
      raw.push_back(seconds([&] { copy_raw(c.get(), data[i]); }));
      ours.push_back(seconds([&] {
        if (sink.write(batches[i].get()) != PL_OK) give_up(host.error_text());
      }));
    }
  }
  const auto n = std::min<double>(per_transaction, rows);
  std::printf(
      "%u rows, %u a transaction: sink %.0f rows/s, raw binary COPY %.0f rows/s: %.1f %%; encoding alone %.3f us/row\n",
      rows, per_transaction, n / median(ours), n / median(raw), 100 * median(raw) / median(ours),
      1e6 * encoding_seconds(batches[0].get()) / n);
  run(c.get(), "DROP TABLE " + std::string(table));
  return 0;
}
