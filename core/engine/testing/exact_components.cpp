// SPDX-License-Identifier: Apache-2.0
#include "engine/testing/exact_components.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace pl::engine::test {

namespace {

std::mutex worlds_mutex;
std::map<std::string, std::shared_ptr<world>> worlds;

struct world_option {
  std::string world;
  std::string note;
  static pl::option_table<world_option> table() {
    return {pl::option(&world_option::world, "world", "Name of the test's world.").required(),
            pl::option(&world_option::note, "note", "Any text, to make the configuration of a node differ.")};
  }
};

class exact_source final : public pl::source {
 public:
  using options = world_option;
  static pl::description describe() {
    return {.name = "exact_source",
            .doc = "Reads the test's broker.",
            .example = "plugin: exact_source",
            .abilities = PL_REPLAYABLE};
  }
  exact_source(const options& o, pl::context ctx)
      : world_(world_named(o.world)), ctx_(ctx), schema_(ctx.schema({"value"})) {}

  // The first start takes all partitions of its lane from their owners, which notice this at their next poll. A later
  // start takes free partitions only.
  pl::result<void> start() override {
    auto& broker = world_->broker;
    std::scoped_lock lock(broker.mutex);
    const bool again = std::exchange(me_, ++broker.members) != 0;
    take_partitions([again](const auto& p) { return !again || p.owner == 0; });
    return {};
  }
  pl::result<void> stop() override {
    for (auto& [name, p] : mine_) give_up(name, p);
    mine_.clear();
    return {};
  }

  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    look_for_revocations();
    look_for_new_partitions();
    if (request.max_rows == 0) return pl::nothing_yet();
    for (auto& [name, p] : mine_)
      if (!p.placed)
        if (auto r = place(name, p); !r.ok()) return r.why().code == pl::status::fatal ? r.why() : pl::nothing_yet();
    return read(std::min(request.max_rows, 37U));
  }
  void settle(std::span<const pl_range> ranges) override {
    std::scoped_lock lock(world_->broker.mutex);
    for (const auto& r : ranges) commit(std::string(pl::view(r.stream)), r.next);
  }

 private:
  struct reading {
    bool placed = false;
    std::uint64_t next = 0;
  };

  void commit(const std::string& name, std::uint64_t to) {  // under the broker's lock
    auto& p = world_->broker.partitions[name];
    if (p.owner != me_) return;
    p.committed = to;
    p.has_committed = p.marked = true;
  }
  void give_up(const std::string& name, const reading& p) {
    const auto settled = p.placed ? ctx_.revoked(name) : PL_UNKNOWN;
    std::scoped_lock lock(world_->broker.mutex);
    if (settled != PL_UNKNOWN) commit(name, settled);
    auto& there = world_->broker.partitions[name];
    if (there.owner == me_) there.owner = 0;
  }
  template <class Predicate>
  void take_partitions(Predicate&& is_mine) {  // under the broker's lock
    std::uint32_t i = 0;
    for (auto& [name, p] : world_->broker.partitions)
      if (i++ % ctx_.lanes() == ctx_.lane() && is_mine(std::as_const(p))) {
        p.owner = me_;
        p.was_owned = true;
        p.read = 0;
        mine_[name] = {};
      }
  }
  // A test may create partitions at any moment, also while the source starts.
  void look_for_new_partitions() {
    std::scoped_lock lock(world_->broker.mutex);
    take_partitions([](const auto& p) { return !p.was_owned; });
  }
  void look_for_revocations() {
    std::vector<std::string> gone;
    {
      std::scoped_lock lock(world_->broker.mutex);
      for (const auto& [name, p] : mine_)
        if (world_->broker.partitions[name].owner != me_) gone.push_back(name);
    }
    for (const auto& name : gone) {
      give_up(name, mine_[name]);
      mine_.erase(name);
    }
  }
  pl::result<void> place(const std::string& name, reading& p) {
    if (auto r = ctx_.announced(name); !r.ok()) return r;
    fake_broker::partition seen;
    {
      std::scoped_lock lock(world_->broker.mutex);
      seen = world_->broker.partitions[name];
    }
    const auto why = !seen.has_committed ? pl::start_reason::policy
                     : seen.marked       ? pl::start_reason::committed
                                         : pl::start_reason::reset;
    const auto next = ctx_.assigned(name, seen.committed, why);
    if (!next.ok()) return next.why();
    p.next = *next;
    if (why != pl::start_reason::committed) {
      std::scoped_lock lock(world_->broker.mutex);
      if (world_->broker.partitions[name].owner != me_) return pl::retry("the partition has another owner now");
      commit(name, p.next);
    }
    p.placed = true;
    note_read(name, p.next);
    return {};
  }
  void note_read(const std::string& name, std::uint64_t to) {
    std::scoped_lock lock(world_->broker.mutex);
    if (auto& p = world_->broker.partitions[name]; p.owner == me_) p.read = to;
  }
  pl::result<pl::batch> read(std::uint32_t at_most) {
    for (auto& [name, p] : mine_) {
      std::uint64_t end = 0;
      {
        std::scoped_lock lock(world_->broker.mutex);
        end = world_->broker.partitions[name].end;
      }
      const auto rows = static_cast<std::uint32_t>(std::min<std::uint64_t>(at_most, end > p.next ? end - p.next : 0));
      if (rows == 0) continue;
      auto b = ctx_.build(schema_, rows);
      auto values = b.make_column(0);
      auto pos = b.allocate<std::uint64_t>(rows);
      const auto first = p.next;
      for (std::uint32_t i = 0; i < rows; ++i) {
        pos[i] = p.next++;
        values[i] = bytes_cell(b.copy(name + ":" + std::to_string(pos[i])));
      }
      b.set_positions(pos);
      auto range = b.allocate<pl_range>(1);
      range[0] = range_of(borrow(b.copy(name)), first, p.next, end);
      b.set_ranges(range);
      note_read(name, p.next);
      return std::move(b).finish();
    }
    return pl::nothing_yet();
  }

