// SPDX-License-Identifier: Apache-2.0
#include "spooled.hpp"

#include <algorithm>
#include <system_error>

namespace spool {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t smallest_segment = 1 << 20, largest_segment = 16 << 20;

}  // namespace

fs::path spooled::folder(std::uint32_t lane) const {
  return fs::path(ctx_.state_dir()) / "spool" / std::string(ctx_.pipeline()) / std::string(ctx_.node()) /
         std::to_string(lane);
}

pl::result<void> spooled::open() {
  streams_.clear();
  if (auto r = open(ctx_.lane()); !r.ok()) return r;
  std::error_code ignored;
  for (auto lane = ctx_.lane() + ctx_.lanes(); fs::exists(folder(lane), ignored); lane += ctx_.lanes())
    if (auto r = open(lane); !r.ok()) return r;
  return {};
}

pl::result<void> spooled::open(std::uint32_t lane) {
  const auto room = given_.max_bytes.bytes;
  auto opened = log::open({.folder = folder(lane),
                           .fsync = given_.fsync,
                           .interval = given_.fsync_interval,
                           .max_bytes = room,
                           .segment_bytes = std::clamp(room / 16, smallest_segment, largest_segment),
                           .max_age = given_.max_age},
                          [this](std::string_view text) { say(text); });
  if (!opened.ok()) {
    streams_.clear();
    return opened.why();
  }
  auto& s = streams_.emplace_back();
  s.spool = std::move(*opened);
  s.name = "spool/" + s.spool->id();
  return {};
}

bool spooled::has_unsettled() const {
  return std::any_of(streams_.begin(), streams_.end(),
                     [](const auto& s) { return s.spool->end() > std::max(s.spool->settled(), s.spool->begin()); });
}

void spooled::say(std::string_view text) const { text.starts_with("LOST") ? ctx_.error(text) : ctx_.warn(text); }

pl::result<void> spooled::place(stream& s) {
  if (auto r = ctx_.announced(s.name); !r.ok()) return r;
  const auto settled = s.spool->settled();
  const auto next = ctx_.assigned(s.name, std::max(settled, s.spool->begin()),
                                  settled == 0 ? pl::begin::by_policy : pl::begin::by_progress);
  if (!next.ok()) return next.why();
  // After a power cut the sinks can have seen more than the disk has kept.
  if (auto r = s.spool->go_on_at(*next); !r.ok()) return r;
  s.next = *next;
  s.placed = true;
  return {};
}

// A stream that has no place yet is not looked at: the sinks may have more of it than is settled here.
void spooled::expire() {
  for (auto& s : streams_) {
    if (!s.placed) continue;
    const auto from = std::max({s.next, s.skip, s.spool->begin()});
    const auto until = s.spool->expire(from, [this](std::string_view text) { say(text); });
    if (until == from) continue;
    expired_.add(static_cast<double>(until - from));
    s.skip = until;
  }
}

pl::result<pl::batch> spooled::read(const pl::poll_request& request, const pl_schema* schema, const fill& row) {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    auto& s = streams_[turn_++ % streams_.size()];
    if (!s.placed)
      if (auto placed = place(s); !placed.ok()) {
        if (placed.why().code == pl::status::fatal) return placed.why();
        continue;  // the host has said why, and it is asked again
      }
    auto rows = read(s, request, schema, row);
    if (rows.ok() || rows.why().code != pl::status::again) return rows;
  }
  if (request.timeout > std::chrono::nanoseconds(0)) own()->wait(streams_.front().next, request.timeout);
  return pl::nothing_yet();
}

pl::result<pl::batch> spooled::read(stream& s, const pl::poll_request& request, const pl_schema* schema,
                                    const fill& row) {
  text_.clear();
  found_.clear();
  // A gap is part of the range of what comes behind it: of nothing, if nothing has come yet.
  const auto next = s.spool->read(
      std::max(s.next, s.skip), request.max_rows,
      [&](std::uint64_t number, std::string_view body) {
        found_.push_back({number, text_.size(), body.size()});
        text_.append(body);
        return text_.size() < request.max_bytes;
      },
      [this](std::string_view text) { say(text); });
  if (!next.ok()) return next.why();
  if (*next == s.next) return pl::nothing_yet();
  auto b = make_batch(s, *next, schema, row);
  s.next = *next;
  return b;
}

pl::batch spooled::make_batch(const stream& s, std::uint64_t next, const pl_schema* schema, const fill& row) {
  const auto rows = static_cast<std::uint32_t>(found_.size());
  auto b = ctx_.build(schema, rows);
  const auto text = b.copy(text_);
  columns to;
  for (pl::column_index c = 0; c < schema->ncols; ++c) to.push_back(b.make_column(c));
  auto positions = b.allocate<std::uint64_t>(rows);
  for (std::uint32_t r = 0; r < rows; ++r) {
    positions[r] = found_[r].number;
    row(b, to, r, text.substr(found_[r].at, found_[r].size));
  }
  b.set_positions(positions);
  auto range = b.allocate<pl_range>(1);
  range[0] = pl::range_of(pl::borrow(b.copy(s.name)), s.next, next, std::max(next, s.spool->end()));
  b.set_ranges(range);
  return std::move(b).finish();
}

void spooled::seek(std::string_view name, std::uint64_t next) {
  for (auto& s : streams_)
    if (s.name == name) s.next = next;
}

void spooled::settle(std::span<const pl_range> ranges) {
  std::uint64_t bytes = 0;
  for (auto& s : streams_) {
    for (const auto& r : ranges)
      if (pl::view(r.stream) == s.name) s.spool->settle(r.next);
    bytes += s.spool->bytes();
  }
  bytes_.set(static_cast<double>(bytes));
}

}  // namespace spool
