// SPDX-License-Identifier: Apache-2.0
// Tests of exactly-once delivery: positions and state are updated in the transaction of the rows, or not at all.
#include "position_store.hpp"
#include "proxy.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <thread>

using namespace timescale_test;

namespace {

using fate = proxy::fate;

// Removes rejected rows from a batch before the write is retried, as the host does.
struct rejected_rows {
  std::multiset<std::uint64_t> positions;
  std::vector<std::uint32_t> selection;

  void leave_out(const pl::batch& b, fake_host& host) {
    std::vector<std::uint32_t> left;
    const auto rejects = host.rejects();
    for (const auto& r : rejects) positions.insert(r.position);
    for (const auto row : b.get().selection())
      if (positions.count(b.get().position(row)) == 0) left.push_back(row);
    selection = std::move(left);
    b.get().raw()->sel = selection.data();
    b.get().raw()->nsel = static_cast<std::uint32_t>(selection.size());
  }
};

struct fixture {
  explicit fixture(const std::string& columns = "n bigint, v double precision", const config_fields& options = {})
      : s((db.run("CREATE TABLE t (" + columns + ")"), db.name("t")), options), positions(db.name("t")) {
    s.start();
    REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  }
  std::string rows() { return db.one("SELECT count(*), count(DISTINCT n) FROM t"); }

  database db;
  sink s;
  store positions;
};

}  // namespace

TEST_CASE("without the privilege to create the tables, the error contains the remedy") {
  database db;
  const auto role = db.schema() + "_user";
  db.run("CREATE TABLE t (n bigint); CREATE ROLE " + role + " LOGIN; GRANT USAGE ON SCHEMA " + db.schema() + " TO " +
         role);
  struct dropped {
    database& db;
    const std::string& role;
    ~dropped() { db.run("DROP OWNED BY " + role + "; DROP ROLE " + role); }
  } const cleanup{db, role};
  auto as_role = direct_url();
  as_role.replace(as_role.find("postgres@"), 8, role);
  store positions(db.name("t"), {}, as_role);
  const auto why = positions.refusal();
  CHECK(has(why, "cannot create the tables for 'delivery: exactly_once': permission denied for schema"));
  CHECK(has(why, "GRANT CREATE on their schema to the user of 'url', or create them yourself"));
  CHECK(has(why, "CREATE TABLE IF NOT EXISTS"));
}

TEST_CASE("claims: the state watermark is a state entry that is stored in the claim's transaction") {
  database db;
  db.run("CREATE TABLE t (n bigint)");
  store positions(db.name("t"));
  const auto watermark = [](std::uint32_t rule, std::string_view value) {
    return pl_state_watermark{rule, 0, pl::borrow("key's"), pl::borrow(value)};
  };
  const auto kept = [&] { return positions.load()[{"", "key's"}]; };
  CHECK(positions.claim({}, {0, 1}, "s/0", watermark(PL_WATERMARK_UPDATE, "1")) == PL_OK);
  CHECK(kept().empty());  // there is no watermark to update
  CHECK(positions.claim({0, 1}, {0, 2}, "s/0", watermark(PL_WATERMARK_INSERT, "2")) == PL_OK);
  CHECK(kept() == "2");
  CHECK(positions.claim({0, 2}, {0, 3}, "s/0", watermark(PL_WATERMARK_INSERT, "3")) == PL_OK);
  CHECK(kept() == "2");
  CHECK(positions.claim({0, 2}, {0, 9}, "s/0", watermark(PL_WATERMARK_UPDATE, "4")) == PL_AGAIN);
  CHECK(kept() == "2");  // a rejected claim changes nothing
  CHECK(positions.claim({0, 3}, {7, 4}, "s/0", watermark(PL_WATERMARK_UPDATE, "5")) == PL_OK);
  CHECK(kept() == "5");
  CHECK(positions.load("s/1").empty());
}

