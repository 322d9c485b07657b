// SPDX-License-Identifier: Apache-2.0
#include "engine/test_components.hpp"

namespace pl::engine::test {

namespace {

std::mutex stages_mutex;
std::map<std::string, std::shared_ptr<stage>> stages;

struct stage_option {
  std::string stage;
  std::string note;
  static pl::option_table<stage_option> table() {
    return {pl::option(&stage_option::stage, "stage", "The stage of the test that this component plays on.").required(),
            pl::option(&stage_option::note, "note", "Anything: to make the configuration of a node differ.")};
  }
};

class test_source final : public pl::source {
 public:
  using options = stage_option;
  static pl::description describe() {
    return {.name = "test_source", .doc = "Counts, for the engine's tests.", .example = "plugin: test_source"};
  }
  test_source(const options& o, pl::context ctx)
      : stage_(stage_named(o.stage)), ctx_(ctx), schema_(ctx.schema({"value"})) {
    ++stage_->creates;
  }

  pl::result<void> start() override {
    ++stage_->starts;
    if (stage_->on_start)
      if (auto r = stage_->on_start(); !r.ok()) return r;
    for (std::uint64_t s = ctx_.lane(); s < stage_->streams; s += ctx_.lanes()) {
      const auto name = "s/" + std::to_string(s);
      auto next = ctx_.assigned(name, stage_->settled_of(name));
      if (!next.ok()) return next.why();
      streams_.push_back({name, *next});
    }
    return {};
  }
  pl::result<void> stop() override {
    ++stage_->stops;
    for (auto& s : streams_) stage_->lost_settled = ctx_.lost(s.name);
    streams_.clear();
    return {};
  }
  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (request.max_rows == 0) {
      ++stage_->keep_alives;
      return pl::nothing_yet();
    }
    const auto call = stage_->polls++;
    if (stage_->lose_at.contains(call) && !streams_.empty()) move_away(streams_.front());
    return read(std::min<std::uint64_t>(request.max_rows, 100));
  }
  pl::result<void> seek(std::string_view, std::uint64_t) override { return {}; }
  void settle(std::span<const pl_range> ranges) override {
    std::scoped_lock lock(stage_->mutex);
    for (const auto& r : ranges) stage_->settled[std::string(view(r.stream))] = r.next;
  }

 private:
  struct position {
    std::string name;
    std::uint64_t next;
  };

  // The stream goes and comes back, as in a rebalance; it goes on from where it is settled.
  void move_away(position& s) {
    const auto settled = ctx_.lost(s.name);
    stage_->lost_settled = settled;
    if (settled != PL_UNKNOWN) {
      std::scoped_lock lock(stage_->mutex);
      stage_->settled[s.name] = settled;
    }
    auto next = ctx_.assigned(s.name, stage_->settled_of(s.name));
    s.next = *next;
  }
  // An equal share of each stream in one batch.
  pl::result<pl::batch> read(std::uint64_t at_most) {
    std::vector<pl_range> ranges;
    std::vector<std::uint64_t> pos;
    std::vector<std::uint32_t> origin;
    const auto share = std::max<std::uint64_t>(1, at_most / std::max<std::size_t>(1, streams_.size()));
    for (auto& s : streams_) {
      const auto end = stage_->endless ? s.next + share : std::min(stage_->rows, s.next + share);
      if (end == s.next) continue;
      ranges.push_back(range_of(borrow(s.name), s.next, end, stage_->rows));
      for (; s.next < end; ++s.next) {
        pos.push_back(s.next);
        origin.push_back(static_cast<std::uint32_t>(ranges.size() - 1));
      }
    }
    if (ranges.empty()) return pl::end_of_stream();
    auto b = ctx_.build(schema_, static_cast<std::uint32_t>(pos.size()));
    auto values = b.make_column(0);
    for (std::size_t i = 0; i < pos.size(); ++i)
      values[i] = bytes_cell(b.copy(std::string(view(ranges[origin[i]].stream)) + ":" + std::to_string(pos[i])));
    b.set_positions(copied(b, pos));
    b.set_origins(copied(b, origin));
    for (auto& r : ranges) r.stream = borrow(b.copy(view(r.stream)));
    b.set_ranges(copied(b, ranges));
    return std::move(b).finish();
  }
  template <class T>
  static std::span<const T> copied(batch_builder& b, const std::vector<T>& from) {
    auto to = b.allocate<T>(from.size());
    std::copy(from.begin(), from.end(), to.begin());
    return to;
  }
  std::shared_ptr<stage> stage_;
  pl::context ctx_;
  const pl_schema* schema_;
  std::vector<position> streams_;
};

class test_transform final : public pl::transform {
 public:
  using options = stage_option;
  static pl::description describe() {
    return {.name = "test_transform", .doc = "Passes on, for the engine's tests.", .example = "plugin: test_transform"};
  }
  test_transform(const options& o, pl::context ctx) : stage_(stage_named(o.stage)), ctx_(ctx) { ++stage_->creates; }

