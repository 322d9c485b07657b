// SPDX-License-Identifier: Apache-2.0
// Tests of the SDK's layer over abi.h: which function of a class each entry of a table calls, and with which arguments.
#include <pipeline/plugin.hpp>
#include <pipeline/testing/conformance.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <vector>

namespace {

using kinds = std::vector<std::uint32_t>;

struct no_options {
  static pl::option_table<no_options> table() { return {}; }
};

// Passes batches on and records the calls of "state/1".
class passing : public pl::transform, public pl::columns_aware, public pl::stateful {
 public:
  using options = no_options;
  static pl::description describe() {
    return {.name = "passing",
            .doc = "Passes on every batch.",
            .example = "plugin: passing\nfrom: a\n",
            .abilities = PL_DETERMINISTIC};
  }
  passing(options, pl::context) {}
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    out.pass(in);
    return {};
  }
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override { return in; }
  void revoked(std::string_view stream) override { note("revoked " + std::string(stream)); }
  pl::result<void> restore(std::string_view, std::string_view key, std::string_view value) override {
    note("restore " + std::string(key) + "=" + std::string(value));
    return {};
  }
  pl::result<void> restored(std::string_view, bool offset_reset) override {
    note(offset_reset ? "restored after a reset" : "restored");
    return {};
  }
  pl::result<void> snapshot(std::string_view) override { return {}; }

  static inline std::vector<std::string> calls;

 private:
  static void note(std::string call) { calls.push_back(std::move(call)); }
};

// Adds a column and states only the names of the output, not the kinds.
class adding final : public passing {
 public:
  static pl::description describe() {
    auto d = passing::describe();
    d.name = "adding";
    d.example = "plugin: adding\nfrom: a\n";
    return d;
  }
  adding(no_options o, pl::context ctx) : passing(o, ctx), ctx_(ctx) {}
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in == nullptr) return nullptr;
    std::vector<std::string_view> names;
    for (std::uint32_t c = 0; c < in->ncols; ++c) names.push_back(pl::view(in->names[c]));
    names.emplace_back("added");
    return ctx_.schema(names);
  }

 private:
  const pl::context ctx_;
};

// Adds a column and states both kinds: that of the input's column, and that of the new one.
class adding_typed final : public pl::transform, public pl::columns_aware {
 public:
  using options = no_options;
  static pl::description describe() {
    return {.name = "adding_typed", .doc = "Adds a column.", .example = "plugin: adding_typed\nfrom: a\n"};
  }
  adding_typed(options, pl::context ctx) : ctx_(ctx) {}
  pl::result<void> apply(pl::batch_view, pl::emitter&) override { return {}; }
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    return in == nullptr ? nullptr : ctx_.schema({pl::view(in->names[0]), "added"});
  }
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override {
    const auto out = columns(in.schema, port);
    if (!out.ok()) return out.why();
    return *out == nullptr ? pl::column_set{} : pl::column_set{*out, {in.kind(0), PL_F64}};
  }

 private:
  const pl::context ctx_;
};

template <class T>
const pl_component& component() {
  static const pl::detail::component_table<T> table;
  return *table.raw();
}

struct columns_result {
  std::vector<std::string> names;
  kinds column_kinds;
  bool operator==(const columns_result&) const = default;
};

// Return the result of "columns/1" for an input with one column "a".
template <class T>
columns_result columns_of(const kinds& in) {
  pl::testing::fake_host host;
  pl::testing::instance i(host, component<T>());
  REQUIRE(i.create() == PL_OK);
  const auto* table = static_cast<const pl_ext_columns*>(i.component().extension(i.self(), pl::borrow(PL_EXT_COLUMNS)));
  const pl_columns given{pl::context(&host.raw()).schema({"a"}), in.empty() ? nullptr : in.data()};
  pl_columns out{};
  REQUIRE(table->columns(i.self(), &given, 0, &out) == PL_OK);
  columns_result got;
  for (std::uint32_t c = 0; c < out.schema->ncols; ++c) got.names.emplace_back(pl::view(out.schema->names[c]));
  if (out.kinds != nullptr) got.column_kinds.assign(out.kinds, out.kinds + out.schema->ncols);
  return got;
}

}  // namespace

TEST_CASE("the components of this test pass the conformance tests") {
  for (const auto* c : {&component<passing>(), &component<adding_typed>()})
    for (const auto& problem : pl::testing::check_life(*c, {}, {"a"})) FAIL_CHECK(problem);
}