TEST_CASE("claims: the stored position must still be the one that was read") {
  database db;
  db.run("CREATE TABLE t (n bigint)");
  store positions(db.name("t")), other(db.name("t"));
  CHECK(positions.at() == "0@0");
  CHECK(positions.claim({}, {100, 1}) == PL_OK);
  CHECK(positions.at() == "100@1");
  CHECK(other.claim({}, {7, 1}) == PL_AGAIN);
  CHECK(other.claim({99, 1}, {99, 2}) == PL_AGAIN);
  CHECK(other.claim({100, 2}, {100, 3}) == PL_AGAIN);
  CHECK(other.at() == "100@1");
  CHECK(other.claim({100, 1}, {100, 2}) == PL_OK);
  CHECK(positions.claim({100, 1}, {100, 3}) == PL_AGAIN);
  CHECK(positions.claim({100, 2}, {50, 3}) == PL_OK);  // an offset reset
  CHECK(other.at() == "50@3");
  CHECK(other.at("s/1") == "0@0");
}

TEST_CASE("the tables may have other names and another schema, and several hosts may create them concurrently") {
  database db;
  db.run("CREATE TABLE t (n bigint)");
  db.run("CREATE SCHEMA " + db.schema() + "_x");
  struct dropped {
    database& db;
    ~dropped() { db.run("DROP SCHEMA " + db.schema() + "_x CASCADE"); }
  } const cleanup{db};
  const config_fields options{{"positions_table", db.schema() + "_x.\"Where.\""}, {"state_table", "what"}};
  constexpr std::size_t hosts = 6;
  std::vector<std::unique_ptr<store>> stores;
  for (std::size_t i = 0; i < hosts; ++i) stores.push_back(std::make_unique<store>(db.name("t"), options));
  std::vector<pl_status> claimed(hosts);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < hosts; ++i) threads.emplace_back([&, i] { claimed[i] = stores[i]->claim({}, {i, 1}); });
  }
  CHECK(std::count(claimed.begin(), claimed.end(), PL_OK) == 1);
  CHECK(std::count(claimed.begin(), claimed.end(), PL_AGAIN) == hosts - 1);
  CHECK(db.one("SELECT pipeline, sink, source, stream, epoch FROM " + db.schema() + "_x.\"Where.\"") ==
        "test|node|src|s/0|1");
  CHECK(db.one("SELECT count(*) FROM " + db.name("what")) == "0");
}

TEST_CASE("a write updates the position of its stream") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  CHECK(f.positions.at() == "10@1");
  const auto a = read(f.s.host, 5, 10, 1), b = read(f.s.host, 5, 15, 1);
  REQUIRE_MESSAGE(f.s.write({a.get(), b.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.positions.at() == "20@1");
  CHECK(f.rows() == "20|20");
  CHECK(f.s.host.sum("timescale_transactions_total") == 2);
  CHECK(f.s.host.sum("timescale_rows_total") == 20);
}

TEST_CASE("without a claim no position is stored") {
  fixture f;
  f.s.write_all(numbered(f.s.host, {pl::int_cell(1)}));
  CHECK(f.positions.at() == "0@1");
}

TEST_CASE("a write under an old claim is fenced and stores nothing") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  REQUIRE(f.positions.claim({10, 1}, {10, 2}) == PL_OK);
  const auto late = read(f.s.host, 10, 10, 1);
  CHECK(f.s.write(late) == PL_FENCED);
  CHECK(has(f.s.host.error_text(), "another host has claimed s/0; nothing of this write was stored"));
  CHECK(f.s.write(late) == PL_FENCED);
  CHECK(f.rows() == "10|10");
  CHECK(f.positions.at() == "10@2");
  f.s.write_all(read(f.s.host, 10, 10, 2));
  CHECK(f.positions.at() == "20@2");
  CHECK(f.rows() == "20|20");
}

TEST_CASE("a gap and a repeated write are fenced") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  CHECK(f.s.write(read(f.s.host, 10, 11, 1)) == PL_FENCED);
  CHECK(f.s.write(read(f.s.host, 10, 0, 1)) == PL_FENCED);
  CHECK(f.s.write(read(f.s.host, 10, 10, 1, "never claimed")) == PL_FENCED);
  const auto a = read(f.s.host, 5, 10, 1), b = read(f.s.host, 5, 16, 1), c = read(f.s.host, 5, 15, 2);
  CHECK(f.s.write({a.get(), b.get()}) == PL_FENCED);
  CHECK(f.s.write({a.get(), c.get()}) == PL_FENCED);
  CHECK(f.rows() == "10|10");
  CHECK(f.positions.at() == "10@1");
}

