// SPDX-License-Identifier: Apache-2.0
// Tests of state that is too much for a statement: COPY stores it, in the transaction of the rows, or not at all.
#include "position_store.hpp"
#include "proxy.hpp"

#include <cstdint>
#include <string>
#include <vector>

using namespace timescale_test;

namespace {

constexpr int many = 300;

// The changes of many keys: `value` for all, but the keys below `gone` are erased.
struct many_changes {
  explicit many_changes(const std::string& of, int gone = 0) : value(of) {
    for (int i = 0; i < many; ++i) keys.push_back("key '\\ " + std::to_string(i));
    for (int i = 0; i < many; ++i)
      all.push_back(i < gone ? erased(keys[static_cast<std::size_t>(i)])
                             : change(keys[static_cast<std::size_t>(i)], value));
  }
  many_changes(const many_changes&) = delete;
  many_changes& operator=(const many_changes&) = delete;

  std::string value;
  std::vector<std::string> keys;
  std::vector<pl_state_change> all;
};

struct fixture {
  explicit fixture(const std::string& columns = "n bigint, v double precision", const std::string& at = url())
      : s((db.run("CREATE TABLE t (" + columns + ")"), db.name("t")), {}, at), positions(db.name("t")) {
    s.start();
    REQUIRE(positions.claim({}, {0, 1}) == PL_OK);
  }
  std::string rows() { return db.one("SELECT count(*), count(DISTINCT n) FROM t"); }
  std::string state() {
    return db.one("SELECT count(*), count(DISTINCT value), min(convert_from(value, 'UTF8')) FROM pipeline_state");
  }

  database db;
  sink s;
  store positions;
};

}  // namespace

TEST_CASE("much state: the last change of a key applies, also across batches and nodes") {
  fixture f;
  const std::string binary("\0\xFF'\\\n", 5);
  many_changes first("1");
  first.all.insert(first.all.end(),
                   {change(first.keys[0], "2"), change(binary, binary), change(first.keys[0], "other", "other"),
                    erased(first.keys[1]), change("", ""), erased("never there")});
  const auto a = read(f.s.host, 10, 0, 1);
  attach(a, first.all);
  f.s.write_all(a);
  auto stored = f.positions.load();
  CHECK(stored.size() == many + 2);
  CHECK(stored[{"alerts", first.keys[0]}] == "2");
  CHECK(stored[{"other", first.keys[0]}] == "other");
  CHECK(stored[{"alerts", binary}] == binary);
  CHECK(stored.contains({"alerts", ""}));
  CHECK_FALSE(stored.contains({"alerts", first.keys[1]}));

  const many_changes second("3", 100), third("4", 50);
  const auto b = read(f.s.host, 10, 10, 1), c = read_nothing(f.s.host, 20, 20, 1);
  attach(b, second.all);
  attach(c, third.all);
  REQUIRE_MESSAGE(f.s.write({b.get(), c.get()}) == PL_OK, f.s.host.error_text());
  stored = f.positions.load();
  CHECK(stored.size() == many - 50 + 3);
  CHECK(stored[{"alerts", first.keys[70]}] == "4");
  CHECK(f.rows() == "20|20");
  CHECK(f.positions.at() == "20@1");
}

TEST_CASE("much state: a write that is fenced stores none of it, and a claim does not lose to it") {
  fixture f;
  const many_changes first("1"), late("2", 10);
  const auto a = read(f.s.host, 10, 0, 1);
  attach(a, first.all);
  f.s.write_all(a);
  REQUIRE(f.positions.claim({10, 1}, {10, 2}) == PL_OK);
  const auto b = read(f.s.host, 10, 10, 1);
  attach(b, late.all);
  CHECK(f.s.write(b) == PL_FENCED);
  CHECK(f.state() == std::to_string(many) + "|1|1");
  CHECK(f.rows() == "10|10");
  CHECK(f.positions.at() == "10@2");
}