TEST_CASE("columns/1: a component that states only names keeps the kinds of an unchanged schema, and no others") {
  CHECK(columns_of<passing>({PL_TEXT}) == columns_result{{"a"}, {PL_TEXT}});
  CHECK(columns_of<passing>({}) == columns_result{{"a"}, {}});
  CHECK(columns_of<adding>({PL_TEXT}) == columns_result{{"a", "added"}, {}});
}

TEST_CASE("columns/1: typed_columns adds kinds; PL_NULL means unknown") {
  CHECK(columns_of<adding_typed>({PL_TEXT}) == columns_result{{"a", "added"}, {PL_TEXT, PL_F64}});
  CHECK(columns_of<adding_typed>({}) == columns_result{{"a", "added"}, {PL_NULL, PL_F64}});
}

TEST_CASE("state/1: restore passes entries; restored follows, with or without an offset reset") {
  pl::testing::fake_host host;
  pl::testing::instance i(host, component<passing>());
  REQUIRE(i.create() == PL_OK);
  const auto* table = static_cast<const pl_ext_state*>(i.component().extension(i.self(), pl::borrow(PL_EXT_STATE)));
  passing::calls.clear();
  CHECK(table->restore(i.self(), pl::borrow("s/0"), pl::borrow("k"), pl::borrow("v")) == PL_OK);
  CHECK(table->restored(i.self(), pl::borrow("s/0"), 0) == PL_OK);
  CHECK(table->restored(i.self(), pl::borrow("s/0"), PL_RESTORED_OFFSET_RESET) == PL_OK);
  i.revoked("s/0");
  CHECK(passing::calls == std::vector<std::string>{"restore k=v", "restored", "restored after a reset", "revoked s/0"});
}

TEST_CASE("derive keeps arrival times, like positions, if the number of rows is the same") {
  pl::testing::fake_host host;
  const pl::context ctx(&host.raw());
  const auto* schema = ctx.schema({"a"});
  auto parent = ctx.build(schema, 2);
  parent.make_column(0);
  CHECK_FALSE(parent.peek().arrival(0).has_value());
  auto times = parent.allocate<std::int64_t>(2);
  times[0] = 5, times[1] = 7;
  parent.set_arrivals(times);
  const auto read = std::move(parent).finish();
  CHECK(ctx.derive(read.get(), schema, 2).peek().arrival(1) == pl::timestamp(std::chrono::nanoseconds(7)));
  CHECK_FALSE(ctx.derive(read.get(), schema, 1).peek().arrival(0).has_value());
}

TEST_CASE("arrival/1: a reading has the wall time, and the end of a gap if there was one") {
  using std::chrono::nanoseconds;
  pl::testing::fake_host host;
  const auto clocks = pl::context(&host.raw()).arrival_clocks();
  CHECK_FALSE(clocks.read("s/0").has_value());
  CHECK_FALSE(pl::arrival_clocks().read("s/0").has_value());
  host.set_arrival("s/0", 100);
  CHECK_FALSE(clocks.read("s/0")->connected.has_value());
  host.set_arrival("s/0", 100, 7, 90);
  const auto now = clocks.read("s/0");
  REQUIRE(now.has_value());
  CHECK(now->now == pl::timestamp(nanoseconds(100)));
  CHECK(now->wall(now->now) == pl::timestamp(nanoseconds(107)));
  CHECK(now->connected == pl::timestamp(nanoseconds(90)));
}

TEST_CASE("liveness/1: a source reports whether it can receive records, and observed ends") {
  pl::testing::fake_host host;
  const auto live = pl::context(&host.raw()).liveness();
  live.disconnected("no broker");
  live.connected();
  live.connected();
  live.disconnected("");
  CHECK(host.receptions() == std::vector<std::string>{"no broker", "", "disconnected"});
  CHECK(live.wanted());
  host.set_wants_arrivals(false);
  CHECK_FALSE(live.wanted());
  live.observed_end("s/0", 5, pl::timestamp(std::chrono::nanoseconds(11)));
  REQUIRE(host.observed_ends().size() == 1);
  const auto seen = host.observed_ends().front();
  CHECK(seen.stream == "s/0");
  CHECK(seen.end == 5);
  CHECK(seen.before_ns == 11);
  pl::liveness().connected();  // a host without the extension
  CHECK_FALSE(pl::liveness().wanted());
}

