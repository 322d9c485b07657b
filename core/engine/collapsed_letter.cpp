// SPDX-License-Identifier: Apache-2.0
#include "engine/collapsed_letter.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/text.hpp>

#include <charconv>
#include <system_error>

namespace pl::engine {

namespace {

constexpr std::string_view marker = "\"$collapsed\"";  // persisted: never change it

}  // namespace

void position_runs::end_run(std::string& to) const {
  if (runs_ == 0) return;
  if (!to.empty()) to += ',';
  to += std::to_string(first_);
  if (last_ != first_) to += '-' + std::to_string(last_);
}

void position_runs::add(std::uint64_t position) {
  if (runs_ != 0 && (position == last_ || position == last_ + 1)) {
    last_ = position;
    return;
  }
  end_run(ended_);
  first_ = last_ = position;
  ++runs_;
}

std::string position_runs::text() const {
  auto all = ended_;
  end_run(all);
  return all;
}

bool includes(const collapsed_records& of, std::uint64_t position) noexcept {
  const char* at = of.positions.data();
  const char* const end = at + of.positions.size();
  while (at != end) {
    std::uint64_t first = 0;
    auto read = std::from_chars(at, end, first);
    if (read.ec != std::errc{}) return false;
    auto last = first;
    if (read.ptr != end && *read.ptr == '-') read = std::from_chars(read.ptr + 1, end, last);
    if (read.ec != std::errc{}) return false;
    if (first <= position && position <= last) return true;
    at = read.ptr == end ? end : read.ptr + 1;
  }
  return false;
}

std::string collapsed_record(const collapsed_records& of) {
  return "{" + std::string(marker) + ":{\"records\":" + std::to_string(of.records) + ",\"positions\":\"" +
         of.positions + "\"}}";
}

std::optional<collapsed_records> parse_collapsed(std::string_view record) {
  std::optional<collapsed_records> found;
  bool well = true;
  const bool whole = each_json_member(record, [&](std::string_view key, std::string_view value) {
    if (key != marker) return;
    found.emplace();
    well = each_json_member(value, [&](std::string_view name, std::string_view given) {
      if (name == "\"records\"") std::from_chars(given.data(), given.data() + given.size(), found->records);
      if (name == "\"positions\"") found->positions = json_text(given).value_or(std::string());
    });
  });
  return whole && well && found && found->records != 0 ? found : std::nullopt;
}

}  // namespace pl::engine
