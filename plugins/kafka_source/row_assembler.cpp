// SPDX-License-Identifier: Apache-2.0
#include "row_assembler.hpp"

#include "headers_json.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <new>
#include <string>

namespace kafka {

namespace {

enum column : pl::column_index { value, key, time, topic, partition_number, offset, headers, column_count };
constexpr std::array<std::string_view, column_count> names = {"value",     "key",    "time",   "topic",
                                                              "partition", "offset", "headers"};

constexpr std::array<std::uint32_t, column_count> kinds = {PL_BYTES, PL_BYTES, PL_TIME_NS, PL_TEXT,
                                                           PL_I64,   PL_I64,   PL_JSON};

pl::cell bytes_or_null(const void* data, std::size_t size) noexcept {
  return data == nullptr ? pl::null_cell() : pl::bytes_cell({static_cast<const char*>(data), size});
}

pl::cell time_of(const rd_kafka_message_t& message, rd_kafka_timestamp_type_t& kind) noexcept {
  constexpr std::int64_t ns = 1'000'000;
  constexpr auto latest = std::numeric_limits<std::int64_t>::max() / ns;
  const auto ms = rd_kafka_message_timestamp(&message, &kind);
  // Producers may set any number as the time. One outside the years 1677 to 2262 becomes null.
  if (kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || ms > latest || ms < -latest) return pl::null_cell();
  return pl::time_cell(ms * ns);
}

// Return the value of the last header of that name. It points into the message, which the batch pins.
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

// Make the headers of one row; see pl_make_cell.
pl_status make_headers(void* memory, std::uint32_t row, void* to, pl_put_cell put) noexcept {
  auto* message = static_cast<message_array*>(memory)->messages()[row];
  rd_kafka_headers_t* found = nullptr;
  if (rd_kafka_message_headers(message, &found) != RD_KAFKA_RESP_ERR_NO_ERROR) return PL_OK;
  try {
    std::string json;
    write_headers(json, found);
    put(to, pl::json_cell(json));
    return PL_OK;
  } catch (const std::bad_alloc&) {
    return PL_FATAL;
  }
}

void release_messages(void* memory) { delete static_cast<message_array*>(memory); }

// librdkafka's overhead beside the payload of each message (measured).
constexpr std::size_t bytes_per_message = 320;

}  // namespace

struct row_assembler::columns {
  // later: the headers are made when something needs them.
  columns(pl::batch_builder& b, std::size_t most, std::size_t count, bool later)
      : builder(b), positions(b.allocate<std::uint64_t>(most)), origins(b.allocate<std::uint32_t>(most)), cells(count) {
    for (pl::column_index c = 0; c < count; ++c) {
      if (later && c == headers) continue;
      cells[c] = b.allocate<pl::cell>(most).data();
      b.share_column(c, {cells[c], most});
    }
  }
  pl::batch_builder& builder;
  std::span<std::uint64_t> positions;
  std::span<std::uint32_t> origins;
  std::span<std::int64_t> arrivals;  // empty: not wanted
  bool claimed = false;              // a producer set one of them
  std::vector<pl::cell*> cells;      // null: of a column that is made later
  std::uint32_t rows = 0;
  std::size_t bytes = 0;

