// SPDX-License-Identifier: Apache-2.0
#include "spooled.hpp"

#include "folders.hpp"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

namespace spool {

namespace fs = std::filesystem;

namespace {

constexpr auto look_interval = std::chrono::seconds(1);     // between looks for adopted spools
constexpr auto gather_time = std::chrono::milliseconds(2);  // between reads of few records
constexpr std::uint64_t smallest_segment = 1 << 20, largest_segment = 16 << 20;

}  // namespace

fs::path spooled::source_folder() const {
  return spool::source_folder(std::string(ctx_.state_dir()), ctx_.pipeline(), ctx_.node());
}

pl::exclusive_user::resource spooled::resource() const {
  std::error_code failed;
  auto path = fs::absolute(folder(), failed).lexically_normal();
  return {PL_EXCLUSIVE_SPOOL, path.string(), {}};
}

pl::result<void> spooled::open() {
  streams_.clear();
  if (auto r = open(folder()); !r.ok()) return r;
  for (const auto& other : folders_beyond(source_folder(), ctx_.lane(), ctx_.lanes()))
    if (auto r = open(other.path); !r.ok()) {
      streams_.clear();
      return r;
    }
  looked_for_others_ = std::chrono::steady_clock::now();
  return {};
}

pl::result<void> spooled::open(const fs::path& folder) {
  const auto room = given_.max_bytes.bytes;
  auto opened = log::open({.folder = folder,
                           .fsync = given_.fsync,
                           .interval = given_.fsync_interval,
                           .max_bytes = room,
                           .segment_bytes = std::clamp(room / 16, smallest_segment, largest_segment),
                           .max_age = given_.max_age},
                          [this](severity how, std::string_view text) { report(how, text); });
  if (!opened.ok()) return opened.why();
  if (auto r = check_plugin(**opened, folder); !r.ok()) return r;
  auto& s = streams_.emplace_back();
  s.spool = std::move(*opened);
  s.folder = folder;
  s.name = "spool/" + s.spool->id();
  return {};
}

namespace {

bool holds_records(const log& of) {
  const auto from = std::max(of.settled(), of.begin());
  return of.lag_end(from) > from;
}

}  // namespace

// Each plugin has its own record format, so a spool that another plugin has filled cannot be read.
pl::result<void> spooled::check_plugin(const log& opened, const fs::path& folder) const {
  const auto writer = plugin_of(folder);
  if (writer == plugin_) return {};
  if (!writer.empty() && holds_records(opened))
    return pl::fatal("the spool " + folder.string() + " holds records of " + writer + ", which " + plugin_ +
                     " cannot read; give this source another name, and read them with a " + writer);
  return set_plugin(folder, plugin_);
}

// Open spools that were adopted since the start.
void spooled::open_others() {
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_for_others_ < look_interval) return;
  looked_for_others_ = now;
  for (const auto& other : folders_beyond(source_folder(), ctx_.lane(), ctx_.lanes())) {
    if (std::ranges::find(streams_, other.path, &stream::folder) != streams_.end()) continue;
    // A failure is temporary, for example because the spool is still being moved. The next look opens it.
    if (open(other.path).ok())
      ctx_.info("reads the spool " + other.path.string() + ", too: its records are not settled");
  }
}

bool spooled::has_unsettled() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& s) { return holds_records(*s.spool); });
}

void spooled::report(severity how, std::string_view text) const {
  switch (how) {
    case severity::info:
      return ctx_.info(text);
    case severity::warning:
      return ctx_.warn(text);
    case severity::error:
      return ctx_.error(text);
  }
}

void spooled::close() {
  for (const auto& s : streams_) {
    if (const auto closed = s.spool->close(); !closed.ok()) ctx_.error(closed.why().message);
    report_events(*s.spool);
  }
  streams_.clear();
}

// Log and count what happened to a log since the last call.
void spooled::report_events(log& of) {
  of.report([this](severity how, std::string_view text) { report(how, text); });
}

