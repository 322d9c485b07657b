// SPDX-License-Identifier: Apache-2.0
// Exactly once: positions and state move in the transaction of the rows, or nothing does.
#include "database.hpp"
#include "proxy.hpp"

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <thread>

using namespace timescale_test;

namespace {

using entries = std::map<std::pair<std::string, std::string>, std::string>;  // node and key, value
using fate = proxy::fate;

// An instance that is created and never started, as the host has it beside the one that writes.
class store {
 public:
  explicit store(const std::string& table, config_fields options = {}, const std::string& at = url())
      : sink_(table, std::move(options), at) {
    REQUIRE(sink_.create() == PL_OK);
    ext_ = static_cast<const pl_ext_store*>(component().extension(sink_.instance_.self(), pl::borrow(PL_EXT_STORE)));
    REQUIRE(ext_ != nullptr);
  }
  pl_position position(std::string_view stream = "s/0") {
    pl_position at{};
    sink_.host.forget();
    REQUIRE_MESSAGE(ext_->position(self(), pl::borrow("src"), pl::borrow(stream), &at) == PL_OK,
                    sink_.host.error_text());
    return at;
  }
  // Why it can't be told.
  std::string refusal() {
    pl_position at{};
    sink_.host.forget();
    CHECK(ext_->position(self(), pl::borrow("src"), pl::borrow("s/0"), &at) == PL_RETRY);
    return sink_.host.error_text();
  }
  pl_status claim(pl_position seen, pl_position wanted, std::string_view stream = "s/0", const pl_mark& mark = {}) {
    return ext_->claim(self(), pl::borrow("src"), pl::borrow(stream), seen, wanted, mark);
  }
  entries load(std::string_view stream = "s/0") {
    entries all;
    const auto take = [](void* to, pl_str node, pl_str key, pl_str value) {
      (*static_cast<entries*>(to))[{std::string(pl::view(node)), std::string(pl::view(key))}] = pl::view(value);
    };
    REQUIRE(ext_->load(self(), pl::borrow("src"), pl::borrow(stream), &all, take) == PL_OK);
    return all;
  }
  // Where it stands, as "next@epoch".
  std::string at(std::string_view stream = "s/0") {
    const auto p = position(stream);
    return std::to_string(p.next) + "@" + std::to_string(p.epoch);
  }

 private:
  void* self() { return sink_.instance_.self(); }
  sink sink_;
  const pl_ext_store* ext_ = nullptr;
};

// A batch as the engine hands it over: its range has been read under a claim.
pl::batch read(pl::batch b, std::uint64_t epoch, std::string_view stream = "s/0") {
  auto& range = const_cast<pl_range&>(b.get().ranges()[0]);
  range.source = pl::borrow("src");
  range.stream = pl::borrow(stream);
  range.epoch = epoch;
  return b;
}
pl::batch read(fake_host& host, std::size_t rows, std::int64_t first, std::uint64_t epoch,
               std::string_view stream = "s/0") {
  return read(numbered(host, std::vector<pl::cell>(rows, pl::real_cell(1.5)), first), epoch, stream);
}
// Of which no row is left.
pl::batch read_nothing(fake_host& host, std::uint64_t first, std::uint64_t next, std::uint64_t epoch,
                       std::string_view stream = "s/0") {
  auto b = read(host.make_batch({{"n", {}}, {"v", {}}}, "test/0", first), epoch, stream);
  const_cast<pl_range&>(b.get().ranges()[0]).next = next;
  return b;
}

pl_change change(std::string_view key, std::string_view value, std::string_view node = "alerts") {
  return {0, 0, pl::borrow(node), pl::borrow(key), pl::borrow(value)};
}
pl_change erased(std::string_view key, std::string_view node = "alerts") {
  return {0, 1, pl::borrow(node), pl::borrow(key), {}};
}
void attach(const pl::batch& b, const std::vector<pl_change>& changes) {
  b.get().raw()->changes = changes.data();
  b.get().raw()->nchanges = static_cast<std::uint32_t>(changes.size());
}

// As the host does it: rows that are rejected are left out, and the others come again.
struct burial {
  std::multiset<std::uint64_t> told;
  std::vector<std::uint32_t> selection;