TEST_CASE("much state: rows that the database rejects are left out, and the state is stored once") {
  fixture f("n bigint UNIQUE, v double precision CHECK (v >= 0)");
  std::vector<pl::cell> values;
  for (int i = 0; i < 100; ++i) values.push_back(pl::real_cell(i == 17 ? -1 : i));
  const many_changes changes("1");
  const auto b = read(numbered(f.s.host, values), 1);
  attach(b, changes.all);
  CHECK(f.s.write(b) == PL_REJECT);
  CHECK(f.state() == "0|0|null");
  REQUIRE(f.s.host.rejects().size() == 1);
  std::vector<std::uint32_t> left;
  for (std::uint32_t row = 0; row < 100; ++row)
    if (row != 17) left.push_back(row);
  b.get().raw()->sel = left.data();
  b.get().raw()->nsel = static_cast<std::uint32_t>(left.size());
  f.s.write_all(b);
  CHECK(f.rows() == "99|99");
  CHECK(f.state() == std::to_string(many) + "|1|1");
}

TEST_CASE("much state: the database refuses it, and the rows are not rejected") {
  fixture f;
  const many_changes first("1"), bad("bad");
  f.db.run("ALTER TABLE pipeline_state ADD CHECK (value <> 'bad')");
  const auto a = read(f.s.host, 10, 0, 1);
  attach(a, bad.all);
  CHECK(f.s.write(a) == PL_RETRY);
  CHECK(has(f.s.host.error_text(), "violates check constraint"));
  CHECK(f.rows() == "0|0");
  CHECK(f.positions.at() == "0@1");
  attach(a, first.all);
  f.s.write_all(a);
  CHECK(f.rows() == "10|10");
  CHECK(f.state() == std::to_string(many) + "|1|1");
}

TEST_CASE("much state: the response to COMMIT is lost") {
  for (const auto fate : {proxy::fate::swallow, proxy::fate::deliver}) {
    CAPTURE(static_cast<int>(fate));
    proxy between(url());
    fixture f("n bigint, v double precision", between.url());
    const many_changes changes("1");
    const auto b = read(f.s.host, 10, 0, 1);
    attach(b, changes.all);
    between.next_commit(fate, 0);
    CHECK(f.s.write(b) == PL_RETRY);
    CHECK(f.positions.at() == (fate == proxy::fate::deliver ? "10@1" : "0@1"));
    f.s.write_all(b);
    CHECK(f.rows() == "10|10");
    CHECK(f.positions.at() == "10@1");
    CHECK(f.state() == std::to_string(many) + "|1|1");
  }
}

TEST_CASE("much state: very many keys are replaced and erased in one write, in statements of a limited size") {
  fixture f;
  constexpr int very_many = 20'000;
  std::vector<std::string> keys;
  for (int i = 0; i < very_many; ++i) keys.push_back("k\\'\x01\xFF" + std::to_string(i));
  std::vector<pl_state_change> all;
  for (const auto& key : keys) all.push_back(change(key, "1"));
  const auto a = read(f.s.host, 10, 0, 1);
  attach(a, all);
  f.s.write_all(a);
  CHECK(f.state() == std::to_string(very_many) + "|1|1");
  for (int i = 0; i < very_many; ++i)
    all[static_cast<std::size_t>(i)] =
        i < 100 ? change(keys[static_cast<std::size_t>(i)], "2") : erased(keys[static_cast<std::size_t>(i)]);
  // The database notes how many keys each statement deletes.
  const auto noted = f.db.name("deleted"), function = f.db.name("note_deleted()");
  f.db.run("CREATE TABLE deleted (n bigint)");
  f.db.run("CREATE FUNCTION " + function + " RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO " + noted +
           " SELECT count(*) FROM gone; RETURN NULL; END'");
  f.db.run(
      "CREATE TRIGGER note AFTER DELETE ON pipeline_state REFERENCING OLD TABLE AS gone FOR EACH STATEMENT "
      "EXECUTE FUNCTION " +
      function);
  const auto b = read(f.s.host, 10, 10, 1);
  attach(b, all);
  f.s.write_all(b);
  CHECK(f.state() == "100|1|2");
  CHECK(f.db.one("SELECT max(n), sum(n) FROM deleted") == "4096|" + std::to_string(very_many));
  CHECK(f.rows() == "20|20");
  CHECK(f.positions.at() == "20@1");
}