  std::shared_ptr<world> world_;
  pl::context ctx_;
  const pl_schema* schema_;
  std::uint64_t me_ = 0;
  std::map<std::string, reading> mine_;
};

class every_tenth final : public pl::transform, public pl::stateful {
 public:
  using options = world_option;
  static pl::description describe() {
    return {.name = "every_tenth",
            .doc = "Passes every tenth record of a stream.",
            .example = "plugin: every_tenth",
            .abilities = PL_DETERMINISTIC};
  }
  every_tenth(const options& o, pl::context ctx)
      : world_(world_named(o.world)), ctx_(ctx), step_(o.note == "counts twice" ? 2 : 1) {}

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    std::vector<std::uint32_t> tenth;
    for (const auto row : in.selection()) {
      auto& seen = seen_[std::string(in.stream(row))];
      if (bytes_of(in.at(0, row)).ends_with("5")) ctx_.reject(in, row, "ends in 5");
      seen += step_;
      if (seen % 10 == 0 && !bytes_of(in.at(0, row)).ends_with("5")) tenth.push_back(row);
    }
    auto b = ctx_.derive(in, &in.schema(), in.rows());
    b.share_column(0, in.column(0));
    auto sel = b.allocate<std::uint32_t>(tenth.size());
    std::copy(tenth.begin(), tenth.end(), sel.begin());
    b.select(sel);
    out.emit(std::move(b));
    return {};
  }
  void revoked(std::string_view stream) override { seen_.erase(std::string(stream)); }
  pl::result<void> restore(std::string_view stream, std::string_view key, std::string_view value) override {
    if (key == "count") std::from_chars(value.data(), value.data() + value.size(), seen_[std::string(stream)]);
    return {};
  }
  pl::result<void> snapshot(std::string_view stream) override {
    if (const auto at = seen_.find(std::string(stream)); at != seen_.end())
      ctx_.put(stream, "count", std::to_string(at->second));
    return {};
  }

 private:
  std::shared_ptr<world> world_;
  pl::context ctx_;
  const std::uint64_t step_;                   // by which it counts
  std::map<std::string, std::uint64_t> seen_;  // records of a stream
};

class exact_sink final : public pl::sink, public pl::position_store {
 public:
  using options = world_option;
  static pl::description describe() {
    return {.name = "exact_sink",
            .doc = "Writes into the test's database.",
            .example = "plugin: exact_sink",
            .abilities = PL_TRANSACTIONAL};
  }
  exact_sink(const options& o, pl::context ctx) : world_(world_named(o.world)), ctx_(ctx), name_(ctx.node()) {}