  pl::result<void> start() override {
    ++stage_->starts;
    return {};
  }
  pl::result<void> stop() override {
    ++stage_->stops;
    kept_.clear();
    return {};
  }
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    const auto call = stage_->applies++;
    if (stage_->on_apply)
      if (auto r = stage_->on_apply(call); !r.ok()) return r;
    if (stage_->keep && stage_->keep(bytes_of(in.at(0, 0)))) {
      kept_.push_back(ctx_.retain(in));
      return {};
    }
    if (!stage_->reject_in_apply) {
      out.pass(in);
      return {};
    }
    std::vector<std::uint32_t> good;
    for (const auto row : in.selection())
      if (stage_->reject_in_apply(bytes_of(in.at(0, row))))
        ctx_.reject(in, row, "the test rejects it");
      else
        good.push_back(row);
    auto b = ctx_.derive(in, &in.schema(), in.rows());
    b.share_column(0, in.column(0));
    auto sel = b.allocate<std::uint32_t>(good.size());
    std::copy(good.begin(), good.end(), sel.begin());
    b.select(sel);
    out.emit(std::move(b));
    return {};
  }

 private:
  std::shared_ptr<stage> stage_;
  pl::context ctx_;
  std::vector<pl::batch> kept_;
};

class test_sink final : public pl::sink {
 public:
  using options = stage_option;
  static pl::description describe() {
    return {.name = "test_sink", .doc = "Remembers rows, for the engine's tests.", .example = "plugin: test_sink"};
  }
  test_sink(const options& o, pl::context ctx) : stage_(stage_named(o.stage)), ctx_(ctx) { ++stage_->creates; }

  pl::result<void> start() override {
    ++stage_->starts;
    return {};
  }
  pl::result<void> stop() override {
    ++stage_->stops;
    return {};
  }
  pl::result<void> write(const pl::batch_list& batches) override {
    const auto call = stage_->writes++;
    if (stage_->on_write)
      if (auto r = stage_->on_write(call); !r.ok()) return r;
    for (auto b : batches)
      for (const auto row : b.selection())
        if (stage_->refuse && stage_->refuse(bytes_of(b.at(0, row))))
          return pl::rejected("refused by the test's database");
    std::scoped_lock lock(stage_->mutex);
    for (auto b : batches)
      for (const auto row : b.selection()) {
        const auto text = bytes_of(b.at(0, row));
        if (stage_->reject_in_write && stage_->reject_in_write(text))
          ctx_.reject(b, row, "the sink rejects it");
        else
          stage_->stored.push_back({std::string(b.stream(row)), b.position(row), std::string(text)});
      }
    return {};
  }

 private:
  std::shared_ptr<stage> stage_;
  pl::context ctx_;
};

class test_dead final : public pl::sink {
 public:
  using options = stage_option;
  static pl::description describe() {
    return {
        .name = "test_dead", .doc = "Remembers dead letters, for the engine's tests.", .example = "plugin: test_dead"};
  }
  test_dead(const options& o, pl::context) : stage_(stage_named(o.stage)) {}
  pl::result<void> write(const pl::batch_list& batches) override {
    std::scoped_lock lock(stage_->mutex);
    for (auto b : batches)
      for (const auto row : b.selection()) {
        stage_->dead.push_back(
            {std::string(b.stream(row)), b.position(row), std::string(bytes_of(b.at(*b.find("value"), row)))});
        stage_->reasons.emplace_back(bytes_of(b.at(*b.find("reason"), row)));
      }
    return {};
  }

 private:
  std::shared_ptr<stage> stage_;
};

}  // namespace

std::shared_ptr<stage> stage_named(const std::string& name) {
  std::scoped_lock lock(stages_mutex);
  return stages.at(name);
}

std::shared_ptr<stage> new_stage(const std::string& name) {
  std::scoped_lock lock(stages_mutex);
  return stages[name] = std::make_shared<stage>();
}

const pl_plugin& test_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<test_source, test_transform, test_sink, test_dead>("1.0.0");
  return plugin;
}

}  // namespace pl::engine::test