pl::result<void> spooled::place(stream& s) {
  if (auto r = ctx_.announced(s.name); !r.ok()) return r;
  const auto settled = s.spool->settled();
  const auto next =
      ctx_.assigned(s.name, s.spool->start(), settled == 0 ? pl::start_reason::policy : pl::start_reason::committed);
  if (!next.ok()) return next.why();
  // After a power cut the sinks may have more records than the disk.
  if (auto r = s.spool->resume_at(*next); !r.ok()) return r;
  s.next = *next;
  s.placed = true;
  return {};
}

// Skip streams that are not placed yet: the sinks may have more of their records than are settled here.
void spooled::tend() {
  for (auto& s : streams_) {
    report_events(*s.spool);
    count_damage(s);
    if (!s.placed) continue;
    s.spool->free_settled();
    const auto from = std::max({s.next, s.skip, s.spool->begin()});
    const auto until = s.spool->expire(from, [this](severity how, std::string_view text) { report(how, text); });
    if (until == from) continue;
    expired_.add(static_cast<double>(until - from));
    s.skip = until;
  }
}

void spooled::count_damage(stream& s) {
  damaged_.add(static_cast<double>(s.spool->lost() - std::exchange(s.lost, s.spool->lost())));
  faults_.add(static_cast<double>(s.spool->faults() - std::exchange(s.faults, s.spool->faults())));
}

// Only the lane's own spool receives records: the clock of another one stands still once it is read.
void spooled::observe() const {
  report_bytes();
  if (streams_.empty() || !streams_.front().placed) return;
  const auto now = std::chrono::system_clock::now();  // before the end is read
  live_.observed_end(streams_.front().name, own()->end(), now);
}

// A batch costs the same time on its way through the pipeline, whether it has one record or a thousand, and so does waking
// up for it. While few records arrive, let those of a short time become one batch. A record after a quiet time does not wait.
void spooled::gather(std::chrono::nanoseconds at_most) const {
  const auto left = std::min<std::chrono::nanoseconds>(gathered_at_ - std::chrono::steady_clock::now(), at_most);
  if (left.count() > 0) std::this_thread::sleep_for(left);
}

void spooled::note_read(const pl::poll_request& request) {
  const bool few = found_.size() < request.max_rows / 16 && bytes_of_rows_ < request.max_bytes / 16;
  gathered_at_ = few ? std::chrono::steady_clock::now() + gather_time : std::chrono::steady_clock::time_point{};
}

pl::result<pl::batch> spooled::read(const pl::poll_request& request, const pl_schema* schema, const fill& row) {
  open_others();
  gather(request.timeout);
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    auto& s = streams_[turn_++ % streams_.size()];
    if (!s.placed)
      if (auto placed = place(s); !placed.ok()) {
        if (placed.why().code == pl::status::fatal) return placed.why();
        continue;  // the host has logged the reason; retry at the next poll
      }
    auto rows = read(s, request, schema, row);
    if (rows.ok()) note_read(request);
    if (rows.ok() || rows.why().code != pl::status::again) return rows;
  }
  if (request.timeout > std::chrono::nanoseconds(0)) own()->wait(streams_.front().next, request.timeout);
  return pl::nothing_yet();
}

pl::result<pl::batch> spooled::read(stream& s, const pl::poll_request& request, const pl_schema* schema,
                                    const fill& row) {
  text_.clear();
  found_.clear();
  bytes_of_rows_ = 0;
  shared_of_ = PL_UNKNOWN;
  const auto from = std::max(s.next, s.skip);
  pl::result<void> taken;
  std::uint64_t failed_at = 0;
  // A gap belongs to the range of the records after it, or is a range without records if there are none yet.
  auto next = s.spool->read(
      from, request.max_rows,
      [&](std::uint64_t number, std::string_view body) {
        taken = take(s, number, body);
        failed_at = number;
        return taken.ok() && bytes_of_rows_ < request.max_bytes;
      },
      [this](severity how, std::string_view text) { report(how, text); });
  report_incomplete(s);
  if (!next.ok()) return next.why();
  if (!taken.ok()) {  // return what was read; the next call reads this record again
    if (failed_at == from) return taken.why();
    next = failed_at;
  }
  if (*next == s.next) return pl::nothing_yet();
  if (shared_of_ != PL_UNKNOWN) {
    s.start_of = shared_of_;
    s.start = text_.substr(shared_.at, shared_.size);
  }
  auto b = make_batch(s, *next, schema, row);
  s.next = *next;
  return b;
}

