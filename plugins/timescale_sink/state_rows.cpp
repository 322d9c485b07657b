// SPDX-License-Identifier: Apache-2.0
#include "state_rows.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <tuple>

namespace timescale {
namespace {

// A statement is faster for less: it needs no further round trip.
constexpr std::size_t least_copied_rows = 64, least_copied_bytes = std::size_t{64} << 10U;

// A statement_timeout limits each statement. Statements of this size are as fast for each key as larger ones.
constexpr std::size_t most_deleted_keys = 4096, most_deleted_bytes = std::size_t{256} << 10U;

constexpr std::string_view columns = "(pipeline, sink, source, stream, node, key, value)";
constexpr std::uint16_t column_count = 7;

std::string literal(std::string_view text) { return quoted_literal(text); }

// Append a key to the elements of an array in a string with escapes, where \x of bytea has four backslashes.
void append_element(std::string& to, std::string_view key) {
  to += to.empty() ? R"(\\\\x)" : R"(,\\\\x)";
  pl::append_hex(to, key);
}

void put_field(byte_buffer& to, std::string_view bytes) {
  to.put(static_cast<std::uint32_t>(bytes.size()));
  to.append(bytes);
}

}  // namespace

state_rows::state_rows(const position_tables& where, const pl::batch_list& batches) : where_(&where) {
  std::size_t bytes = 0;
  for (const auto batch : batches)
    for (const auto& c : batch.state_changes()) {
      const auto& r = batch.ranges()[c.range];
      changes_.push_back(
          {pl::view(r.source), pl::view(r.stream), pl::view(c.node), pl::view(c.key), pl::view(c.value), c.erase != 0});
    }
  const auto id = [](const change& c) { return std::tie(c.source, c.stream, c.node, c.key); };
  // The last change of each key is the first of its equals in reverse order.
  std::ranges::reverse(changes_);
  std::ranges::stable_sort(changes_, [&](const change& a, const change& b) { return id(a) < id(b); });
  const auto same = [&](const change& a, const change& b) { return id(a) == id(b); };
  changes_.erase(std::unique(changes_.begin(), changes_.end(), same), changes_.end());
  const auto gone = std::stable_partition(changes_.begin(), changes_.end(), [](const change& c) { return !c.erase; });
  kept_ = static_cast<std::size_t>(gone - changes_.begin());
  for (std::size_t i = 0; i < kept_; ++i) bytes += changes_[i].key.size() + changes_[i].value.size();
  copies_ = kept_ >= least_copied_rows || bytes >= least_copied_bytes;
}

// Rows that are copied replace those of the same keys.
std::vector<std::string> state_rows::statements() const {
  std::vector<std::string> sql;
  if (kept_ != 0 && !copies_) sql.push_back(insert_sql());
  for (std::size_t first = copies_ ? 0 : kept_, end = 0; first < changes_.size(); first = end) {
    end = end_of_group(first);
    sql.push_back(delete_sql(first, end));
  }
  return sql;
}

std::string state_rows::copy_sql() const {
  return copied() == 0 ? std::string()
                       : "COPY " + where_->state.sql() + ' ' + std::string(columns) + " FROM STDIN (FORMAT binary)";
}

void state_rows::append(byte_buffer& to, std::size_t i) const {
  const auto& c = changes_[i];
  to.put(column_count);
  for (const std::string_view field :
       {std::string_view(where_->pipeline), std::string_view(where_->sink), c.source, c.stream, c.node, c.key, c.value})
    put_field(to, field);
}

std::string state_rows::insert_sql() const {
  std::string rows;
  for (std::size_t i = 0; i < kept_; ++i) {
    const auto& c = changes_[i];
    rows += (rows.empty() ? "(" : ",(");
    rows += literal(where_->pipeline) + ',' + literal(where_->sink) + ',' + literal(c.source) + ',' +
            literal(c.stream) + ',' + literal(c.node) + ',' + quoted_bytes(c.key) + ',' + quoted_bytes(c.value) + ')';
  }
  return "INSERT INTO " + where_->state.sql() + ' ' + std::string(columns) + " VALUES " + rows +
         " ON CONFLICT (pipeline, sink, source, stream, node, key) DO UPDATE SET value = EXCLUDED.value";
}

// Return the end of the changes that one statement deletes: those of one node and stream, up to the limits.
std::size_t state_rows::end_of_group(std::size_t first) const {
  const auto group = [](const change& c) { return std::tie(c.source, c.stream, c.node); };
  const auto limit = first < kept_ ? kept_ : changes_.size();
  const auto last = std::min(limit, first + most_deleted_keys);
  auto end = first + 1;
  std::size_t bytes = changes_[first].key.size();
  for (; end < last && group(changes_[end]) == group(changes_[first]); ++end)
    if ((bytes += changes_[end].key.size()) > most_deleted_bytes) break;
  return end;
}

// The keys are one constant: the server would parse an expression for each element of ARRAY[...].
std::string state_rows::delete_sql(std::size_t first, std::size_t end) const {
  std::string keys;
  for (auto i = first; i < end; ++i) append_element(keys, changes_[i].key);
  const auto& c = changes_[first];
  return "DELETE FROM " + where_->state.sql() + " WHERE pipeline = " + literal(where_->pipeline) +
         " AND sink = " + literal(where_->sink) + " AND source = " + literal(c.source) +
         " AND stream = " + literal(c.stream) + " AND node = " + literal(c.node) + " AND key = ANY (E'{" + keys +
         "}'::bytea[])";
}

}  // namespace timescale
