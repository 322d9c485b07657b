// SPDX-License-Identifier: Apache-2.0
// Reading the log, past damage; and dropping old records.
#include "spool.hpp"

#include <pipeline/posix.hpp>

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>

namespace spool {

namespace fs = std::filesystem;

namespace {

constexpr auto age_check_interval = std::chrono::seconds(1);  // between checks for max_age
constexpr int most_attempts = 5;  // to read what the system cannot read, before it counts as damaged

}  // namespace

std::string range_text(std::uint64_t first, std::uint64_t next) {
  const auto n = next - first;
  if (n == 1) return "record " + std::to_string(first);
  return "records " + std::to_string(first) + " to " + std::to_string(next - 1) + " (" + std::to_string(n) +
         " records)";
}

void keep_aside(const fs::path& file, std::uint64_t offset, std::string_view bytes, const notice& report) {
  const auto to = file.string() + "." + std::to_string(offset) + ".damaged";
  std::error_code ignored;
  if (bytes.empty() || fs::exists(to, ignored)) return;
  if (const auto error = pl::replace_file(to, bytes))
    report(severity::warning, failed("cannot keep the damaged bytes in", to, error.value()).message);
  else
    report(severity::warning, std::to_string(bytes.size()) + " damaged bytes of " + file.string() + " are kept in " +
                                  to + "; check the disk");
}

// ---------------------------------------------------------------------------------------------------------- reading ---

void log::wait(std::uint64_t next, std::chrono::nanoseconds at_most) {
  lock_guard held(mutex_);
  appended_.wait_for(held, at_most, [&] { return readable() > next; });
}

const segment* log::segment_with(std::uint64_t number) const {
  for (const auto& s : segments_)
    if (number < s.next) return &s;
  return nullptr;
}

// Return the file with this record, or the next one, up to the end of its readable records.
std::optional<segment> log::view_of(std::uint64_t number) const {
  const std::scoped_lock lock(mutex_);
  const auto* s = segment_with(number);
  if (s == nullptr) return std::nullopt;
  auto view = *s;
  if (s == &segments_.back() && reads_synced_only()) {
    view.next = durable_;
    view.bytes = synced_bytes_;
  }
  return view;
}

pl::result<std::uint64_t> log::read(std::uint64_t next, std::size_t at_most,
                                    const std::function<bool(std::uint64_t number, std::string_view body)>& take,
                                    const notice& report) {
  std::optional<segment> in;
  for (std::size_t n = 0; n < at_most;) {
    if (!in || next >= in->next) in = view_of(next);
    if (!in || next >= in->next) break;
    if (next < in->first) {
      pass_missing(next, in->first, report);
      next = in->first;
      continue;
    }
    if (auto placed = place_reader(*in, next); !placed.ok()) return placed.why();
    std::string_view body;
    const auto at = reader_->number();
    if (at != next || reader_->next(body) != segment_reader::step::record) {
      if (!is_final(next)) break;
      const auto now = view_of(next);
      if (!now || now->file != in->file || now->bytes < in->bytes) {  // replaced after a fault, not damaged
        in = now;
        reader_.reset();
        continue;
      }
      const auto passed = pass_damage(*in, next, report);
      if (passed.ok() && *passed != next) {
        next = *passed;
        continue;
      }
      if (passed.ok() || n != 0) break;  // return what was read; the next call meets the fault again
      return passed;
    }
    ++n;
    next = at + 1;
    if (!take(at, body)) break;
  }
  return next;
}

pl::result<std::optional<std::string>> log::find(std::uint64_t number) {
  const auto in = view_of(number);
  if (!in || number < in->first) return std::optional<std::string>();
  auto opened = open_segment(in->path, false);
  if (!opened.ok()) return opened.why();
  segment_reader reader(std::move(*opened), in->first, segment_header);
  reader.end_at(in->bytes);
  std::string_view body;
  while (reader.number() <= number) {
    const auto at = reader.number();
    const auto step = reader.next(body);
    if (step == segment_reader::step::record && at == number) return std::optional<std::string>(body);
    if (step == segment_reader::step::record) continue;
    if (step == segment_reader::step::failed && worth_a_retry(at))
      return failed("cannot read", in->path, reader.error());
    if (!is_final(number)) return pl::retry("record " + std::to_string(number) + " is not synced yet");
    if (step == segment_reader::step::end) break;
    (void)reader.skip(in->next);
  }
  return std::optional<std::string>();
}

// Return whether what the file holds of this record counts: if its sync fails, it is written again.
bool log::is_final(std::uint64_t number) const {
  const std::scoped_lock lock(mutex_);
  return !copies() || number < durable_;
}

// Position the reader at `next`, or after it if it is in a damaged part, unless it is there already.
pl::result<void> log::place_reader(const segment& in, std::uint64_t next) {
  const bool placed = reader_ && reader_->number() == next && reader_file_ == in.file;
  if (!placed) {
    auto opened = open_segment(in.path, false);
    if (!opened.ok()) return opened.why();
    reader_.emplace(std::move(*opened), in.first, segment_header);
    reader_file_ = in.file;
  }
  reader_->end_at(in.bytes);
  std::string_view body;
  while (reader_->number() < next) {
    const auto step = reader_->next(body);
    if (step == segment_reader::step::record) continue;
    if (step == segment_reader::step::failed && worth_a_retry(reader_->number())) {
      auto why = failed("cannot read", in.path, reader_->error());
      reader_.reset();
      return why;
    }
    (void)reader_->skip(in.next);
  }
  return {};
}

// Return the number of the next intact record, after a record could not be read. The reader is there then.
pl::result<std::uint64_t> log::pass_damage(const segment& in, std::uint64_t next, const notice& report) {
  auto after = reader_->number();
  if (after == next) {
    if (reader_->error() != 0 && worth_a_retry(next)) {
      auto why = failed("cannot read", in.path, reader_->error());
      reader_.reset();
      return why;
    }
    const auto damaged = reader_->skip(in.next);
    keep_aside(in.path, damaged.offset, damaged.bytes, report);
    after = damaged.next;
  }
  lose(next, after, in.path.string() + " is damaged", report);
  return after;
}

// A disk may fail to read temporarily.
bool log::worth_a_retry(std::uint64_t number) {
  if (std::exchange(unreadable_, number) != number) unreadable_attempts_ = 0;
  return ++unreadable_attempts_ < most_attempts;
}

// There is no file with these records.
void log::pass_missing(std::uint64_t first, std::uint64_t next, const notice& report) {
  for (const auto& g : skipped_)
    if (g.end == next) next = std::max(g.begin, first);  // nothing was ever there
  lose(std::max(first, expired_), next,
       "the end of a file in " + settings_.folder.string() + " is damaged, or a file was deleted", report);
}

void log::lose(std::uint64_t first, std::uint64_t next, std::string_view why, const notice& report) {
  if (first >= next) return;
  lost_ += next - first;
  report(severity::error,
         "LOST: " + range_text(first, next) + " cannot be read: " + std::string(why) + "; check the disk");
}

// ------------------------------------------------------------------------------------------------------------- age ---

std::uint64_t log::expire(std::uint64_t next, const notice& report) {
  if (settings_.max_age.count() == 0) return next;
  std::uint64_t first = 0, until = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto now = ages_->now();
        now - ages_checked_ < std::min<nanoseconds>(settings_.max_age / 8, age_check_interval))
      return next;
    else
      ages_checked_ = now;
    if (syncing_ || trouble_) return next;  // later
    ages_->check_step();
    first = std::max(next, segments_.front().first);
    until = end_of_old(first);
    // Store the position before deleting the files: other gaps are reported as lost records.
    if (until == first || !store_expired(until)) return next;
    expired_ = until;
    remove_between(first, until);
    durable_ = std::max(durable_, until);
  }
  reader_.reset();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(settings_.max_age).count();
  report(severity::error, "LOST: " + range_text(first, until) + " waited for longer than max_age (" +
                              std::to_string(seconds) + " s) and " + (until - first == 1 ? "was" : "were") +
                              " dropped");
  return until;
}

// Return the end of the files that max_age expires, from the file of record `next` on; `next` if none expires. If the
// last file expires, begin a new one.
std::uint64_t log::end_of_old(std::uint64_t next) {
  const auto limit = ages_->now() - settings_.max_age;
  auto until = next;
  for (const auto& s : segments_) {
    if (s.next <= next) continue;
    if (s.written > limit) break;
    until = s.next;
  }
  if (until != next && until == segments_.back().next && !begin_segment(until).ok()) return next;
  return until;
}

void log::remove_between(std::uint64_t next, std::uint64_t until) {
  std::error_code ignored;
  std::erase_if(segments_, [&](const segment& s) {
    if (s.first < next || s.next > until || s.first == s.next) return false;
    bytes_ -= s.bytes;
    fs::remove(s.path, ignored);
    return true;
  });
  no_room_ = false;
}

}  // namespace spool
