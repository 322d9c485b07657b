// SPDX-License-Identifier: Apache-2.0
// Measures rows per second through the sink's write(), compared to binary COPY of the same rows, encoded in advance,
// with plain libpq:
//
//   DATABASE_URL=postgresql://... timescale_sink_bench [total rows] [rows per transaction] [variant]
//
// variant: --exactly-once, --ignore, --update or --overlap. A second sink with this setting writes the same rows into a
// second table with the same structure. With a 'conflict', both tables have a unique index, and no row exists already.
// With --overlap, the second sink sees the next write in advance, as in a pipeline under load.
//
// The writers alternate for each transaction (with --overlap: for all transactions of a round), so that other load on the
// machine affects all of them. The medians are compared. The benchmark needs a database in which it can create tables.
#include "encoder.hpp"
#include "mapping.hpp"

#include <pipeline/context.hpp>
#include <pipeline/next_write.h>
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
constexpr const char* second_table = "timescale_sink_bench_second";
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

void create_table(PGconn* c, const std::string& name, bool unique) {
  run(c, "DROP TABLE IF EXISTS " + name);
  run(c, "CREATE TABLE " + name +
             " (time timestamptz NOT NULL, user_id text, device_id text, temperature double precision, humidity double "
             "precision, battery double precision, extra jsonb)");
  run(c,
      "DO $$ BEGIN IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN PERFORM "
      "create_hypertable('" +
          name + "', 'time'); ELSE CREATE INDEX ON " + name + " (time DESC); END IF; END $$");
  if (unique) run(c, "CREATE UNIQUE INDEX ON " + name + " (device_id, time)");
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
// Return the 10th percentile, which ignores transactions that other work on the machine has delayed.
double undisturbed(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 10];
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

// The next write, as the host of the second sink reports it.
struct {
  pl_batch* next = nullptr;
  bool peeked = false;
} announced;

const void* extension(void* ctx, pl_str name) {
  static const auto of_host = pl::testing::fake_host().raw().extension;
  static constexpr pl_host_next_write reported{sizeof(pl_host_next_write),
                                               [](void*, std::uint32_t* n) -> pl_batch* const* {
                                                 *n = announced.next == nullptr ? 0 : 1;
                                                 return &announced.next;
                                               },
                                               [](void*) -> std::uint32_t { return announced.peeked ? 1 : 0; }};
  return pl::view(name) == PL_EXT_NEXT_WRITE ? &reported : of_host(ctx, name);
}

// The second sink, and the positions that it stores with --exactly-once.
class variant {
 public:
  variant(std::string how, const pl_component& component, const std::string& url)
      : how_(std::move(how)), sink_(host_, component, options(url)) {
    if (how_ != "--exactly-once" && how_ != "--ignore" && how_ != "--update" && !overlaps())
      give_up("unknown variant " + how_);
    if (overlaps()) host_.raw().extension = extension;
    if (sink_.create() != PL_OK || sink_.start() != PL_OK) give_up(host_.error_text());
    const auto* store =
        static_cast<const pl_ext_position_store*>(component.extension(sink_.self(), pl::borrow(PL_EXT_POSITION_STORE)));
    if (exactly_once() && store->claim(sink_.self(), source, stream, {}, {0, 1}, {}) != PL_OK)
      give_up(host_.error_text());
  }
  [[nodiscard]] bool overlaps() const { return how_ == "--overlap"; }
  // next: the batch of the following write; null: there is none.
  void write(pl::batch_view b, pl_batch* next = nullptr) {
    announced = {next, announced.next == b.raw()};
    auto range = pl::range_of(stream, next_, next_ + b.rows());
    range.source = source;
    range.epoch = 1;
    b.raw()->ranges = &range;
    b.raw()->nranges = exactly_once() ? 1 : 0;
    if (sink_.write(b) != PL_OK) give_up(host_.error_text());
    b.raw()->nranges = 0;
    next_ += b.rows();
  }
  static void clean_up(PGconn* c) {
    for (const auto* t : {second_table, positions_table, state_table}) run(c, "DROP TABLE IF EXISTS " + std::string(t));
  }

 private:
  static constexpr pl_str source{"source", 6}, stream{"stream/0", 8};
  static constexpr const char* positions_table = "timescale_sink_bench_positions";
  static constexpr const char* state_table = "timescale_sink_bench_state";

  [[nodiscard]] bool exactly_once() const { return how_ == "--exactly-once"; }
  [[nodiscard]] pl::testing::config_fields options(const std::string& url) const {
    pl::testing::config_fields fields{
        {"url", url}, {"table", second_table}, {"positions_table", positions_table}, {"state_table", state_table}};
    if (exactly_once() || overlaps()) return fields;
    fields.emplace_back("conflict", how_.substr(2));
    fields.emplace_back("key", pl::testing::list({"device_id", "time"}));
    return fields;
  }
  std::string how_;
  pl::testing::fake_host host_;
  pl::testing::instance sink_;
  std::uint64_t next_ = 0;
};

struct timings {  // durations of single transactions
  std::vector<double> raw, plain, other;
};

// raw is compared if there is no second sink.
timings measure(PGconn* c, pl::testing::fake_host& host, pl::testing::instance& plain, variant* other,
                std::uint32_t rows, std::uint32_t per_transaction) {
  std::vector<pl::batch> batches;
  std::vector<std::string> data;
  for (std::uint32_t first = 0; first < rows; first += per_transaction) {
    batches.push_back(make_rows(host, std::min(per_transaction, rows - first), first));
    data.push_back(encoded(batches.back().get()));
  }
  timings took;
  for (int round = 0; round < rounds; ++round) {
    run(c, "TRUNCATE " + std::string(table));
    if (other) run(c, "TRUNCATE " + std::string(second_table));
    if (other && other->overlaps()) {
      const auto all_plain = [&] {
        for (const auto& b : batches)
          if (plain.write(b.get()) != PL_OK) give_up(host.error_text());
      };
      const auto all_other = [&] {
        for (std::size_t i = 0; i < batches.size(); ++i)
          other->write(batches[i].get(), i + 1 < batches.size() ? batches[i + 1].get().raw() : nullptr);
      };
      const auto n = static_cast<double>(batches.size());
      if (round % 2 == 0) took.plain.push_back(seconds(all_plain) / n);
      took.other.push_back(seconds(all_other) / n);
      if (round % 2 == 1) took.plain.push_back(seconds(all_plain) / n);
      continue;
    }
    for (std::size_t i = 0; i < batches.size(); ++i) {
      const auto write_other = [&] { took.other.push_back(seconds([&] { other->write(batches[i].get()); })); };
      const bool other_first = i % 2 == 0;  // alternate, because the second writer finds caches filled by the first
      if (!other) took.raw.push_back(seconds([&] { copy_raw(c, data[i]); }));
      if (other && other_first) write_other();
      took.plain.push_back(seconds([&] {
        if (plain.write(batches[i].get()) != PL_OK) give_up(host.error_text());
      }));
      if (other && !other_first) write_other();
    }
  }
  return took;
}

}  // namespace

