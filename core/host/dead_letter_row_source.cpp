// SPDX-License-Identifier: Apache-2.0
#include "host/dead_letter_row_source.hpp"

#include "host/dead_letter.hpp"
#include "host/dead_letter_row.hpp"

#include <pipeline/plugin.hpp>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

namespace {

constexpr std::string_view nameless_stream = "dead-letters";

// A row, and the place of the record that it was made from.
struct placed_row {
  std::string stream;
  std::optional<std::uint64_t> position;
  engine::stored_row cells;

  // Return whether both rows fit into one batch.
  [[nodiscard]] bool fits(const placed_row& other) const {
    return stream == other.stream && position.has_value() == other.position.has_value() &&
           std::ranges::equal(cells, other.cells, {}, &engine::stored_column::name, &engine::stored_column::name);
  }
  [[nodiscard]] std::size_t bytes() const {
    std::size_t all = 0;
    for (const auto& c : cells) all += c.bytes.size() + sizeof(cell);
    return all;
  }
};

class dead_letter_row_source final : public source {
 public:
  struct options {
    std::string path;
    static option_table<options> table() {
      return {option(&options::path, "path", "Dead letters with rows, sorted by stream and position.").required()};
    }
  };
  static description describe() {
    return {.name = dead_letter_row_source_name,
            .doc = "The rejected rows of dead letters.",
            .example = "plugin: dead_letter_rows_source\npath: dead-letters.ndjson\n"};
  }

  dead_letter_row_source(options o, context ctx) : path_(std::move(o.path)), ctx_(ctx) {}

  result<void> start() override {
    in_.open(path_, std::ios::binary);
    return in_ ? result<void>{} : fatal("cannot read " + path_);
  }

  result<batch> poll(const poll_request& request) override {
    if (request.max_rows == 0) return nothing_yet();
    std::vector<placed_row> rows;
    for (std::size_t bytes = 0; rows.size() < request.max_rows && bytes < request.max_bytes; ahead_.reset()) {
      if (!ahead_) ahead_ = next_row();
      if (!ahead_ || (!rows.empty() && !ahead_->fits(rows.front()))) break;
      bytes += ahead_->bytes();
      rows.push_back(std::move(*ahead_));
    }
    if (rows.empty()) return end_of_stream();
    if (rows.front().stream != stream_) {
      stream_ = rows.front().stream;
      next_ = rows.front().position.value_or(0);
      if (auto r = ctx_.assigned(stream_, next_); !r.ok()) return r.why();
    }
    return make_batch(rows);
  }

 private:
  std::optional<placed_row> next_row() {
    for (std::string line; std::getline(in_, line);) {
      const auto l = parse_dead_letter(line);
      auto row = l ? row_of(*l) : std::nullopt;
      if (row)
        return placed_row{l->stream.empty() ? std::string(nameless_stream) : l->stream, l->position, *std::move(row)};
    }
    return std::nullopt;
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

  batch make_batch(const std::vector<placed_row>& from) {
    const auto rows = static_cast<std::uint32_t>(from.size());
    std::vector<std::string_view> names;
    for (const auto& c : from.front().cells) names.push_back(c.name);
    auto b = ctx_.build(ctx_.schema(names), rows);
    for (column_index c = 0; c < names.size(); ++c) {
      auto to = b.make_column(c);
      for (std::uint32_t r = 0; r < rows; ++r) to[r] = cell_of(b, from[r].cells[c]);
    }
    const auto first = next_;
    if (from.front().position) {
      auto position = b.allocate<std::uint64_t>(rows);
      for (std::uint32_t r = 0; r < rows; ++r) position[r] = *from[r].position;
      next_ = std::max(next_, position[rows - 1] + 1);  // several rows may come from one record
      b.set_positions(position);
    }
    auto range = b.allocate<pl_range>(1);
    range[0] = range_of(borrow(b.copy(stream_)), first, next_);
    b.set_ranges(range);
    return std::move(b).finish();
  }

  const std::string path_;
  const context ctx_;
  std::ifstream in_;
  std::optional<placed_row> ahead_;
  std::string stream_;
  std::uint64_t next_ = 0;
};

}  // namespace

const pl_plugin& dead_letter_row_source_plugin() {
  static const pl_plugin plugin = detail::make_plugin<dead_letter_row_source>("1");
  return plugin;
}

}  // namespace pl::host
