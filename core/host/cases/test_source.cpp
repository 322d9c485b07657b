// SPDX-License-Identifier: Apache-2.0
#include "host/cases/test_source.hpp"

#include "engine/stored_row.hpp"

#include <pipeline/clock.hpp>
#include <pipeline/plugin.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

namespace {

using namespace std::chrono_literals;

// A step of the clock. Transforms have their timers called after each. The steps of a long time are longer, but an
// arrival clock does not count a time for which nothing proves that records could arrive, 5 s at most.
constexpr std::int64_t shortest_step = std::chrono::nanoseconds(1s).count();
constexpr std::int64_t longest_step = std::chrono::nanoseconds(4s).count();
constexpr std::int64_t steps_of_long_time = 3600;
constexpr std::int64_t after_the_end = std::chrono::nanoseconds(200ms).count();  // timers are due every 100 ms

// A line of the file: a time, and the row that arrives then, if any.
struct timed_row {
  std::int64_t time = 0;
  std::optional<engine::stored_row> cells;
};

std::optional<timed_row> parse_line(std::string_view line) {
  timed_row row;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), row.time);
  if (error != std::errc{}) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  if (line.empty()) return row;
  row.cells = engine::parse_stored_row(line.substr(1));
  return row.cells ? std::optional(std::move(row)) : std::nullopt;
}

class test_source final : public source, public columns_aware {
 public:
  struct options {
    std::string path;
    std::vector<std::string> columns;
    static option_table<options> table() {
      return {option(&options::path, "path", "The file of the rows.").required(),
              option(&options::columns, "columns", "The kind and the name of each column, such as \"5 topic\".")};
    }
  };
  static description describe() {
    return {.name = test_source_name,
            .doc = "The input of a test.",
            .example = "plugin: test_source\npath: input\n",
            .abilities = PL_RECORDS_UNREAD};
  }

  test_source(options o, context ctx)
      : path_(std::move(o.path)), ctx_(ctx), clock_(ctx.raw()), liveness_(ctx.liveness()) {
    std::vector<std::string_view> names;
    for (const auto& c : o.columns) {
      std::uint32_t kind = PL_NULL;
      const auto end = std::from_chars(c.data(), c.data() + c.size(), kind).ptr;
      columns_.kinds.push_back(kind);
      names.push_back(std::string_view(c).substr(static_cast<std::size_t>(end - c.data()) + 1));
    }
    columns_.schema = ctx.schema(names);
  }

  result<const pl_schema*> columns(const pl_schema*, std::uint32_t) override { return columns_.schema; }
  result<column_set> typed_columns(const column_set&, std::uint32_t) override { return columns_; }

  result<void> start() override {
    in_.open(path_, std::ios::binary);
    if (!in_) return fatal("cannot read " + path_);
    liveness_.connected();
    if (auto r = ctx_.assigned(test_stream, 0); !r.ok()) return r.why();
    ahead_ = next_line();
    return {};
  }

  // Move the clock by at most one step in each call, because timers are called between two calls.
  result<batch> poll(const poll_request& request) override {
    if (request.max_rows == 0) return nothing_yet();
    if (!ahead_) return end();
    if (!std::exchange(begun_, true)) move_clock(ahead_->time);
    if (const auto left = ahead_->time - clock_.now_ns(); left > 0) {
      if (step_ == 0) step_ = std::clamp(left / steps_of_long_time, shortest_step, longest_step);
      move_clock(clock_.now_ns() + std::min(left, step_));
      return nothing_yet();
    }
    step_ = 0;
    if (ahead_->cells) return make_batch(rows_of_now(request.max_rows));
    ahead_ = next_line();
    return nothing_yet();
  }

 private:
  // Let timers be called once more before the stream ends.
  failure end() {
    if (std::exchange(ended_, true)) return end_of_stream();
    move_clock(clock_.now_ns() + after_the_end);
    return nothing_yet();
  }

  void move_clock(std::int64_t to) {
    liveness_.observed_end(test_stream, next_, timestamp(std::chrono::nanoseconds(to)));
  }

  std::optional<timed_row> next_line() {
    for (std::string line; std::getline(in_, line);)
      if (auto row = parse_line(line)) return row;
    return std::nullopt;
  }

  // Return the rows that have arrived by now.
  std::vector<engine::stored_row> rows_of_now(std::uint32_t max) {
    std::vector<engine::stored_row> rows;
    while (ahead_ && ahead_->cells && ahead_->time <= clock_.now_ns() && rows.size() < max) {
      rows.push_back(*std::move(ahead_->cells));
      ahead_ = next_line();
    }
    return rows;
  }

  static cell cell_of(batch_builder& b, const engine::stored_column& c) {
    if (!c.present) return null_cell();
    switch (c.kind) {
      case PL_BOOL:
        return bool_cell(c.number != 0);
      case PL_I64:
        return int_cell(c.number);
      case PL_F64:
        return real_cell(c.real);
      case PL_TIME_NS:
        return time_cell(c.number);
      default:
        return span_cell(c.kind, b.copy(c.bytes));
    }
  }

  batch make_batch(const std::vector<engine::stored_row>& from) {
    const auto rows = static_cast<std::uint32_t>(from.size());
    auto b = ctx_.build(columns_.schema, rows);
    for (column_index c = 0; c < columns_.kinds.size(); ++c) {
      auto to = b.make_column(c);
      for (std::uint32_t r = 0; r < rows; ++r) to[r] = cell_of(b, from[r][c]);
    }
    auto position = b.allocate<std::uint64_t>(rows);
    auto arrival = b.allocate<std::int64_t>(rows);
    auto range = b.allocate<pl_range>(1);
    range[0] = range_of(borrow(b.copy(test_stream)), next_, next_ + rows, next_ + rows);
    for (std::uint32_t r = 0; r < rows; ++r) {
      position[r] = next_++;
      arrival[r] = clock_.now_ns();
    }
    b.set_positions(position);
    b.set_arrivals(arrival);
    b.set_ranges(range);
    return std::move(b).finish();
  }

  const std::string path_;
  const context ctx_;
  const wall_clock clock_;
  const liveness liveness_;
  column_set columns_;
  std::ifstream in_;
  std::optional<timed_row> ahead_;
  std::int64_t step_ = 0;  // of the clock, on the way to the next line
  std::uint64_t next_ = 0;
  bool begun_ = false, ended_ = false;
};

}  // namespace

const pl_plugin& test_source_plugin() {
  static const pl_plugin plugin = detail::make_plugin<test_source>("1");
  return plugin;
}

}  // namespace pl::host
