// SPDX-License-Identifier: Apache-2.0
#include "row_assembler.hpp"

#include "headers_json.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <array>
#include <limits>

namespace kafka {

namespace {

enum column : pl::column_index { value, key, time, topic, partition_number, offset, headers, column_count };
constexpr std::array<std::string_view, column_count> names = {"value",     "key",    "time",   "topic",
                                                              "partition", "offset", "headers"};

pl::cell bytes_or_null(const void* data, std::size_t size) noexcept {
  return data == nullptr ? pl::null_cell() : pl::bytes_cell({static_cast<const char*>(data), size});
}

pl::cell time_of(const rd_kafka_message_t& message) noexcept {
  constexpr std::int64_t ns = 1'000'000;
  constexpr auto latest = std::numeric_limits<std::int64_t>::max() / ns;
  rd_kafka_timestamp_type_t kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
  const auto ms = rd_kafka_message_timestamp(&message, &kind);
  // Producers may write any number as the time: one beyond the years 1677 to 2262 is none.
  if (kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || ms > latest || ms < -latest) return pl::null_cell();
  return pl::time_cell(ms * ns);
}

// The last of that name. It is memory of the message's, which the batch keeps.
pl::cell header_of(const rd_kafka_headers_t* all, const std::string& name) noexcept {
  const void* value = nullptr;
  std::size_t size = 0;
  if (rd_kafka_header_get_last(all, name.c_str(), &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR || value == nullptr)
    return pl::null_cell();
  const std::string_view bytes(static_cast<const char*>(value), size);
  return pl::is_utf8(bytes) ? pl::text_cell(bytes) : pl::bytes_cell(bytes);
}

bool any_empty_range(const partition_table& table) {
  bool any = false;
  table.each([&](const partition& p) { any = any || p.empty_until != unknown_offset; });
  return any;
}

void release_messages(void* memory) { delete static_cast<message_array*>(memory); }

// What librdkafka keeps beside the payload of each message (measured).
constexpr std::size_t bytes_per_message = 320;

}  // namespace

struct row_assembler::columns {
  columns(pl::batch_builder& b, std::size_t most, std::size_t count)
      : builder(b), positions(b.allocate<std::uint64_t>(most)), origins(b.allocate<std::uint32_t>(most)), cells(count) {
    for (pl::column_index c = 0; c < count; ++c) {
      cells[c] = b.allocate<pl::cell>(most).data();
      b.share_column(c, {cells[c], most});
    }
  }
  pl::batch_builder& builder;
  std::span<std::uint64_t> positions;
  std::span<std::uint32_t> origins;
  std::vector<pl::cell*> cells;
  std::uint32_t rows = 0;
  std::size_t bytes = 0;
};

std::string row_assembler::header_column_fault(const std::string& name) {
  if (name.empty()) return "a header's column needs a name";
  return std::ranges::find(names, name) == names.end() ? "" : "there is a column '" + name + "' already";
}

row_assembler::row_assembler(pl::context ctx, tombstones policy, const std::vector<std::string>& header_columns)
    : ctx_(ctx),
      policy_(policy),
      header_columns_(header_columns),
      skipped_tombstones_(ctx.counter("kafka_tombstones_skipped_total", "Records without a value that were left out")) {
  std::vector<std::string_view> all(names.begin(), names.end());
  all.insert(all.end(), header_columns_.begin(), header_columns_.end());
  schema_ = ctx.schema(all);
}

std::optional<pl::batch> row_assembler::assemble(std::unique_ptr<message_array> messages, message_origin& from) {
  parts_.clear();
  const auto most = messages->messages().size();
  if (most == 0 && !any_empty_range(from.partitions())) return std::nullopt;
  auto builder = ctx_.build(schema_, static_cast<std::uint32_t>(most));
  columns to(builder, most, schema_->ncols);
  fill(to, *messages, from);
  add_empty_ranges(to, from);
  if (parts_.empty()) return std::nullopt;
  set_ranges(to, from);
  builder.shrink(to.rows);
  builder.set_positions(to.positions.first(to.rows));
  builder.set_origins(to.origins.first(to.rows));
  const auto pinned = to.bytes + to.rows * bytes_per_message;
  builder.pin(messages.release(), pinned, release_messages);
  // Only now, when nothing can fail any more: what was not handed on must come again.
  for (auto& done : parts_) done.of->next = done.next;
  return std::move(builder).finish();
}

void row_assembler::fill(columns& to, message_array& from, message_origin& events) {
  const auto messages = from.messages();
  for (std::size_t i = 0; i < messages.size(); ++i)
    if (!take_message(to, *messages[i], events)) from.drop(i);
}

// False: it is no row.
bool row_assembler::take_message(columns& to, const rd_kafka_message_t& message, message_origin& from) {
  if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    from.on_fetch_event(message);
    return false;
  }
  const bool same = current_ < parts_.size() && parts_[current_].of->number == message.partition &&
                    message.offset < parts_[current_].of->until &&
                    parts_[current_].of->topic == rd_kafka_topic_name(message.rkt);
  auto* p = same ? parts_[current_].of : from.reading(message);
  if (p == nullptr) return false;  // fetched before it was taken from us, or moved
  p->delivering = true;
  auto& source = same ? parts_[current_] : part_of(to, *p);
  if (message.offset < source.next) return false;  // handed on already
  source.next = message.offset + 1;
  if (message.payload == nullptr && policy_ == tombstones::skip) {
    skipped_tombstones_.add();
    return false;
  }
  const auto row = to.rows++;
  to.cells[value][row] = bytes_or_null(message.payload, message.len);
  to.cells[key][row] = bytes_or_null(message.key, message.key_len);
  to.cells[time][row] = time_of(message);
  to.cells[topic][row] = source.topic;
  to.cells[partition_number][row] = pl::int_cell(message.partition);
  to.cells[offset][row] = pl::int_cell(message.offset);
  fill_headers(to, message, row);
  to.positions[row] = static_cast<std::uint64_t>(message.offset);
  to.origins[row] = static_cast<std::uint32_t>(current_);
  to.bytes += message.len + message.key_len;
  return true;
}

row_assembler::part& row_assembler::part_of(columns& to, partition& p) {
  for (current_ = 0; current_ < parts_.size(); ++current_)
    if (parts_[current_].of == &p) return parts_[current_];
  return parts_.emplace_back(part{&p, p.next, pl::text_cell(to.builder.copy(p.topic))});
}

// A partition's end may lie behind markers of transactions, or behind records that retention has deleted: then the
// range moves on without rows, so that the committed offset reaches the end.
void row_assembler::add_empty_ranges(columns& to, message_origin& from) {
  from.partitions().each([&](partition& p) {
    if (p.empty_until == unknown_offset || p.now != phase::reading) return;
    if (p.empty_until > p.next) {
      auto& source = part_of(to, p);
      source.next = std::max(source.next, p.empty_until);
    }
    p.empty_until = unknown_offset;
  });
}

void row_assembler::set_ranges(columns& to, const message_origin& from) {
  const auto ranges = to.builder.allocate<pl_range>(parts_.size());
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const auto& p = *parts_[i].of;
    const auto next = static_cast<std::uint64_t>(parts_[i].next);
    ranges[i] = pl::range_of(pl::borrow(to.builder.copy(p.stream)), static_cast<std::uint64_t>(p.next), next,
                             from.end_of(p, parts_[i].next));
  }
  to.builder.set_ranges(ranges);
}

void row_assembler::fill_headers(columns& to, const rd_kafka_message_t& message, std::uint32_t row) {
  rd_kafka_headers_t* found = nullptr;
  const bool any = rd_kafka_message_headers(&message, &found) == RD_KAFKA_RESP_ERR_NO_ERROR;
  to.cells[headers][row] = pl::null_cell();
  if (any) {
    write_headers(headers_json_, found);
    to.cells[headers][row] = pl::json_cell(to.builder.copy(headers_json_));
  }
  for (std::size_t i = 0; i < header_columns_.size(); ++i)
    to.cells[column_count + i][row] = any ? header_of(found, header_columns_[i]) : pl::null_cell();
}

}  // namespace kafka