TEST_CASE("a table of the host is read only up to its size") {
  // An older host's table ends after `put`. What follows in memory must not be called.
  struct shorter {
    pl_host_state table;
    int puts = 0;
  };
  static shorter old_host;
  old_host.table.size = offsetof(pl_host_state, put) + sizeof(pl_host_state::put);
  old_host.table.put = [](void*, pl_str, pl_str, pl_str) { ++old_host.puts; };
  old_host.table.set_stream = [](void*, pl_batch*, pl_str) { FAIL("beyond the table"); };
  old_host.table.put_until_delivered = [](void*, pl_str, pl_str, pl_str) { FAIL("beyond the table"); };
  pl_host raw{};
  raw.extension = [](void*, pl_str name) -> const void* {
    return pl::view(name) == PL_EXT_STATE ? &old_host.table : nullptr;
  };
  const pl::context ctx(&raw);
  CHECK(ctx.keeps_state());
  ctx.put("s", "k", "v");
  ctx.put_until_delivered("s", "k", "v");
  CHECK(old_host.puts == 1);
}

TEST_CASE("fake_host makes batches with arrival times") {
  pl::testing::fake_host host;
  CHECK_FALSE(host.make_batch({{"a", {pl::int_cell(1)}}}).get().arrival(0).has_value());
  const auto made = host.make_batch({{"a", {pl::int_cell(1), pl::int_cell(2)}}}, "s/0", 0, {5, 7});
  CHECK(made.get().arrival(1) == pl::timestamp(std::chrono::nanoseconds(7)));
}

TEST_CASE("check_plugin reports bits of caps that are reserved or of another role; check_life, missing functions") {
  auto c = component<passing>();
  c.caps = PL_ALERTS | PL_IDEMPOTENT | 1U << 30;
  const pl_component* list[] = {&c};
  const pl_plugin plugin{sizeof(pl_plugin), PL_ABI_MINOR, 1, 0, pl::borrow("p"), pl::borrow("1"), list};
  CHECK(pl::testing::check_plugin(plugin) ==
        pl::testing::problems{"passing: bit 2 of caps is reserved, or belongs to another role",
                              "passing: bit 30 of caps is reserved, or belongs to another role"});
  c.caps = 0;
  c.extension = [](void*, pl_str name) -> const void* {
    static constexpr pl_ext_state half{sizeof(pl_ext_state), nullptr, nullptr, nullptr};
    return pl::view(name) == PL_EXT_STATE ? &half : nullptr;
  };
  CHECK(pl::testing::check_life(c, {}, {"a"}) == pl::testing::problems{"state/1 lacks a function"});
}

namespace {

// Its ports are the keys of an option, in the order of the configuration.
class forking final : public pl::transform, public pl::option_ports {
 public:
  struct options {
    pl::ordered_map<std::string> forks;
    static pl::option_table<options> table() {
      return {pl::option(&options::forks, "forks", "Output ports, each with a text.").required()};
    }
  };
  static pl::description describe() {
    return {.name = "forking", .doc = "Has ports by options.", .example = "plugin: forking\nfrom: a\nforks: {x: y}\n"};
  }
  forking(options o, pl::context) : options_(std::move(o)) {}
  [[nodiscard]] std::vector<std::string> ports() const override {
    std::vector<std::string> names;
    for (const auto& [name, text] : options_.forks) names.push_back(name + text);
    return names;
  }
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    out.pass(in, static_cast<std::uint32_t>(options_.forks.size()) - 1);
    return {};
  }

 private:
  const options options_;
};

}  // namespace

TEST_CASE("ports/1: the ports depend on the options, in the order of the configuration") {
  const auto forks = pl::testing::object({{"z", "1"}, {"a", "2"}, {"m", "3"}});
  pl::testing::fake_host host;
  pl::testing::instance i(host, component<forking>(), {{"forks", forks}});
  REQUIRE(i.create() == PL_OK);
  CHECK((i.component().caps & PL_OPTION_PORTS) != 0);
  CHECK(pl::testing::ask_ports(i.component(), i.self()) == std::vector<std::string>{"z1", "a2", "m3"});
  for (const auto& problem : pl::testing::check_life(component<forking>(), {{"forks", forks}})) FAIL_CHECK(problem);
}