TEST_CASE("two streams in one write: both positions are updated, or neither") {
  fixture f;
  const std::string odd = "s'1\\ \"\xC3\xA4";
  REQUIRE(f.positions.claim({}, {100, 7}, odd) == PL_OK);
  const auto a = read(f.s.host, 10, 0, 1), b = read(f.s.host, 10, 100, 7, odd);
  REQUIRE_MESSAGE(f.s.write({a.get(), b.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.positions.at() == "10@1");
  CHECK(f.positions.at(odd) == "110@7");
  REQUIRE(f.positions.claim({110, 7}, {110, 8}, odd) == PL_OK);
  const auto c = read(f.s.host, 10, 10, 1), d = read(f.s.host, 10, 110, 7, odd);
  CHECK(f.s.write({c.get(), d.get()}) == PL_FENCED);
  CHECK(has(f.s.host.error_text(), "another host has claimed one of s'1"));
  CHECK(f.positions.at() == "10@1");
  CHECK(f.rows() == "20|20");
}

TEST_CASE("position-only batches update positions") {
  fixture f;
  f.s.write_all(read_nothing(f.s.host, 0, 40, 1));
  CHECK(f.positions.at() == "40@1");
  f.s.write_all(read_nothing(f.s.host, 40, 40, 1));  // from a timer
  f.s.write_all(read_nothing(f.s.host, 40, 40, 1));
  const auto rows = read(f.s.host, 10, 40, 1), position_only = read_nothing(f.s.host, 40, 60, 1);
  REQUIRE_MESSAGE(f.s.write({rows.get(), position_only.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.positions.at() == "60@1");
  CHECK(f.rows() == "10|10");
  CHECK(f.s.write(read_nothing(f.s.host, 61, 70, 1)) == PL_FENCED);
}

TEST_CASE("position-only batches do not depend on the table") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  f.db.run("ALTER TABLE t ALTER COLUMN v TYPE text");
  f.s.write_all(read_nothing(f.s.host, 10, 20, 1));
  f.db.run("DROP TABLE t");
  f.s.write_all(read_nothing(f.s.host, 20, 30, 1));
  CHECK(f.positions.at() == "30@1");
}

TEST_CASE("state is stored with the rows: the last change of a key applies, keys and values are bytes") {
  fixture f;
  const std::string binary("\0\xFF'\\\n", 5);
  const std::vector<pl_state_change> first{change("k", "1"),       change("gone", "x"),
                                           change("k", "2"),       erased("gone"),
                                           change(binary, binary), change("k", "of another node", "other"),
                                           change("", ""),         erased("never there")};
  const auto a = read(f.s.host, 10, 0, 1);
  attach(a, first);
  f.s.write_all(a);
  CHECK(f.positions.load() == entries{{{"alerts", "k"}, "2"},
                                      {{"alerts", binary}, binary},
                                      {{"other", "k"}, "of another node"},
                                      {{"alerts", ""}, ""}});
  CHECK(f.positions.load("s/1").empty());

  // The same holds across batches, and without rows.
  const std::vector<pl_state_change> second{erased("k"), change("z", "1")},
      third{change("k", "3"), erased("z"), erased(binary)};
  const auto b = read(f.s.host, 10, 10, 1), c = read_nothing(f.s.host, 20, 20, 1);
  attach(b, second);
  attach(c, third);
  REQUIRE_MESSAGE(f.s.write({b.get(), c.get()}) == PL_OK, f.s.host.error_text());
  const entries now{{{"alerts", "k"}, "3"}, {{"other", "k"}, "of another node"}, {{"alerts", ""}, ""}};
  CHECK(f.positions.load() == now);

  // No state is stored if the write is fenced.
  const auto d = read(f.s.host, 10, 99, 1);
  attach(d, first);
  CHECK(f.s.write(d) == PL_FENCED);
  CHECK(f.positions.load() == now);
}

TEST_CASE("a large state of several streams is stored in one write") {
  fixture f;
  REQUIRE(f.positions.claim({}, {0, 1}, "s/1") == PL_OK);
  std::vector<std::string> keys;
  for (int i = 0; i < 3'000; ++i) keys.push_back("key " + std::to_string(i));
  const std::string value(200, '\x80');
  std::vector<pl_state_change> changes;
  for (const auto& k : keys) changes.push_back(change(k, value));
  const auto a = read(f.s.host, 1, 0, 1), b = read(f.s.host, 1, 0, 1, "s/1");
  attach(a, changes);
  attach(b, changes);
  REQUIRE_MESSAGE(f.s.write({a.get(), b.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.positions.load().size() == 3'000);
  CHECK(f.positions.load("s/1").size() == 3'000);
  CHECK(f.positions.load("s/1")[{"alerts", "key 7"}] == value);
}

TEST_CASE("bad rows are rejected first, and nothing is stored until the write is retried without them") {
  fixture f("n bigint UNIQUE, v double precision CHECK (v >= 0)");
  std::vector<pl::cell> values;
  for (int i = 0; i < 300; ++i) values.push_back(pl::real_cell(i == 17 || i == 200 ? -1 : i));
  values[100] = pl::text_cell("no number");
  const std::vector<pl_state_change> changes{change("k", "1")};
  const auto b = read(numbered(f.s.host, values), 1);
  attach(b, changes);
  CHECK(f.s.write(b) == PL_REJECT);
  CHECK(f.rows() == "0|0");
  CHECK(f.positions.at() == "0@1");
  rejected_rows rejected;
  rejected.leave_out(b, f.s.host);
  f.s.write_all(b);
  CHECK(rejected.positions == std::multiset<std::uint64_t>{17, 100, 200});
  CHECK(f.rows() == "297|297");
  CHECK(f.positions.at() == "300@1");
  CHECK(f.positions.load().size() == 1);
  // If all rows are rejected, the position advances, too.
  const auto bad = read(numbered(f.s.host, std::vector<pl::cell>(2, pl::real_cell(-1)), 300), 1);
  CHECK(f.s.write(bad) == PL_REJECT);
  rejected_rows others;
  others.leave_out(bad, f.s.host);
  f.s.write_all(bad);
  CHECK(others.positions == std::multiset<std::uint64_t>{300, 301});
  CHECK(f.positions.at() == "302@1");
}

TEST_CASE("a write that is fenced when it is retried stores nothing") {
  fixture f("n bigint UNIQUE, v double precision CHECK (v >= 0)");
  REQUIRE(f.positions.claim({0, 1}, {0, 2}) == PL_OK);
  const auto b = read(numbered(f.s.host, {pl::real_cell(-1), pl::real_cell(1), pl::text_cell("x")}), 1);
  rejected_rows rejected;
  auto status = f.s.write(b);
  for (int attempts = 0; status == PL_REJECT && attempts < 3; ++attempts) {
    rejected.leave_out(b, f.s.host);
    status = f.s.write(b);
  }
  CHECK(status == PL_FENCED);
  CHECK(f.rows() == "0|0");
}

TEST_CASE("a table that is altered while the sink runs") {
  fixture f("n bigint, v bigint");
  f.s.write_all(read(numbered(f.s.host, {pl::int_cell(5)}), 1));
  f.db.run("ALTER TABLE t ALTER COLUMN v TYPE double precision");
  f.s.write_all(read(numbered(f.s.host, {pl::int_cell(6)}, 1), 1));
  CHECK(f.db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|5", "1|6"});
  CHECK(f.positions.at() == "2@1");
}

TEST_CASE("the response to COMMIT is lost: the retry determines whether the write was stored") {
  for (const std::string conflict : {"error", "update"})
    for (const auto f : {fate::swallow, fate::deliver}) {
      CAPTURE(conflict);
      CAPTURE(static_cast<int>(f));
      database db;
      db.run("CREATE TABLE t (n bigint PRIMARY KEY, v double precision CHECK (v >= 0))");
      proxy between(url());
      config_fields options{{"conflict", conflict}};
      if (conflict != "error") options.emplace_back("key", list({"n"}));
      sink s(db.name("t"), options, between.url());
      store positions(db.name("t"));
      s.start();
      REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
      s.write_all(read(s.host, 10, 0, 1));
      const auto before = positions.at();

      // Rows that the sink and the database reject are rejected once, before the COMMIT.
      const std::vector<pl_state_change> changes{change("k", "1")};
      const auto b =
          read(numbered(s.host, {pl::real_cell(1), pl::text_cell("x"), pl::real_cell(-1), pl::real_cell(2)}, 10), 1);
      attach(b, changes);
      rejected_rows rejected;
      while (rejected.positions.size() < 2) {
        REQUIRE(s.write(b) == PL_REJECT);
        rejected.leave_out(b, s.host);
      }
      between.next_commit(f, 0);
      CHECK(s.write(b) == PL_RETRY);
      CHECK(has(s.host.error_text(), "the next attempt first checks whether the last transaction was committed"));
      CHECK(positions.at() == (f == fate::deliver ? "14@1" : before));
      s.write_all(b);
      CHECK(rejected.positions == std::multiset<std::uint64_t>{11, 12});
      CHECK(db.one("SELECT count(*), count(DISTINCT n) FROM t") == "12|12");
      CHECK(positions.at() == "14@1");
      CHECK(positions.load().size() == 1);
      CHECK(s.host.sum("timescale_rows_total") == 12);
      CHECK(s.host.sum("timescale_rows_refused_total") == 2);
      s.write_all(read(s.host, 10, 14, 1));
      CHECK(db.one("SELECT count(*), count(DISTINCT n) FROM t") == "22|22");
    }
}

TEST_CASE("the response to COMMIT is lost several times") {
  fixture f;
  proxy between(url());
  sink s(f.db.name("t"), {}, between.url());
  s.start();
  const auto b = read(s.host, 100, 0, 1);
  for (const auto fate : {fate::swallow, fate::swallow, fate::deliver}) {
    between.next_commit(fate);
    CHECK(s.write(b) == PL_RETRY);
  }
  s.write_all(b);
  CHECK(f.rows() == "100|100");
  CHECK(f.positions.at() == "100@1");
}

TEST_CASE("a COMMIT that is executed after the next attempt") {
  fixture f;
  proxy between(url());
  sink s(f.db.name("t"), {}, between.url());
  s.start();
  const auto b = read(s.host, 10, 0, 1);
  between.next_commit(fate::hold);
  CHECK(s.write(b) == PL_RETRY);
  s.write_all(b);
  between.release();
  CHECK(f.rows() == "10|10");
  CHECK(f.positions.at() == "10@1");
  s.write_all(read(s.host, 10, 10, 1));
  CHECK(f.rows() == "20|20");
}

TEST_CASE("rows of a timer, which do not change a position, are stored once although a COMMIT is executed late") {
  fixture f;
  proxy between(url());
  sink s(f.db.name("t"), {}, between.url());
  s.start();
  s.write_all(read(s.host, 10, 0, 1));
  const auto timer = [&](std::int64_t n) {
    auto b = read(s.host, 1, n, 1);
    auto& range = const_cast<pl_range&>(b.get().ranges()[0]);
    range.first = range.next = 10;
    return b;
  };
  const auto b = timer(100);
  between.next_commit(fate::hold);
  CHECK(s.write(b) == PL_RETRY);
  s.write_all(b);
  between.release();
  CHECK(f.rows() == "11|11");
  s.write_all(timer(101));
  s.write_all(timer(102));
  CHECK(f.rows() == "13|13");
  CHECK(f.positions.at() == "10@1");
}

TEST_CASE("a COMMIT that is executed while the next attempt waits for it: no existing row is rejected") {
  fixture f("n bigint PRIMARY KEY, v double precision");
  proxy between(url());
  sink s(f.db.name("t"), {}, between.url());
  s.start();
  const auto b = read(s.host, 10, 0, 1);
  between.next_commit(fate::hold);
  CHECK(s.write(b) == PL_RETRY);
  pl_status second = PL_FATAL;
  {
    const std::jthread trying([&] { second = s.write(b); });  // waits for the lock on its own first row
    while (f.db.one("SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND "
                    "query LIKE '%" +
                    f.db.schema() + "%'") == "f")
      std::this_thread::yield();
    between.release();
  }
  CHECK_MESSAGE(second == PL_OK, s.host.error_text());
  CHECK(s.host.rejects().empty());
  CHECK(f.rows() == "10|10");
  CHECK(f.positions.at() == "10@1");
}

TEST_CASE("another host claims the stream after the response to COMMIT is lost") {
  for (const auto fate : {fate::swallow, fate::deliver}) {
    CAPTURE(static_cast<int>(fate));
    fixture f;
    proxy between(url());
    sink s(f.db.name("t"), {}, between.url());
    s.start();
    const auto b = read(s.host, 10, 0, 1);
    between.next_commit(fate);
    CHECK(s.write(b) == PL_RETRY);
    const auto seen = f.positions.position();
    REQUIRE(f.positions.claim(seen, {seen.next, 2}) == PL_OK);
    CHECK(s.write(b) == PL_FENCED);
    // The other host continues from the stored position.
    if (seen.next == 0) s.write_all(read(s.host, 10, 0, 2));
    s.write_all(read(s.host, 10, 10, 2));
    CHECK(f.rows() == "20|20");
    CHECK(f.positions.at() == "20@2");
  }
}

TEST_CASE("an abandoned write is not confused with the next one") {
  fixture f;
  proxy between(url());
  sink s(f.db.name("t"), {}, between.url());
  s.start();
  between.next_commit(fate::deliver);
  CHECK(s.write(read(s.host, 10, 0, 1)) == PL_RETRY);
  s.write_all(read(s.host, 10, 10, 1));
  CHECK(f.rows() == "20|20");
  CHECK(f.positions.at() == "20@1");
}

TEST_CASE("connections that are ended between and during writes") {
  fixture f;
  for (int i = 0; i < 5; ++i) {
    f.db.end_writers();
    const auto b = read(f.s.host, 100, i * 100, 1);
    f.s.write_with_retries({b.get()});
    CHECK(f.positions.at() == std::to_string((i + 1) * 100) + "@1");
  }
  CHECK(f.rows() == "500|500");

  // Double the time between terminations after each failed attempt, up to half a second. Otherwise the test would not
  // end on a machine that is too busy to write a hundred rows between two terminations.
  std::atomic<int> tries = 0;
  std::jthread ending([&](const std::stop_token& stop) {
    pqxx::connection admin(direct_url());
    while (!stop.stop_requested()) {
      pqxx::nontransaction(admin).exec(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pipeline-host test/%' "
          "OR "
          "query LIKE '%\"" +
          f.db.schema() + "\".\"t\"%' AND pid <> pg_backend_pid()");
      std::this_thread::sleep_for(4ms * (1 << std::min(tries.load(), 7)));
    }
  });
  for (int i = 5; i < 60; ++i) {
    const auto b = read(f.s.host, 100, i * 100, 1);
    for (tries = 0; f.s.write(b) != PL_OK; ++tries) REQUIRE(tries < 1'000);
  }
  ending.request_stop();
  ending.join();
  CHECK(f.rows() == "6000|6000");
  CHECK(f.db.one("SELECT next FROM pipeline_positions") == "6000");
}

TEST_CASE("several writers with separate streams use the same tables") {
  fixture f;
  constexpr std::size_t writers = 4;
  std::vector<std::unique_ptr<sink>> sinks;
  for (std::size_t i = 0; i < writers; ++i) {
    REQUIRE(f.positions.claim({}, {0, 1}, "w/" + std::to_string(i)) == PL_OK);
    sinks.push_back(std::make_unique<sink>(f.db.name("t")));
    sinks.back()->start();
  }
  std::vector<int> failures(writers);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < writers; ++i)
      threads.emplace_back([&, i] {
        const auto stream = "w/" + std::to_string(i);
        for (int k = 0; k < 20; ++k)
          failures[i] += sinks[i]->instance_.write(read(sinks[i]->host, 50, k * 50, 1, stream).get()) != PL_OK;
      });
  }
  for (std::size_t i = 0; i < writers; ++i) {
    CHECK(failures[i] == 0);
    CHECK(f.positions.at("w/" + std::to_string(i)) == "1000@1");
  }
  CHECK(f.db.one("SELECT count(*) FROM t") == "4000");
}

TEST_CASE("restoring state may take longer than 'stall_timeout'") {
  database db;
  db.run("CREATE TABLE t (n bigint)");
  store positions(db.name("t"), {{"statement_timeout", std::chrono::nanoseconds(1s)},
                                 {"lock_timeout", std::chrono::nanoseconds(1s)},
                                 {"stall_timeout", std::chrono::nanoseconds(2s)}});
  REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  db.run(
      "INSERT INTO pipeline_state SELECT pipeline, sink, source, stream, 'alerts', int4send(i), '\\x00' FROM "
      "pipeline_positions, generate_series(1, 2000) i");
  int restored = 0;
  const auto all = positions.load("s/0", [&] {
    ++restored;
    if (restored == 700) std::this_thread::sleep_for(2500ms);  // one portion alone may take longer, too
  });
  CHECK(all.size() == 2000);
  CHECK(positions.at() == "0@1");
}