  pl::result<void> write(const pl::batch_list& batches) override {
    auto& db = world_->database;
    std::scoped_lock lock(db.mutex);
    const auto number = db.writes++;
    if (db.away && db.away(number)) return pl::retry("the database is away");
    std::uint64_t rows = 0;
    for (auto b : batches) rows += b.selected();
    if (db.exhausted && db.exhausted(rows)) {
      ctx_.too_large();
      return pl::retry("the database has no memory left");
    }
    if (unsure_) {
      unsure_ = false;
      if (committed(batches)) return {};
    }
    std::map<fake_database::key, pl_range> moves;
    for (auto b : batches)
      for (const auto& r : b.ranges()) {
        if (r.epoch == 0) continue;  // at least once
        const auto [at, fresh] = moves.try_emplace(id(pl::view(r.source), pl::view(r.stream)), r);
        if (fresh) continue;
        if (at->second.epoch != r.epoch || r.first > at->second.next) return fence();
        at->second.next = std::max(at->second.next, r.next);
      }
    for (const auto& [where, r] : moves)
      if (db.positions[where].epoch != r.epoch || db.positions[where].next != r.first) return fence();
    bool refused = false;
    for (auto b : batches)
      for (const auto row : b.selection())
        if (db.refuse && db.refuse(bytes_of(b.at(0, row)))) {
          ctx_.reject(b, row, "the test's database refuses it");
          refused = true;
        }
    if (refused) return pl::rejected("rows are refused");
    db.largest[name_] = std::max(db.largest[name_], rows);
    token_ = db.writes;
    for (auto b : batches) {
      for (const auto row : b.selection()) ++db.rows[name_][{std::string(b.stream(row)), b.position(row)}];
      for (const auto& c : b.state_changes()) {
        const std::tuple key{name_, std::string(pl::view(b.ranges()[c.range].stream)), std::string(pl::view(c.node)),
                             std::string(pl::view(c.key))};
        if (c.erase != 0)
          db.state.erase(key);
        else
          db.state[key] = pl::view(c.value);
      }
    }
    for (const auto& [where, r] : moves) {
      db.positions[where].next = r.next;
      db.positions[where].token = token_;
    }
    unsure_ = db.lose_reply && db.lose_reply(number);
    return unsure_ ? pl::result<void>(pl::retry("the reply to COMMIT was lost")) : pl::result<void>();
  }

  pl::result<pl_position> position(std::string_view source, std::string_view stream) override {
    std::scoped_lock lock(world_->database.mutex);
    if (world_->database.silent) return pl::retry("the database does not reply");
    const auto& at = world_->database.positions[id(source, stream)];
    return pl_position{at.next, at.epoch};
  }
  pl::result<bool> claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                         const pl_state_watermark& watermark) override {
    std::scoped_lock lock(world_->database.mutex);
    auto& at = world_->database.positions[id(source, stream)];
    if (at.next != seen.next || at.epoch != seen.epoch) return false;
    at = {wanted.next, wanted.epoch, 0};
    auto& state = world_->database.state;
    const std::tuple key{name_, std::string(stream), std::string(), std::string(pl::view(watermark.key))};
    if (watermark.rule == (state.contains(key) ? PL_WATERMARK_UPDATE : PL_WATERMARK_INSERT))
      state[key] = pl::view(watermark.value);
    return true;
  }
  pl::result<void> load(std::string_view, std::string_view stream, const entry& each) override {
    std::vector<std::tuple<std::string, std::string, std::string>> found;
    {
      std::scoped_lock lock(world_->database.mutex);
      for (const auto& [key, value] : world_->database.state)
        if (std::get<0>(key) == name_ && std::get<1>(key) == stream)
          found.emplace_back(std::get<2>(key), std::get<3>(key), value);
    }
    for (const auto& [node, key, value] : found) each(node, key, value);
    return {};
  }

 private:
  [[nodiscard]] fake_database::key id(std::string_view source, std::string_view stream) const {
    return {name_, std::string(source), std::string(stream)};
  }
  pl::result<void> fence() {
    ++world_->database.fenced;
    return pl::fenced("another host has claimed it");
  }
  bool committed(const pl::batch_list& batches) {
    for (auto b : batches)
      for (const auto& r : b.ranges())
        if (world_->database.positions[id(pl::view(r.source), pl::view(r.stream))].token != token_) return false;
    return true;
  }
  std::shared_ptr<world> world_;
  pl::context ctx_;
  std::string name_;
  std::uint64_t token_ = 0;
  bool unsure_ = false;
};

class exact_dead final : public pl::sink {
 public:
  using options = world_option;
  static pl::description describe() {
    return {.name = "exact_dead",
            .doc = "Keeps dead letters.",
            .example = "plugin: exact_dead",
            .abilities = PL_IDEMPOTENT};
  }
  exact_dead(const options& o, pl::context) : world_(world_named(o.world)) {}
  pl::result<void> write(const pl::batch_list& batches) override {
    std::scoped_lock lock(world_->mutex);
    for (auto b : batches)
      for (const auto row : b.selection()) ++world_->dead_letters[""][{std::string(b.stream(row)), b.position(row)}];
    return {};
  }

 private:
  std::shared_ptr<world> world_;
};

}  // namespace

std::shared_ptr<world> world_named(const std::string& name) {
  std::scoped_lock lock(worlds_mutex);
  return worlds.at(name);
}

std::shared_ptr<world> new_world(const std::string& name) {
  std::scoped_lock lock(worlds_mutex);
  return worlds[name] = std::make_shared<world>();
}

const pl_plugin& exact_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<exact_source, every_tenth, exact_sink, exact_dead>("1.0.0");
  return plugin;
}

}  // namespace pl::engine::test