  void leave_out(const pl::batch& b, fake_host& host) {
    std::vector<std::uint32_t> left;
    const auto rejects = host.rejects();
    for (const auto& r : rejects) told.insert(r.position);
    for (const auto row : b.get().selection())
      if (told.count(b.get().position(row)) == 0) left.push_back(row);
    selection = std::move(left);
    b.get().raw()->sel = selection.data();
    b.get().raw()->nsel = static_cast<std::uint32_t>(selection.size());
  }
};

struct fixture {
  explicit fixture(const std::string& columns = "n bigint, v double precision", const config_fields& options = {})
      : s((db.run("CREATE TABLE t (" + columns + ")"), db.name("t")), options), book(db.name("t")) {
    s.start();
    REQUIRE(book.claim({}, {0, 1}) == PL_OK);
  }
  std::string rows() { return db.one("SELECT count(*), count(DISTINCT n) FROM t"); }

  database db;
  sink s;
  store book;
};

}  // namespace

TEST_CASE("no right to make the tables: what to grant, or to make, is told") {
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
  store book(db.name("t"), {}, as_role);
  const auto why = book.refusal();
  CHECK(has(why, "can't make the tables for 'delivery: exactly_once': permission denied for schema"));
  CHECK(has(why, "GRANT CREATE on their schema to the user of 'url', or make them yourself"));
  CHECK(has(why, "CREATE TABLE IF NOT EXISTS"));
}

TEST_CASE("claims: the mark is an entry of the state, in the claim's transaction") {
  database db;
  db.run("CREATE TABLE t (n bigint)");
  store book(db.name("t"));
  const auto mark = [](std::uint32_t rule, std::string_view value) {
    return pl_mark{rule, 0, pl::borrow("key's"), pl::borrow(value)};
  };
  const auto kept = [&] { return book.load()[{"", "key's"}]; };
  CHECK(book.claim({}, {0, 1}, "s/0", mark(PL_MARK_AGAIN, "1")) == PL_OK);
  CHECK(kept().empty());  // there is none to take the place of
  CHECK(book.claim({0, 1}, {0, 2}, "s/0", mark(PL_MARK_FIRST, "2")) == PL_OK);
  CHECK(kept() == "2");
  CHECK(book.claim({0, 2}, {0, 3}, "s/0", mark(PL_MARK_FIRST, "3")) == PL_OK);
  CHECK(kept() == "2");
  CHECK(book.claim({0, 2}, {0, 9}, "s/0", mark(PL_MARK_AGAIN, "4")) == PL_AGAIN);
  CHECK(kept() == "2");  // a claim that is refused changes nothing
  CHECK(book.claim({0, 3}, {7, 4}, "s/0", mark(PL_MARK_AGAIN, "5")) == PL_OK);
  CHECK(kept() == "5");
  CHECK(book.load("s/1").empty());
}

TEST_CASE("claims: what was seen must still be so") {
  database db;
  db.run("CREATE TABLE t (n bigint)");
  store book(db.name("t")), other(db.name("t"));
  CHECK(book.at() == "0@0");
  CHECK(book.claim({}, {100, 1}) == PL_OK);
  CHECK(book.at() == "100@1");
  CHECK(other.claim({}, {7, 1}) == PL_AGAIN);
  CHECK(other.claim({99, 1}, {99, 2}) == PL_AGAIN);
  CHECK(other.claim({100, 2}, {100, 3}) == PL_AGAIN);
  CHECK(other.at() == "100@1");
  CHECK(other.claim({100, 1}, {100, 2}) == PL_OK);
  CHECK(book.claim({100, 1}, {100, 3}) == PL_AGAIN);
  CHECK(book.claim({100, 2}, {50, 3}) == PL_OK);  // by order of a person
  CHECK(other.at() == "50@3");
  CHECK(other.at("s/1") == "0@0");
}

