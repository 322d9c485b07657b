// SPDX-License-Identifier: Apache-2.0
// Tests of writes that begin while the one before is being committed: their rows are stored with their own positions, once,
// or not at all, whatever happens to the write before them.
#include "position_store.hpp"
#include "proxy.hpp"

#include <pipeline/next_write.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

using namespace timescale_test;

namespace {

using fate = proxy::fate;

// What the hosts of this file report about the next write.
struct announced {
  std::vector<pl_batch*> batches;
  bool peeked = false;  // of the current write
  int asked = 0;
};
announced next;

const void* extension(void* ctx, pl_str name) {
  static const auto of_host = fake_host().raw().extension;
  static constexpr pl_host_next_write table{sizeof(pl_host_next_write),
                                            [](void*, std::uint32_t* n) -> pl_batch* const* {
                                              ++next.asked;
                                              *n = static_cast<std::uint32_t>(next.batches.size());
                                              return next.batches.data();
                                            },
                                            [](void*) -> std::uint32_t { return next.peeked ? 1 : 0; }};
  return pl::view(name) == PL_EXT_NEXT_WRITE ? &table : of_host(ctx, name);
}

class fixture {
 public:
  explicit fixture(const std::string& columns = "n bigint PRIMARY KEY, v double precision CHECK (v >= 0)",
                   config_fields options = {}, const std::string& at = url(), const std::string& more = "")
      : s((db.run("CREATE TABLE t (" + columns + ");" + more), db.name("t")), std::move(options), at),
        positions(db.name("t")) {
    next = {};
    s.host.raw().extension = extension;
    s.start();
    REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  }
  // Write the first batches, so that the sink has its second connection.
  void warm_up() {
    for (int i = 0; i < 2; ++i) {
      const auto a = rows(10), b = rows(10);
      REQUIRE_MESSAGE(write(a, {&b}) == PL_OK, s.host.error_text());
      REQUIRE_MESSAGE(write(b) == PL_OK, s.host.error_text());
    }
    REQUIRE(early() > 0);
  }
  // Return the next rows of the stream.
  pl::batch rows(std::size_t count) {
    const auto first = first_;
    first_ += static_cast<std::int64_t>(count);
    return read(s.host, count, first, 1);
  }
  // Write a batch as the host does: it is the announced one, if it was announced and the write before succeeded.
  pl_status write(const pl::batch& b, const std::vector<const pl::batch*>& then = {}) {
    next.peeked = was_ok_ && next.batches == std::vector{b.get().raw()};
    return write_as_it_is(b, then);
  }
  // Write another batch than the announced one.
  pl_status write_other(const pl::batch& b) {
    next.peeked = false;
    return write_as_it_is(b, {});
  }
  [[nodiscard]] double early() const { return s.host.sum("timescale_early_transactions_total"); }
  std::string stored() { return db.one("SELECT count(*), count(DISTINCT n), coalesce(max(n), -1) FROM t"); }
  // Return whether no transaction is left open.
  bool at_rest() {
    for (const auto until = std::chrono::steady_clock::now() + 1min; std::chrono::steady_clock::now() < until;) {
      if (db.one("SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND pid <> pg_backend_pid()") == "0")
        return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  database db;
  sink s;
  store positions;

 private:
  pl_status write_as_it_is(const pl::batch& b, const std::vector<const pl::batch*>& then) {
    next.batches.clear();
    for (const auto* t : then) next.batches.push_back(t->get().raw());
    const auto status = s.write(b);
    was_ok_ = status == PL_OK;
    if (!was_ok_) next.batches.clear();
    return status;
  }
  std::int64_t first_ = 0;
  bool was_ok_ = false;
};

// Write with retries, as the host does.
void write_at_last(fixture& f, const pl::batch& b, const std::vector<const pl::batch*>& then = {}) {
  const auto patience = std::chrono::steady_clock::now() + 2min;
  for (auto status = f.write(b, then); status != PL_OK; status = f.write(b, then)) {
    REQUIRE_MESSAGE(status == PL_RETRY, f.s.host.error_text());
    REQUIRE_MESSAGE(std::chrono::steady_clock::now() < patience, "still no success: ", f.s.host.error_text());
    std::this_thread::sleep_for(5ms);
  }
}

}  // namespace

TEST_CASE("writes overlap: each is stored once, with its own position") {
  for (const std::string conflict : {"error", "ignore", "update"}) {
    CAPTURE(conflict);
    config_fields options{{"conflict", conflict}};
    if (conflict != "error") options.emplace_back("key", list({"n"}));
    fixture f("n bigint PRIMARY KEY, v double precision", options);
    std::vector<pl::batch> all;
    for (int i = 0; i < 12; ++i) all.push_back(f.rows(i % 4 == 3 ? 30'000 : 100));
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto then =
          i + 1 < all.size() ? std::vector<const pl::batch*>{&all[i + 1]} : std::vector<const pl::batch*>{};
      REQUIRE_MESSAGE(f.write(all[i], then) == PL_OK, f.s.host.error_text());
      CHECK(f.positions.position().next == all[i].get().ranges()[0].next);
    }
    CHECK(f.early() == 10);  // all but the first, and the one that opened the second connection
    CHECK(f.s.host.sum("timescale_connections_total") == 2);
    CHECK(f.s.host.sum("timescale_transactions_total") == 12);
    CHECK(f.s.host.sum("timescale_rows_total") == 90'900);
    CHECK(f.stored() == "90900|90900|90899");
    CHECK(f.db.one("SELECT sum(v) FROM t") == "136350");
    CHECK(f.at_rest());
  }
}

TEST_CASE("what has begun early is rolled back if the host writes something else") {
  fixture f;
  f.warm_up();
  const auto a = f.rows(10), b = f.rows(20'000), c = f.rows(10);
  const auto early = f.early();
  REQUIRE(f.write(a, {&b}) == PL_OK);
  CHECK(f.stored() == "50|50|49");
  CHECK(f.write_other(b) == PL_OK);  // the same rows, but the host does not confirm that they are
  CHECK(f.stored() == "20050|20050|20049");
  CHECK(f.early() == early);
  write_at_last(f, c, {});
  CHECK(f.at_rest());
  // A batch at the same address, with other contents.
  auto d = f.rows(10), e = f.rows(10);
  write_at_last(f, d, {&e});
  const auto cells = e.get().column(0);
  for (auto& cell : std::span(const_cast<pl::cell*>(cells.data()), cells.size())) cell.as.i += 1'000'000;
  CHECK(f.write_other(e) == PL_OK);
  CHECK(f.db.one("SELECT count(*) FILTER (WHERE n < 1000000), count(*) FILTER (WHERE n >= 1000000) FROM t") ==
        "20070|10");
  CHECK(f.at_rest());
}

TEST_CASE("the response to COMMIT is lost after the next write has begun") {
  for (const auto lost : {fate::swallow, fate::deliver, fate::hold}) {
    CAPTURE(static_cast<int>(lost));
    proxy between(url());
    fixture f("n bigint PRIMARY KEY, v double precision", {}, between.url());
    f.warm_up();
    const auto a = f.rows(10), b = f.rows(5'000);
    between.next_commit(lost);
    CHECK(f.write(a, {&b}) == PL_RETRY);
    CHECK(has(f.s.host.error_text(), "the next attempt first checks whether the last transaction was committed"));
    CHECK(f.db.one("SELECT count(*) FROM t WHERE n >= 50") == "0");
    if (lost == fate::hold) between.release();
    write_at_last(f, a, {&b});
    CHECK(f.positions.at() == "50@1");
    write_at_last(f, b);
    CHECK(f.positions.at() == "5050@1");
    CHECK(f.stored() == "5050|5050|5049");
    CHECK(f.at_rest());
  }
}

TEST_CASE("the response to the COMMIT of a write that began early is lost") {
  for (const auto lost : {fate::swallow, fate::deliver}) {
    CAPTURE(static_cast<int>(lost));
    proxy between(url());
    fixture f("n bigint PRIMARY KEY, v double precision", {}, between.url());
    f.warm_up();
    const auto a = f.rows(10), b = f.rows(5'000), c = f.rows(10);
    REQUIRE(f.write(a, {&b}) == PL_OK);
    between.next_commit(lost);
    CHECK(f.write(b, {&c}) == PL_RETRY);
    write_at_last(f, b, {&c});
    write_at_last(f, c);
    CHECK(f.stored() == "5060|5060|5059");
    CHECK(f.positions.at() == "5060@1");
    CHECK(f.at_rest());
  }
}

TEST_CASE("a write that is fenced stores nothing, nor does the one that began early") {
  fixture f;
  f.warm_up();
  const auto a = f.rows(10), b = f.rows(10);
  REQUIRE(f.positions.claim({40, 1}, {40, 2}) == PL_OK);
  CHECK(f.write(a, {&b}) == PL_FENCED);
  CHECK(f.at_rest());
  CHECK(f.stored() == "40|40|39");
}

TEST_CASE("a stream is claimed after the next write has begun") {
  fixture f;
  f.warm_up();
  const auto a = f.rows(10), b = f.rows(10);
  REQUIRE(f.write(a, {&b}) == PL_OK);
  REQUIRE(f.positions.claim({50, 1}, {50, 2}) == PL_OK);
  const auto early = f.early();
  CHECK(f.write(b) == PL_FENCED);
  CHECK(f.stored() == "50|50|49");
  CHECK(f.positions.at() == "50@2");
  CHECK(f.early() == early);
  CHECK(f.at_rest());
}

TEST_CASE("rows that the database rejects in a write that began early") {
  fixture f;
  f.warm_up();
  const auto a = f.rows(10);
  std::vector<pl::cell> values(300, pl::real_cell(1));
  values[7] = pl::real_cell(-1);
  values[9] = pl::text_cell("no number");
  auto b = read(numbered(f.s.host, values, 50), 1);
  const_cast<pl::cell*>(b.get().column(0).data())[200].as.i = 45;  // waits for the commit of `a`, and then exists
  REQUIRE(f.write(a, {&b}) == PL_OK);
  CHECK(f.write(b) == PL_REJECT);
  std::vector<std::uint32_t> rejected;
  for (const auto& r : f.s.host.rejects()) rejected.push_back(static_cast<std::uint32_t>(r.position - 50));
  std::ranges::sort(rejected);
  CHECK(rejected == std::vector<std::uint32_t>{7, 9, 200});
  CHECK(f.stored() == "50|50|49");
  std::vector<std::uint32_t> kept;
  for (std::uint32_t i = 0; i < 300; ++i)
    if (!std::ranges::binary_search(rejected, i)) kept.push_back(i);
  b.get().raw()->sel = kept.data();
  b.get().raw()->nsel = static_cast<std::uint32_t>(kept.size());
  write_at_last(f, b);
  CHECK(f.stored() == "347|347|349");
  CHECK(f.positions.at() == "350@1");
  CHECK(f.at_rest());
}

TEST_CASE("a write returns once it is committed, although the rows of the next one wait for a lock") {
  fixture f;
  f.warm_up();
  const auto a = f.rows(10), b = f.rows(10);
  pqxx::connection other(direct_url());
  {
    pqxx::work tx(other);
    tx.exec("INSERT INTO " + f.db.name("t") + " VALUES (55, 0)");
    CHECK(f.write(a, {&b}) == PL_OK);
    CHECK(f.positions.at() == "50@1");
    tx.abort();
  }
  CHECK(f.write(b) == PL_OK);
  CHECK(f.stored() == "60|60|59");
}

TEST_CASE("without the second connection, and with it broken, writes do not overlap") {
  fixture f;
  f.warm_up();
  f.db.end_writers();
  const auto a = f.rows(10), b = f.rows(10);
  write_at_last(f, a, {&b});
  write_at_last(f, b);
  CHECK(f.stored() == "60|60|59");
  CHECK(f.positions.at() == "60@1");
}

TEST_CASE("writes do not overlap if the table has triggers, nor with 'overlap: false'") {
  for (const bool trigger : {true, false}) {
    CAPTURE(trigger);
    config_fields options;
    if (!trigger) options.emplace_back("overlap", false);
    const std::string function =
        "CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
        "CREATE TRIGGER seen BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION seen()";
    fixture f("n bigint, v double precision", options, url(), trigger ? function : "");
    const auto a = f.rows(10), b = f.rows(10), c = f.rows(10);
    CHECK(f.write(a, {&b}) == PL_OK);
    CHECK(f.write(b, {&c}) == PL_OK);
    CHECK(f.write(c) == PL_OK);
    CHECK(f.early() == 0);
    CHECK(next.asked == 0);
    CHECK(f.s.host.sum("timescale_connections_total") == 1);
    CHECK(f.stored() == "30|30|29");
  }
}

// Also run behind a pool of one connection, which the transaction must not keep.
TEST_CASE("what has begun early is rolled back by a write without batches") {
  fixture f;
  f.warm_up();
  const auto a = f.rows(10), b = f.rows(20'000);
  REQUIRE(f.write(a, {&b}) == PL_OK);
  next = {};
  REQUIRE(f.s.write(std::vector<pl::batch_view>{}) == PL_OK);
  CHECK(f.at_rest());
  REQUIRE(f.positions.claim({50, 1}, {50, 2}) == PL_OK);
  CHECK(f.stored() == "50|50|49");
  CHECK(f.positions.at() == "50@2");
}

TEST_CASE("a trigger that is created while the sink runs sees all rows of the writes before") {
  for (const bool of_partition : {false, true}) {
    CAPTURE(of_partition);
    fixture f("n bigint, v double precision", {}, url(), "");
    if (of_partition)
      f.db.run(
          "DROP TABLE t; CREATE TABLE t (n bigint, v double precision) PARTITION BY RANGE (n);"
          "CREATE TABLE part PARTITION OF t DEFAULT");
    for (int i = 0; i < 2 || f.early() == 0; ++i) {
      const auto a = f.rows(10), b = f.rows(10);
      write_at_last(f, a, {&b});
      write_at_last(f, b);
      REQUIRE(i < 20'000);  // after a write that was repeated, writes overlap again a few seconds later
      std::this_thread::sleep_for(1ms);
    }
    f.db.run(
        "CREATE TABLE seen (first bigint, found bigint);"
        "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO seen SELECT NEW.n, count(*) FROM t; RETURN NEW; END $$;"
        "CREATE TRIGGER look BEFORE INSERT ON " +
        std::string(of_partition ? "part" : "t") + " FOR EACH ROW WHEN (NEW.n % 10 = 0) EXECUTE FUNCTION look()");
    f.db.run("ALTER FUNCTION look() SET search_path = " + f.db.schema());
    const auto early = f.early();
    const auto a = f.rows(10), b = f.rows(10), c = f.rows(10);
    REQUIRE_MESSAGE(f.write(a, {&b}) == PL_OK, f.s.host.error_text());
    REQUIRE_MESSAGE(f.write(b, {&c}) == PL_OK, f.s.host.error_text());
    REQUIRE_MESSAGE(f.write(c) == PL_OK, f.s.host.error_text());
    CHECK(f.early() == early);
    CHECK(f.db.one("SELECT count(*), bool_and(first = found) FROM seen") == "3|t");
  }
}

namespace {

// A sink of a user that may have few connections.
class limited {
 public:
  explicit limited(int connections) {
    db.run("CREATE TABLE t (n bigint, v double precision); CREATE ROLE " + role_ + " LOGIN CONNECTION LIMIT " +
           std::to_string(connections) + "; GRANT USAGE, CREATE ON SCHEMA " + db.schema() + " TO " + role_ +
           "; GRANT SELECT, INSERT ON t TO " + role_);
    url_.replace(url_.find("postgres@"), 8, role_);
    next = {};
    s.emplace(db.name("t"), config_fields{{"lock_timeout", std::chrono::nanoseconds(1s)}}, url_);
    s->host.raw().extension = extension;
    s->start();
    REQUIRE(claims({}, {0, 1}));
    REQUIRE(at_most(1));
  }
  ~limited() {
    s.reset();
    db.run("DROP OWNED BY " + role_ + "; DROP ROLE " + role_);
  }
  // Claim the stream over a connection that is then closed.
  bool claims(pl_position seen, pl_position wanted) {
    store positions(db.name("t"), {}, url_);
    const auto until = std::chrono::steady_clock::now() + 1min;
    auto status = positions.claim(seen, wanted);
    // The server may not have noticed yet that another connection has ended.
    for (; status == PL_RETRY && std::chrono::steady_clock::now() < until; status = positions.claim(seen, wanted))
      std::this_thread::sleep_for(5ms);
    return status == PL_OK;
  }
  // Return whether the user has so few connections, now or soon.
  bool at_most(int connections) {
    const auto sql =
        "SELECT count(*) <= " + std::to_string(connections) + " FROM pg_stat_activity WHERE usename = '" + role_ + "'";
    const auto until = std::chrono::steady_clock::now() + 1min;
    while (std::chrono::steady_clock::now() < until) {
      if (db.one(sql) == "t") return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }
  pl_status write(const pl::batch& b, const pl::batch& then) {
    next.peeked = next.batches == std::vector{b.get().raw()};
    next.batches = {then.get().raw()};
    return s->write(b);
  }
  pl::batch rows(std::int64_t first) { return read(s->host, 10, first, 1); }

  database db;
  std::optional<sink> s;

 private:
  std::string role_ = db.schema() + "_user", url_ = direct_url();
};

}  // namespace

TEST_CASE("the second connection leaves one for positions, if the user may have few") {
  limited f(3);  // for the rows, and one each for the positions of the writer and of the lane
  const auto a = f.rows(0), b = f.rows(10), c = f.rows(20);
  REQUIRE_MESSAGE(f.write(a, b) == PL_OK, f.s->host.error_text());
  REQUIRE_MESSAGE(f.write(b, c) == PL_OK, f.s->host.error_text());  // would open the second one
  CHECK(std::ranges::any_of(f.s->host.logs(), [](const auto& l) {
    return has(l.message, "no connection would be left for positions and the catalog");
  }));
  CHECK(f.claims({20, 1}, {20, 2}));
  CHECK(f.s->host.sum("timescale_early_transactions_total") == 0);
  CHECK(f.db.one("SELECT count(*), max(n) FROM t") == "20|19");
}

TEST_CASE("after a write that must be retried, the second connection is closed") {
  limited f(4);
  const auto a = f.rows(0), b = f.rows(10), c = f.rows(20), d = f.rows(30);
  REQUIRE_MESSAGE(f.write(a, b) == PL_OK, f.s->host.error_text());
  REQUIRE_MESSAGE(f.write(b, c) == PL_OK, f.s->host.error_text());
  REQUIRE_MESSAGE(f.write(c, d) == PL_OK, f.s->host.error_text());
  CHECK(f.s->host.sum("timescale_early_transactions_total") == 1);
  next.batches.clear();
  next.peeked = false;
  REQUIRE_MESSAGE(f.s->write(std::vector<pl::batch_view>{}) == PL_OK, f.s->host.error_text());
  {
    pqxx::connection other(direct_url());
    pqxx::work tx(other);
    tx.exec("LOCK TABLE " + f.db.name("t"));
    CHECK(f.s->write(d) == PL_RETRY);
    CHECK(f.at_most(2));
  }
  CHECK(f.s->write(d) == PL_OK);
  CHECK(f.db.one("SELECT count(*), max(n) FROM t") == "40|39");
}

TEST_CASE("the time between two writes does not count as the duration of a COPY that began early") {
  fixture f("n bigint PRIMARY KEY, v double precision",
            {{"statement_timeout", std::chrono::nanoseconds(2s)}, {"lock_timeout", std::chrono::nanoseconds(2s)}});
  f.warm_up();
  const auto early = f.early();
  const auto a = f.rows(10), b = f.rows(10);
  REQUIRE(f.write(a, {&b}) == PL_OK);
  std::this_thread::sleep_for(2500ms);  // longer than statement_timeout
  CHECK_MESSAGE(f.write(b) == PL_OK, f.s.host.error_text());
  CHECK(f.s.host.times_too_large() == 0);
  CHECK(f.early() == early);  // repeated
  CHECK(f.stored() == "60|60|59");
  CHECK(f.positions.at() == "60@1");
  CHECK(f.at_rest());
}
