// SPDX-License-Identifier: Apache-2.0
#include "engine/testing/test_components.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace pl::engine::test {

namespace {

std::mutex stages_mutex;
std::map<std::string, std::shared_ptr<stage>> stages;

struct stage_option {
  std::string stage;
  std::string note, file;
  static pl::option_table<stage_option> table() {
    return {pl::option(&stage_option::stage, "stage", "Name of the test's stage.").required(),
            pl::option(&stage_option::file, "file", "A file that is read at the start.").file(),
            pl::option(&stage_option::note, "note", "Any text, to make the configuration of a node differ.")};
  }
};

// Count an instance; fail as the test wants it.
void created(stage& s) {
  ++s.creates;
  if (s.on_create)
    if (const auto r = s.on_create(); !r.ok()) throw pl::invalid_options("note", r.why().message);
}

class test_source final : public pl::source {
 public:
  using options = stage_option;
  static pl::description describe() {
    return {.name = "test_source", .doc = "Counts up, for the engine's tests.", .example = "plugin: test_source"};
  }
  test_source(const options& o, pl::context ctx)
      : stage_(stage_named(o.stage)), ctx_(ctx), schema_(ctx.schema({"value"})) {
    created(*stage_);
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
    for (auto& s : streams_) stage_->revoked_settled = ctx_.revoked(s.name);
    streams_.clear();
    return {};
  }
  pl::result<pl::batch> poll(const pl::poll_request& request) override {
    if (request.max_rows == 0) {
      ++stage_->keep_alives;
      if (stage_->on_keep_alive) stage_->on_keep_alive();
      return pl::nothing_yet();
    }
    const auto call = stage_->polls++;
    if (stage_->revoke_at.contains(call) && !streams_.empty()) revoke_and_assign(streams_.front());
    return read(std::min<std::uint64_t>(request.max_rows, stage_->rows_per_poll));
  }
  void settle(std::span<const pl_range> ranges) override {
    std::scoped_lock lock(stage_->mutex);
    for (const auto& r : ranges) stage_->settled[std::string(view(r.stream))] = r.next;
  }

 private:
  struct position {
    std::string name;
    std::uint64_t next;
  };

  // Revoke the stream and assign it again, as in a rebalance. Reading continues at the settled position.
  void revoke_and_assign(position& s) {
    const auto settled = ctx_.revoked(s.name);
    stage_->revoked_settled = settled;
    if (settled != PL_UNKNOWN) {
      std::scoped_lock lock(stage_->mutex);
      stage_->settled[s.name] = settled;
    }
    auto next = ctx_.assigned(s.name, stage_->settled_of(s.name));
    s.next = *next;
  }
  // Read an equal share of each stream into one batch.
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
    return {.name = "test_transform",
            .doc = "Passes rows on, for the engine's tests.",
            .example = "plugin: test_transform"};
  }
  test_transform(const options& o, pl::context ctx) : stage_(stage_named(o.stage)), ctx_(ctx) { created(*stage_); }

  pl::result<void> start() override {
    ++stage_->starts;
    return stage_->on_transform_start ? stage_->on_transform_start() : pl::result<void>();
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
    return {.name = "test_sink", .doc = "Keeps rows, for the engine's tests.", .example = "plugin: test_sink"};
  }
  test_sink(const options& o, pl::context ctx) : stage_(stage_named(o.stage)), ctx_(ctx), live_(ctx.liveness()) {
    created(*stage_);
  }

  pl::result<void> start() override {
    ++stage_->starts;
    return stage_->on_sink_start ? stage_->on_sink_start() : pl::result<void>();
  }
  pl::result<void> stop() override {
    ++stage_->stops;
    return {};
  }
  pl::result<void> write(const pl::batch_list& batches) override {
    if (stage_->on_connection) stage_->on_connection(live_);
    const auto call = stage_->writes++;
    std::set<std::pair<std::string, std::uint64_t>> gone;
    if (stage_->reject_early)
      for (auto b : batches)
        for (const auto row : b.selection())
          if (stage_->reject_early(bytes_of(b.at(0, row))) && ctx_.reject_now(b, row, "the sink rejects it at once"))
            gone.emplace(b.stream(row), b.position(row));
    if (stage_->progress) ctx_.progress();
    if (stage_->on_write)
      if (auto r = stage_->on_write(call); !r.ok()) return r;
    for (auto b : batches)
      for (const auto row : b.selection())
        if (stage_->refuse && stage_->refuse(bytes_of(b.at(0, row))))
          return pl::rejected("refused by the test's database");
    bool rejected = false;
    for (auto b : batches)
      for (const auto row : b.selection())
        if (stage_->reject_by_name && stage_->reject_by_name(bytes_of(b.at(0, row)))) {
          ctx_.reject(b, row, "value '" + std::string(bytes_of(b.at(0, row))) + "' does not fit");
          rejected = true;
        }
    if (rejected) return pl::rejected("rows do not fit");
    std::scoped_lock lock(stage_->mutex);
    for (auto b : batches)
      for (const auto row : b.selection()) {
        const auto text = bytes_of(b.at(0, row));
        if (gone.contains({std::string(b.stream(row)), b.position(row)})) continue;
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
  pl::liveness live_;
};

class test_dead final : public pl::sink {
 public:
  using options = stage_option;
  static pl::description describe() {
    return {.name = "test_dead",
            .doc = "Keeps dead letters, for the engine's tests.",
            .example = "plugin: test_dead",
            .dead_letters = "{plugin: test_dead, stage: s, batch: {delay: 5ms}}"};
  }
  test_dead(const options& o, pl::context) : stage_(stage_named(o.stage)) {}
  pl::result<void> write(const pl::batch_list& batches) override {
    const auto call = stage_->dead_writes++;
    if (stage_->on_dead)
      if (auto r = stage_->on_dead(call); !r.ok()) return r;
    std::scoped_lock lock(stage_->mutex);
    for (auto b : batches)
      for (const auto row : b.selection()) {
        stage_->dead.push_back(
            {std::string(b.stream(row)), b.position(row), std::string(bytes_of(b.at(*b.find("value"), row)))});
        stage_->reasons.emplace_back(bytes_of(b.at(*b.find("reason"), row)));
        const auto& record = b.at(*b.find("record"), row);
        stage_->records.emplace_back(is_null(record) ? std::string_view() : bytes_of(record));
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
