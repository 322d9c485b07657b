// SPDX-License-Identifier: Apache-2.0
#include "engine/dead_letters.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <new>
#include <optional>
#include <span>

namespace pl::engine {

namespace {

enum column : column_index {
  time,
  pipeline,
  node,
  reason,
  stream,
  position,
  topic,
  key,
  value,
  headers,
  record_time,
  record,
  count
};
constexpr std::array<std::string_view, column::count> names{"time",   "pipeline", "node",        "reason",
                                                            "stream", "position", "topic",       "key",
                                                            "value",  "headers",  "record_time", "record"};

// Reasons come from plugins, which may have quoted broken bytes.
std::string as_utf8(std::string_view text) {
  std::string clean;
  for (std::size_t i = 0; i < text.size();) {
    const auto n = utf8_sequence(text, i);
    clean += n == 0 ? "\xEF\xBF\xBD" : text.substr(i, n);
    i += n == 0 ? 1 : n;
  }
  return clean;
}

// The row of the root that a row was made of. Rows keep their order, so the search goes on from where the last one ended.
std::optional<std::uint32_t> original_row(record_batch& of, std::uint32_t row, std::uint32_t& hint) {
  auto& root = of.root();
  if (&root == &of || (root.pos == of.pos && root.rows == of.rows)) return row;
  if (of.pos == nullptr || root.pos == nullptr) return std::nullopt;
  const auto from = of.view().stream(row);
  for (std::uint32_t i = 0; i < root.rows; ++i) {
    const auto at = (hint + i) % root.rows;
    if (root.pos[at] == of.pos[row] && root.view().stream(at) == from) return hint = at;
  }
  return std::nullopt;
}

class letter_writer {
 public:
  letter_writer(record_batch& to) : to_(to) {
    for (column_index c = 0; c < column::count; ++c) {
      columns_[c] = static_cast<cell*>(allocate(sizeof(cell) * to.rows, alignof(cell)));
      std::fill_n(columns_[c], to.rows, null_cell());
      to.cols[c] = columns_[c];
    }
  }
  void set(column c, std::uint32_t row, cell v) { columns_[c][row] = v; }
  std::string_view copy(std::string_view bytes) {
    if (bytes.empty()) return {};
    auto* p = static_cast<char*>(allocate(bytes.size(), 1));
    std::memcpy(p, bytes.data(), bytes.size());
    return {p, bytes.size()};
  }
  // The same column of the original, where it has one.
  void take_over(column c, std::uint32_t row, batch_view original, std::uint32_t original_row_index) {
    if (const auto at = original.find(names[c])) set(c, row, original.at(*at, original_row_index));
  }
  void* allocate(std::size_t bytes, std::size_t align) {
    void* p = to_.alloc(bytes, align);
    if (p == nullptr) throw std::bad_alloc();
    return p;
  }

 private:
  record_batch& to_;
  std::array<cell*, column::count> columns_{};
};

void write_original(letter_writer& w, std::uint32_t at, const rejection& r, std::uint32_t& hint) {
  const auto row = original_row(*r.of, r.row, hint);
  const auto root = r.of->root().view();
  const bool has_value = row && root.find(names[value]).has_value();
  if (has_value) {
    for (const auto c : {topic, key, value, headers}) w.take_over(c, at, root, *row);
    if (const auto own_time = root.find("time")) w.set(record_time, at, root.at(*own_time, *row));
  } else {
    std::string json;
    append_json_row(json, r.of->view(), r.row);
    w.set(record, at, json_cell(w.copy(json)));
  }
}

}  // namespace

dead_letter_office::dead_letter_office(services common, block_pool& pool, std::string pipeline_name)
    : common_(common), pool_(pool), pipeline_(std::move(pipeline_name)) {
  std::array<pl_str, column::count> raw;
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = borrow(names[i]);
  schema_ = common_.schemas.intern(raw.data(), static_cast<std::uint32_t>(raw.size()));
}

std::vector<batch_ref> dead_letter_office::letters(const std::vector<rejection>& rejected,
                                                   std::string_view from) const {
  const auto now =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch());
  std::vector<batch_ref> all;
  for (std::size_t begin = 0; begin < rejected.size();) {
    auto end = begin;
    while (end < rejected.size() && rejected[end].of.get() == rejected[begin].of.get()) ++end;
    const std::span group(rejected.data() + begin, end - begin);
    begin = end;

    auto& of = *group.front().of;
    batch_ref batch(new record_batch(pool_, &of, schema_, static_cast<std::uint32_t>(group.size())));
    letter_writer w(*batch);
    auto* pos = static_cast<std::uint64_t*>(w.allocate(sizeof(std::uint64_t) * group.size(), alignof(std::uint64_t)));
    auto* origin =
        static_cast<std::uint32_t*>(w.allocate(sizeof(std::uint32_t) * group.size(), alignof(std::uint32_t)));
    std::uint32_t hint = 0;
    for (std::uint32_t i = 0; i < group.size(); ++i) {
      const auto& r = group[i];
      pos[i] = of.view().position(r.row);
      origin[i] = of.view().origin(r.row);
      w.set(time, i, time_cell(now.count()));
      w.set(pipeline, i, text_cell(w.copy(pipeline_)));
      w.set(node, i, text_cell(w.copy(from)));
      w.set(reason, i, text_cell(w.copy(as_utf8(r.why))));
      if (of.nranges != 0) w.set(stream, i, text_cell(of.view().stream(r.row)));
      if (of.pos != nullptr) w.set(position, i, int_cell(static_cast<std::int64_t>(pos[i])));
      write_original(w, i, r, hint);
    }
    // A letter's place is told, but not kept: under no claim.
    auto* ranges = static_cast<pl_range*>(w.allocate(sizeof(pl_range) * std::max(1U, of.nranges), alignof(pl_range)));
    std::copy_n(of.ranges, of.nranges, ranges);
    for (std::uint32_t i = 0; i < of.nranges; ++i) ranges[i].epoch = 0;
    batch->ranges = ranges;
    batch->pos = of.pos != nullptr ? pos : nullptr;
    batch->origin = of.nranges != 0 ? origin : nullptr;
    all.push_back(std::move(batch));
  }
  return all;
}

}  // namespace pl::engine
