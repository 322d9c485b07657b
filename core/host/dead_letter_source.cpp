// SPDX-License-Identifier: Apache-2.0
#include "host/dead_letter_source.hpp"

#include "host/dead_letter.hpp"

#include <pipeline/plugin.hpp>

#include <charconv>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

namespace pl::host {

namespace {

enum column : column_index { value, key, time, topic, partition, offset, headers, column_count };

// Return the partition number of "topic/3"; nothing for a stream that is not a Kafka partition.
std::optional<std::int64_t> partition_of(const dead_letter& l) {
  if (!l.topic || !l.stream.starts_with(*l.topic + "/")) return std::nullopt;
  const auto text = std::string_view(l.stream).substr(l.topic->size() + 1);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

class dead_letter_source final : public source {
 public:
  struct options {
    std::string path;
    static option_table<options> table() {
      return {option(&options::path, "path", "Dead letters, sorted by stream and position.").required()};
    }
  };
  static description describe() {
    return {.name = dead_letter_source_name,
            .doc = "The original records of dead letters.",
            .example = "plugin: dead_letters_source\npath: dead-letters.ndjson\n"};
  }

  dead_letter_source(options o, context ctx)
      : path_(std::move(o.path)),
        ctx_(ctx),
        schema_(ctx.schema({"value", "key", "time", "topic", "partition", "offset", "headers"})) {}

  result<void> start() override {
    in_.open(path_, std::ios::binary);
    return in_ ? result<void>{} : fatal("cannot read " + path_);
  }

  result<batch> poll(const poll_request& request) override {
    if (request.max_rows == 0) return nothing_yet();
    std::vector<dead_letter> rows;
    for (std::size_t bytes = 0; rows.size() < request.max_rows && bytes < request.max_bytes; ahead_.reset()) {
      if (!ahead_) ahead_ = next_dead_letter();
      if (!ahead_ || (!rows.empty() && ahead_->stream != rows.front().stream)) break;
      bytes += ahead_->value ? ahead_->value->size() : 0;
      rows.push_back(std::move(*ahead_));
    }
    if (rows.empty()) return end_of_stream();
    const auto& stream = rows.front().stream;
    if (stream != stream_) {
      stream_ = stream;
      next_ = rows.front().position.value_or(0);
      if (auto r = ctx_.assigned(stream_, next_); !r.ok()) return r.why();
    }
    return make_batch(rows);
  }

 private:
  std::optional<dead_letter> next_dead_letter() {
    for (std::string line; std::getline(in_, line);)
      if (auto l = parse_dead_letter(line)) return l;
    return std::nullopt;
  }

  batch make_batch(const std::vector<dead_letter>& dead_letters) {
    const auto rows = static_cast<std::uint32_t>(dead_letters.size());
    auto b = ctx_.build(schema_, rows);
    std::span<cell> to[column_count];
    for (column_index c = 0; c < column_count; ++c) to[c] = b.make_column(c);
    auto position = b.allocate<std::uint64_t>(rows);
    const auto bytes = [&](const std::optional<std::string>& from) {
      return from ? bytes_cell(b.copy(*from)) : null_cell();
    };
    for (std::uint32_t r = 0; r < rows; ++r) {
      const auto& l = dead_letters[r];
      to[value][r] = bytes(l.value);
      to[key][r] = bytes(l.key);
      if (l.record_time_ns) to[time][r] = time_cell(*l.record_time_ns);
      if (l.topic) to[topic][r] = text_cell(b.copy(*l.topic));
      if (const auto number = partition_of(l)) to[partition][r] = int_cell(*number);
      if (!l.headers.empty()) to[headers][r] = json_cell(b.copy(l.headers));
      position[r] = l.position.value_or(0);
      to[offset][r] = int_cell(static_cast<std::int64_t>(position[r]));
    }
    b.set_positions(position);
    auto range = b.allocate<pl_range>(1);
    range[0] = range_of(borrow(b.copy(stream_)), next_, position[rows - 1] + 1);
    next_ = position[rows - 1] + 1;
    b.set_ranges(range);
    return std::move(b).finish();
  }

  const std::string path_;
  const context ctx_;
  const pl_schema* schema_;
  std::ifstream in_;
  std::optional<dead_letter> ahead_;
  std::string stream_;
  std::uint64_t next_ = 0;
};

}  // namespace

const pl_plugin& dead_letter_source_plugin() {
  static const pl_plugin plugin = detail::make_plugin<dead_letter_source>("1");
  return plugin;
}

}  // namespace pl::host