TEST_CASE("the tables may have other names and another schema, and many hosts make them at once") {
  database db;
  db.run("CREATE TABLE t (n bigint)");
  db.run("CREATE SCHEMA " + db.schema() + "_x");
  struct dropped {
    database& db;
    ~dropped() { db.run("DROP SCHEMA " + db.schema() + "_x CASCADE"); }
  } const cleanup{db};
  const config_fields options{{"positions_table", db.schema() + "_x.\"Where.\""}, {"state_table", "what"}};
  constexpr std::size_t hosts = 6;
  std::vector<std::unique_ptr<store>> books;
  for (std::size_t i = 0; i < hosts; ++i) books.push_back(std::make_unique<store>(db.name("t"), options));
  std::vector<pl_status> claimed(hosts);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < hosts; ++i) threads.emplace_back([&, i] { claimed[i] = books[i]->claim({}, {i, 1}); });
  }
  CHECK(std::count(claimed.begin(), claimed.end(), PL_OK) == 1);
  CHECK(std::count(claimed.begin(), claimed.end(), PL_AGAIN) == hosts - 1);
  CHECK(db.one("SELECT pipeline, sink, source, stream, epoch FROM " + db.schema() + "_x.\"Where.\"") ==
        "test|node|src|s/0|1");
  CHECK(db.one("SELECT count(*) FROM " + db.name("what")) == "0");
}

TEST_CASE("a write moves the position of its stream") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  CHECK(f.book.at() == "10@1");
  const auto a = read(f.s.host, 5, 10, 1), b = read(f.s.host, 5, 15, 1);
  REQUIRE_MESSAGE(f.s.write({a.get(), b.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.book.at() == "20@1");
  CHECK(f.rows() == "20|20");
  CHECK(f.s.host.sum("timescale_transactions_total") == 2);
  CHECK(f.s.host.sum("timescale_rows_total") == 20);
}

TEST_CASE("without a claim nothing is kept") {
  fixture f;
  f.s.write_all(numbered(f.s.host, {pl::int_cell(1)}));
  CHECK(f.book.at() == "0@1");
}

TEST_CASE("a write under an old claim is fenced, and stores nothing") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  REQUIRE(f.book.claim({10, 1}, {10, 2}) == PL_OK);
  const auto late = read(f.s.host, 10, 10, 1);
  CHECK(f.s.write(late) == PL_FENCED);
  CHECK(has(f.s.host.error_text(), "another host has claimed s/0; nothing of this write was stored"));
  CHECK(f.s.write(late) == PL_FENCED);
  CHECK(f.rows() == "10|10");
  CHECK(f.book.at() == "10@2");
  f.s.write_all(read(f.s.host, 10, 10, 2));
  CHECK(f.book.at() == "20@2");
  CHECK(f.rows() == "20|20");
}

TEST_CASE("a hole is fenced, and so is what was written already") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  CHECK(f.s.write(read(f.s.host, 10, 11, 1)) == PL_FENCED);
  CHECK(f.s.write(read(f.s.host, 10, 0, 1)) == PL_FENCED);
  CHECK(f.s.write(read(f.s.host, 10, 10, 1, "never claimed")) == PL_FENCED);
  const auto a = read(f.s.host, 5, 10, 1), b = read(f.s.host, 5, 16, 1), c = read(f.s.host, 5, 15, 2);
  CHECK(f.s.write({a.get(), b.get()}) == PL_FENCED);
  CHECK(f.s.write({a.get(), c.get()}) == PL_FENCED);
  CHECK(f.rows() == "10|10");
  CHECK(f.book.at() == "10@1");
}