// Add a record to the batch. Its start counts for each row, because a sink may store it with each.
pl::result<void> spooled::take(stream& s, std::uint64_t number, std::string_view body) {
  const auto start = start_of_ ? start_of_(body) : shared_start{};
  if (start.back != 0) {
    if (auto r = use_start(s, number, start); !r.ok()) return r;
    if (shared_of_ != number - start.back) return lose(s, number, body), pl::result<void>();
    bytes_of_rows_ += shared_.size;
  }
  const piece at{text_.size(), body.size()};
  text_.append(body);
  bytes_of_rows_ += body.size();
  if (start.back == 0) {
    shared_of_ = start.size != 0 ? number : PL_UNKNOWN;
    shared_ = {at.at, start.size};
  }
  found_.push_back({number, at, shared_});
  return {};
}

// Make the start that this record refers to the current one, if it is intact.
pl::result<void> spooled::use_start(stream& s, std::uint64_t number, const shared_start& refers) {
  const auto first = number - refers.back;
  if (shared_of_ == first) return {};
  if (s.start_of != first) {
    s.start.reset();
    for (const auto at : {first, number + refers.ahead}) {
      const auto found = s.spool->find(at);
      if (!found.ok()) return found.why();
      const auto size = *found ? start_of_(**found).size : 0;
      if (size == 0) continue;
      s.start = (*found)->substr(0, size);
      break;
    }
    s.start_of = first;
  }
  if (!s.start) return {};
  shared_of_ = first;
  shared_ = {text_.size(), s.start->size()};
  text_.append(*s.start);
  return {};
}

void spooled::lose(const stream& s, std::uint64_t number, std::string_view body) {
  if (incomplete_.next != number) report_incomplete(s);
  if (incomplete_.next == 0) incomplete_.first = number;
  incomplete_.next = number + 1;
  incomplete_.bytes.append(body) += '\n';
}

void spooled::report_incomplete(const stream& s) {
  if (incomplete_.next == 0) return;
  const auto lost = std::exchange(incomplete_, {});
  damaged_.add(static_cast<double>(lost.next - lost.first));
  ctx_.error(
      "LOST: " + range_text(lost.first, lost.next) +
      " cannot be delivered: both copies of what they share with the other records of their request are damaged in " +
      s.folder.string() + "; check the disk");
  keep_aside(s.folder / "incomplete", lost.first, lost.bytes,
             [this](severity how, std::string_view text) { report(how, text); });
}

pl::batch spooled::make_batch(const stream& s, std::uint64_t next, const pl_schema* schema, const fill& row) {
  const auto rows = static_cast<std::uint32_t>(found_.size());
  auto b = ctx_.build(schema, rows);
  const auto text = b.copy(text_);
  columns to;
  for (pl::column_index c = 0; c < schema->ncols; ++c) to.push_back(b.make_column(c));
  auto positions = b.allocate<std::uint64_t>(rows);
  auto arrivals = b.allocate<std::int64_t>(rows);
  for (std::uint32_t r = 0; r < rows; ++r) {
    positions[r] = found_[r].number;
    const auto& [number, body, shared] = found_[r];
    arrivals[r] = row(b, to, r, text.substr(body.at, body.size), text.substr(shared.at, shared.size));
  }
  b.set_positions(positions);
  b.set_arrivals(arrivals);
  auto range = b.allocate<pl_range>(1);
  range[0] = pl::range_of(pl::borrow(b.copy(s.name)), s.next, next, s.spool->lag_end(next));
  b.set_ranges(range);
  return std::move(b).finish();
}

void spooled::settle(std::span<const pl_range> ranges) {
  for (auto& s : streams_)
    for (const auto& r : ranges)
      if (pl::view(r.stream) == s.name) s.spool->settle(r.next);
  report_bytes();
}

void spooled::report_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& s : streams_) bytes += s.spool->bytes();
  bytes_.set(static_cast<double>(bytes));
}

}  // namespace spool