int main(int argc, char** argv) {
  const auto* url = std::getenv("DATABASE_URL");
  const auto* plugins = std::getenv("PIPELINE_PLUGIN_DIR");
  if (!url || !plugins) give_up("set DATABASE_URL, and PIPELINE_PLUGIN_DIR to the built plugins");
  const auto rows = static_cast<std::uint32_t>(argc > 1 ? std::atoi(argv[1]) : 200'000);
  const auto per_transaction = static_cast<std::uint32_t>(argc > 2 ? std::atoi(argv[2]) : 10'000);
  const std::string how = argc > 3 ? argv[3] : "";

  const connection c(PQconnectdb(url), PQfinish);
  if (PQstatus(c.get()) != CONNECTION_OK) give_up(PQerrorMessage(c.get()));
  run(c.get(), "SET client_min_messages = warning");
  const bool unique = how == "--ignore" || how == "--update";
  create_table(c.get(), table, unique);
  variant::clean_up(c.get());
  if (!how.empty()) create_table(c.get(), second_table, unique);

  std::string error;
  const auto* plugin = pl::testing::load_plugin(std::string(plugins) + "/timescale_sink.so", error);
  if (!plugin) give_up(error);
  pl::testing::fake_host host;
  pl::testing::instance sink(host, *plugin->components[0], {{"url", url}, {"table", table}});
  if (sink.create() != PL_OK || sink.start() != PL_OK) give_up(host.error_text());
  std::unique_ptr<variant> other;
  if (!how.empty()) other = std::make_unique<variant>(how, *plugin->components[0], url);

  const auto took = measure(c.get(), host, sink, other.get(), rows, per_transaction);
  const auto n = std::min(per_transaction, rows);
  const auto a_second = [&](const std::vector<double>& all) { return n / median(all); };
  if (other)
    std::printf(
        "%u rows, %u a transaction: plain sink %.0f rows/s, %s %.0f rows/s: %+.1f %% of the time (%+.1f %% for the "
        "tenth that is fastest)\n",
        rows, n, a_second(took.plain), how.c_str(), a_second(took.other),
        100 * (median(took.other) / median(took.plain) - 1),
        100 * (undisturbed(took.other) / undisturbed(took.plain) - 1));
  else
    std::printf(
        "%u rows, %u a transaction: sink %.0f rows/s, raw binary COPY %.0f rows/s: %.1f %%; encoding alone %.3f "
        "us/row\n",
        rows, n, a_second(took.plain), a_second(took.raw), 100 * median(took.raw) / median(took.plain),
        1e6 * encoding_seconds(make_rows(host, n, 0).get()) / n);
  run(c.get(), "DROP TABLE " + std::string(table));
  variant::clean_up(c.get());
  return 0;
}