TEST_CASE("two streams in one write: both are moved, or neither") {
  fixture f;
  const std::string odd = "s'1\\ \"\xC3\xA4";
  REQUIRE(f.book.claim({}, {100, 7}, odd) == PL_OK);
  const auto a = read(f.s.host, 10, 0, 1), b = read(f.s.host, 10, 100, 7, odd);
  REQUIRE_MESSAGE(f.s.write({a.get(), b.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.book.at() == "10@1");
  CHECK(f.book.at(odd) == "110@7");
  REQUIRE(f.book.claim({110, 7}, {110, 8}, odd) == PL_OK);
  const auto c = read(f.s.host, 10, 10, 1), d = read(f.s.host, 10, 110, 7, odd);
  CHECK(f.s.write({c.get(), d.get()}) == PL_FENCED);
  CHECK(has(f.s.host.error_text(), "another host has claimed one of s'1"));
  CHECK(f.book.at() == "10@1");
  CHECK(f.rows() == "20|20");
}

TEST_CASE("batches without rows move positions") {
  fixture f;
  f.s.write_all(read_nothing(f.s.host, 0, 40, 1));
  CHECK(f.book.at() == "40@1");
  f.s.write_all(read_nothing(f.s.host, 40, 40, 1));  // of a timer
  f.s.write_all(read_nothing(f.s.host, 40, 40, 1));
  const auto rows = read(f.s.host, 10, 40, 1), carrier = read_nothing(f.s.host, 40, 60, 1);
  REQUIRE_MESSAGE(f.s.write({rows.get(), carrier.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.book.at() == "60@1");
  CHECK(f.rows() == "10|10");
  CHECK(f.s.write(read_nothing(f.s.host, 61, 70, 1)) == PL_FENCED);
}

TEST_CASE("batches without rows don't care about the table") {
  fixture f;
  f.s.write_all(read(f.s.host, 10, 0, 1));
  f.db.run("ALTER TABLE t ALTER COLUMN v TYPE text");
  f.s.write_all(read_nothing(f.s.host, 10, 20, 1));
  f.db.run("DROP TABLE t");
  f.s.write_all(read_nothing(f.s.host, 20, 30, 1));
  CHECK(f.book.at() == "30@1");
}

TEST_CASE("state moves with the rows: the last change of a key wins, keys and values are bytes") {
  fixture f;
  const std::string binary("\0\xFF'\\\n", 5);
  const std::vector<pl_change> first{change("k", "1"), change("gone", "x"),    change("k", "2"),
                                     erased("gone"),   change(binary, binary), change("k", "of another node", "other"),
                                     change("", ""),   erased("never there")};
  const auto a = read(f.s.host, 10, 0, 1);
  attach(a, first);
  f.s.write_all(a);
  CHECK(f.book.load() == entries{{{"alerts", "k"}, "2"},
                                 {{"alerts", binary}, binary},
                                 {{"other", "k"}, "of another node"},
                                 {{"alerts", ""}, ""}});
  CHECK(f.book.load("s/1").empty());

  // Over batches too, and without rows.
  const std::vector<pl_change> second{erased("k"), change("z", "1")},
      third{change("k", "3"), erased("z"), erased(binary)};
  const auto b = read(f.s.host, 10, 10, 1), c = read_nothing(f.s.host, 20, 20, 1);
  attach(b, second);
  attach(c, third);
  REQUIRE_MESSAGE(f.s.write({b.get(), c.get()}) == PL_OK, f.s.host.error_text());
  const entries now{{{"alerts", "k"}, "3"}, {{"other", "k"}, "of another node"}, {{"alerts", ""}, ""}};
  CHECK(f.book.load() == now);

  // Nothing of it, if the write is fenced.
  const auto d = read(f.s.host, 10, 99, 1);
  attach(d, first);
  CHECK(f.s.write(d) == PL_FENCED);
  CHECK(f.book.load() == now);
}

TEST_CASE("state of several streams in one write, much of it") {
  fixture f;
  REQUIRE(f.book.claim({}, {0, 1}, "s/1") == PL_OK);
  std::vector<std::string> keys;
  for (int i = 0; i < 3'000; ++i) keys.push_back("key " + std::to_string(i));
  const std::string value(200, '\x80');
  std::vector<pl_change> changes;
  for (const auto& k : keys) changes.push_back(change(k, value));
  const auto a = read(f.s.host, 1, 0, 1), b = read(f.s.host, 1, 0, 1, "s/1");
  attach(a, changes);
  attach(b, changes);
  REQUIRE_MESSAGE(f.s.write({a.get(), b.get()}) == PL_OK, f.s.host.error_text());
  CHECK(f.book.load().size() == 3'000);
  CHECK(f.book.load("s/1").size() == 3'000);
  CHECK(f.book.load("s/1")[{"alerts", "key 7"}] == value);
}

TEST_CASE("refused rows are told first, and nothing is stored until the write comes again without them") {
  fixture f("n bigint UNIQUE, v double precision CHECK (v >= 0)");
  std::vector<pl::cell> values;
  for (int i = 0; i < 300; ++i) values.push_back(pl::real_cell(i == 17 || i == 200 ? -1 : i));
  values[100] = pl::text_cell("no number");
  const std::vector<pl_change> changes{change("k", "1")};
  const auto b = read(numbered(f.s.host, values), 1);
  attach(b, changes);
  CHECK(f.s.write(b) == PL_REJECT);
  CHECK(f.rows() == "0|0");
  CHECK(f.book.at() == "0@1");
  burial letters;
  letters.leave_out(b, f.s.host);
  f.s.write_all(b);
  CHECK(letters.told == std::multiset<std::uint64_t>{17, 100, 200});
  CHECK(f.rows() == "297|297");
  CHECK(f.book.at() == "300@1");
  CHECK(f.book.load().size() == 1);
  // Nothing but refused rows: that is progress too.
  const auto bad = read(numbered(f.s.host, std::vector<pl::cell>(2, pl::real_cell(-1)), 300), 1);
  CHECK(f.s.write(bad) == PL_REJECT);
  burial others;
  others.leave_out(bad, f.s.host);
  f.s.write_all(bad);
  CHECK(others.told == std::multiset<std::uint64_t>{300, 301});
  CHECK(f.book.at() == "302@1");
}

TEST_CASE("a write that is fenced when it comes again stores nothing") {
  fixture f("n bigint UNIQUE, v double precision CHECK (v >= 0)");
  REQUIRE(f.book.claim({0, 1}, {0, 2}) == PL_OK);
  const auto b = read(numbered(f.s.host, {pl::real_cell(-1), pl::real_cell(1), pl::text_cell("x")}), 1);
  burial letters;
  auto status = f.s.write(b);
  for (int attempts = 0; status == PL_REJECT && attempts < 3; ++attempts) {
    letters.leave_out(b, f.s.host);
    status = f.s.write(b);
  }
  CHECK(status == PL_FENCED);
  CHECK(f.rows() == "0|0");
}

TEST_CASE("a table that changes under us") {
  fixture f("n bigint, v bigint");
  f.s.write_all(read(numbered(f.s.host, {pl::int_cell(5)}), 1));
  f.db.run("ALTER TABLE t ALTER COLUMN v TYPE double precision");
  f.s.write_all(read(numbered(f.s.host, {pl::int_cell(6)}, 1), 1));
  CHECK(f.db.rows("SELECT n, v FROM t ORDER BY n") == strings{"0|5", "1|6"});
  CHECK(f.book.at() == "2@1");
}

TEST_CASE("the answer to COMMIT is lost: it is found out whether the write was stored") {
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
      store book(db.name("t"));
      s.start();
      REQUIRE(book.claim({}, {0, 1}) == PL_OK);
      s.write_all(read(s.host, 10, 0, 1));
      const auto before = book.at();

      // With rows that are refused, by the sink and by the database: they are told once, before.
      const std::vector<pl_change> changes{change("k", "1")};
      const auto b =
          read(numbered(s.host, {pl::real_cell(1), pl::text_cell("x"), pl::real_cell(-1), pl::real_cell(2)}, 10), 1);
      attach(b, changes);
      burial letters;
      while (letters.told.size() < 2) {
        REQUIRE(s.write(b) == PL_REJECT);
        letters.leave_out(b, s.host);
      }
      between.next_commit(f, 0);
      CHECK(s.write(b) == PL_RETRY);
      CHECK(has(s.host.error_text(), "whether the last transaction was committed is found out first"));
      CHECK(book.at() == (f == fate::deliver ? "14@1" : before));
      s.write_all(b);
      CHECK(letters.told == std::multiset<std::uint64_t>{11, 12});
      CHECK(db.one("SELECT count(*), count(DISTINCT n) FROM t") == "12|12");
      CHECK(book.at() == "14@1");
      CHECK(book.load().size() == 1);
      CHECK(s.host.sum("timescale_rows_total") == 12);
      CHECK(s.host.sum("timescale_rows_refused_total") == 2);
      s.write_all(read(s.host, 10, 14, 1));
      CHECK(db.one("SELECT count(*), count(DISTINCT n) FROM t") == "22|22");
    }
}

TEST_CASE("the answer is lost, and lost again") {
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
  CHECK(f.book.at() == "100@1");
}

TEST_CASE("a COMMIT that comes later than the next try") {
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
  CHECK(f.book.at() == "10@1");
  s.write_all(read(s.host, 10, 10, 1));
  CHECK(f.rows() == "20|20");
}

TEST_CASE("rows of a timer move no position, and are stored once all the same when a COMMIT comes late") {
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
  CHECK(f.book.at() == "10@1");
}

TEST_CASE("a COMMIT that comes while the next try waits for it: no row is blamed for being there already") {
  fixture f("n bigint PRIMARY KEY, v double precision");
  proxy between(url());
  sink s(f.db.name("t"), {}, between.url());
  s.start();
  const auto b = read(s.host, 10, 0, 1);
  between.next_commit(fate::hold);
  CHECK(s.write(b) == PL_RETRY);
  pl_status second = PL_FATAL;
  {
    const std::jthread trying([&] { second = s.write(b); });  // its first row is in the way of itself
    while (f.db.one("SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND "
                    "query LIKE '%" +
                    f.db.schema() + "%'") == "f")
      std::this_thread::yield();
    between.release();
  }
  CHECK_MESSAGE(second == PL_OK, s.host.error_text());
  CHECK(s.host.rejects().empty());
  CHECK(f.rows() == "10|10");
  CHECK(f.book.at() == "10@1");
}

TEST_CASE("while the answer is lost another host claims the stream") {
  for (const auto fate : {fate::swallow, fate::deliver}) {
    CAPTURE(static_cast<int>(fate));
    fixture f;
    proxy between(url());
    sink s(f.db.name("t"), {}, between.url());
    s.start();
    const auto b = read(s.host, 10, 0, 1);
    between.next_commit(fate);
    CHECK(s.write(b) == PL_RETRY);
    const auto seen = f.book.position();
    REQUIRE(f.book.claim(seen, {seen.next, 2}) == PL_OK);
    CHECK(s.write(b) == PL_FENCED);
    // The other one reads on from where the position stands.
    if (seen.next == 0) s.write_all(read(s.host, 10, 0, 2));
    s.write_all(read(s.host, 10, 10, 2));
    CHECK(f.rows() == "20|20");
    CHECK(f.book.at() == "20@2");
  }
}

TEST_CASE("a write that was given up is not taken for the next one") {
  fixture f;
  proxy between(url());
  sink s(f.db.name("t"), {}, between.url());
  s.start();
  between.next_commit(fate::deliver);
  CHECK(s.write(read(s.host, 10, 0, 1)) == PL_RETRY);
  s.write_all(read(s.host, 10, 10, 1));
  CHECK(f.rows() == "20|20");
  CHECK(f.book.at() == "20@1");
}

TEST_CASE("connections that are ended between writes and in them") {
  fixture f;
  for (int i = 0; i < 5; ++i) {
    f.db.end_writers();
    const auto b = read(f.s.host, 100, i * 100, 1);
    f.s.write_at_last({b.get()});
    CHECK(f.book.at() == std::to_string((i + 1) * 100) + "@1");
  }
  CHECK(f.rows() == "500|500");

  // Each failed try gives the next one twice the time, up to half a second, so that the test ends on a machine
  // that is too busy to write a hundred rows between two ends.
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

TEST_CASE("many writers, each with streams of its own, in the same tables") {
  fixture f;
  constexpr std::size_t writers = 4;
  std::vector<std::unique_ptr<sink>> sinks;
  for (std::size_t i = 0; i < writers; ++i) {
    REQUIRE(f.book.claim({}, {0, 1}, "w/" + std::to_string(i)) == PL_OK);
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
    CHECK(f.book.at("w/" + std::to_string(i)) == "1000@1");
  }
  CHECK(f.db.one("SELECT count(*) FROM t") == "4000");
}