  void set_time(const rd_kafka_message_t& message, std::uint32_t row) noexcept {
    auto kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    const auto found = cells[time][row] = time_of(message, kind);
    if (arrivals.empty()) return;
    arrivals[row] = pl::is_null(found) ? INT64_MIN : found.as.i;
    claimed = claimed || kind != RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
  }
};

std::string row_assembler::header_column_fault(const std::string& name) {
  if (name.empty()) return "must not be empty";
  return std::ranges::find(names, name) == names.end() ? "" : "the source already has a column '" + name + "'";
}

row_assembler::row_assembler(pl::context ctx, tombstones policy, const std::vector<std::string>& header_columns)
    : ctx_(ctx),
      policy_(policy),
      header_columns_(header_columns),
      skipped_tombstones_(ctx.counter("kafka_tombstones_skipped_total", "Tombstones dropped by tombstones: skip")) {
  std::vector<std::string_view> all(names.begin(), names.end());
  all.insert(all.end(), header_columns_.begin(), header_columns_.end());
  schema_ = ctx.schema(all);
}

pl::column_set row_assembler::emitted() const {
  pl::column_set all{schema_, {kinds.begin(), kinds.end()}};
  all.kinds.resize(schema_->ncols, PL_NULL);  // headers: text, or bytes that are not UTF-8
  return all;
}

std::optional<pl::batch> row_assembler::assemble(std::unique_ptr<message_array> messages, message_origin& from) {
  parts_.clear();
  const auto most = messages->messages().size();
  if (most == 0 && !any_empty_range(from.partitions())) return std::nullopt;
  auto builder = ctx_.build(schema_, static_cast<std::uint32_t>(most));
  const bool later = ctx_.make_later(builder, headers, messages.get(), make_headers);
  columns to(builder, most, schema_->ncols, later);
  if (arrivals_wanted_) to.arrivals = builder.allocate<std::int64_t>(most);
  fill(to, *messages, from);
  add_empty_ranges(to, from);
  if (parts_.empty()) return std::nullopt;
  set_ranges(to, from);
  builder.shrink(to.rows);
  builder.set_positions(to.positions.first(to.rows));
  builder.set_origins(to.origins.first(to.rows));
  if (!to.arrivals.empty()) builder.set_arrivals(to.arrivals.first(to.rows));
  if (to.claimed) builder.mark_arrivals_claimed();
  const auto pinned = to.bytes + to.rows * bytes_per_message;
  builder.pin(messages.release(), pinned, release_messages);
  // Advance only now that nothing can fail: messages that are not in a batch must be fetched again.
  for (auto& done : parts_) done.of->next = done.next;
  return std::move(builder).finish();
}

void row_assembler::fill(columns& to, message_array& from, message_origin& events) {
  const auto messages = from.messages();
  for (std::size_t i = 0; i < messages.size(); ++i)
    if (!take_message(to, *messages[i], events)) from.drop(i);
  from.close_gaps();  // message i is that of row i
}

// Note the record. Return whether it was read before it was noticed that its topic had been created again.
bool row_assembler::read_before(partition& p, const rd_kafka_message_t& message) {
  const auto fingerprint = fingerprint_of(message);
  p.recent.add(message.offset, fingerprint);
  p.log.add(rd_kafka_message_timestamp(&message, nullptr));
  if (p.again.empty()) return false;
  if (p.again.reaches(message.offset)) return p.again.contains(message.offset, fingerprint);
  p.again = {};
  return false;
}

// Return the partition of the message if it is that of the last row, and the message is to be read. Messages hold their
// topic's handle, so equal handles mean equal topics.
partition* row_assembler::same_as_last(const rd_kafka_message_t& message) const {
  if (current_ >= parts_.size()) return nullptr;
  const auto& last = parts_[current_];
  const bool same = last.of->number == message.partition && last.handle == message.rkt;
  return same && message.offset < last.of->until ? last.of : nullptr;
}

// Add a row for the message. Return false if the message does not become a row.
bool row_assembler::take_message(columns& to, const rd_kafka_message_t& message, message_origin& from) {
  if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    from.on_fetch_event(message);
    return false;
  }
  auto* const same = same_as_last(message);
  auto* p = same != nullptr ? same : from.reading(message);
  if (p == nullptr) return false;  // fetched before the partition was revoked or moved
  p->delivering = true;
  auto& source = same != nullptr ? parts_[current_] : part_of(to, *p);
  source.handle = message.rkt;
  if (message.offset < source.next) return false;  // already in an earlier batch
  source.next = message.offset + 1;
  if (p->watched && read_before(*p, message)) return false;
  if (message.payload == nullptr && policy_ == tombstones::skip) {
    skipped_tombstones_.add();
    return false;
  }
  const auto row = to.rows++;
  to.cells[value][row] = bytes_or_null(message.payload, message.len);
  to.cells[key][row] = bytes_or_null(message.key, message.key_len);
  to.set_time(message, row);
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

// A partition may end with transaction markers or with records that retention has deleted. Extend the range over them
// without rows, so that the committed offset reaches the end.
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
  auto* const cells = to.cells[headers];  // null: made later
  if (cells == nullptr && header_columns_.empty()) return;
  rd_kafka_headers_t* found = nullptr;
  const bool any = rd_kafka_message_headers(&message, &found) == RD_KAFKA_RESP_ERR_NO_ERROR;
  if (cells != nullptr) cells[row] = pl::null_cell();
  if (any && cells != nullptr) {
    write_headers(headers_json_, found);
    cells[row] = pl::json_cell(to.builder.copy(headers_json_));
  }
  for (std::size_t i = 0; i < header_columns_.size(); ++i)
    to.cells[column_count + i][row] = any ? header_of(found, header_columns_[i]) : pl::null_cell();
}

}  // namespace kafka
