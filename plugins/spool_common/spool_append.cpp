// SPDX-License-Identifier: Apache-2.0
// Appending to the log, syncing, and continuing after a fault.
#include "spool.hpp"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace spool {

namespace {

constexpr auto repair_interval = std::chrono::seconds(1);      // between attempts to continue after a fault
constexpr auto first_pause = std::chrono::milliseconds(10);    // before it, if the last repair did not help; doubles
constexpr std::size_t early_sync = std::size_t{4} << 20U;      // with `interval`: sync at once
constexpr std::size_t most_unsynced = std::size_t{16} << 20U;  // with `interval`: appends wait for the disk
constexpr std::size_t most_gathered = std::size_t{64} << 10U;  // of several records, for one write

std::size_t size_of(std::span<const iovec> parts) {
  std::size_t size = 0;
  for (const auto& part : parts) size += part.iov_len;
  return size;
}

// Write all bytes at an offset. Return 0 or an errno.
int write_at(int file, std::span<iovec> parts, std::uint64_t offset) {
  while (!parts.empty()) {
    const auto n = ::pwritev(file, parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n < 0 ? errno : ENOSPC;
    offset += static_cast<std::uint64_t>(n);
    auto written = static_cast<std::size_t>(n);
    while (!parts.empty() && written >= parts.front().iov_len) {
      written -= parts.front().iov_len;
      parts = parts.subspan(1);
    }
    if (written == 0) continue;
    parts.front().iov_base = static_cast<char*>(parts.front().iov_base) + written;
    parts.front().iov_len -= written;
  }
  return 0;
}

bool is_no_room(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

iovec part_of(std::string_view bytes) { return {const_cast<char*>(bytes.data()), bytes.size()}; }

}  // namespace

// -------------------------------------------------------------------------------------------------------- appending ---

pl::result<void> log::append(std::span<const std::string_view> body) {
  lock_guard held(mutex_);
  if (auto r = make_ready(held); !r.ok()) return r;
  const auto header = header_of(segments_.back().next, body);
  std::vector<iovec> bytes{part_of(header)};
  for (const auto part : body)
    if (!part.empty()) bytes.push_back(part_of(part));
  std::span<iovec> rest = bytes;
  if (auto r = write(size_of(bytes), 1, [&] { return std::exchange(rest, {}); }); !r.ok()) return r;
  return appended(held);
}

namespace {

// gathering makes portions of a request: small records are copied, and large ones are not.
class gathering {
 public:
  gathering(std::span<const log::parts> bodies, std::size_t size, std::uint64_t number)
      : rest_(bodies), number_(number) {
    text_.reserve(std::min(size, 3 * most_gathered));  // next() must not fail: a part may have been written
  }

  std::span<iovec> next() {
    text_.clear();
    std::size_t used = 1;
    while (!rest_.empty() && text_.size() + record_header <= most_gathered && used == 1) {
      const auto& body = rest_.front();
      text_ += header_of(number_++, body);
      for (const auto part : body)
        if (used == 1 && part.size() < most_gathered)
          text_ += part;
        else if (!part.empty())
          pieces_[used++] = part_of(part);
      rest_ = rest_.subspan(1);
    }
    pieces_[0] = part_of(text_);
    return std::span(pieces_).first(text_.empty() ? 0 : used);
  }

 private:
  std::span<const log::parts> rest_;
  std::uint64_t number_;
  std::string text_;
  std::array<iovec, 3> pieces_{};
};

}  // namespace

pl::result<void> log::append_all(std::span<const parts> bodies) {
  if (bodies.empty()) return {};
  std::size_t size = 0;
  for (const auto& body : bodies) size += record_header + body[0].size() + body[1].size();
  lock_guard held(mutex_);
  if (auto r = make_ready(held); !r.ok()) return r;
  gathering all(bodies, size, segments_.back().next);
  if (auto r = write(size, bodies.size(), [&] { return all.next(); }); !r.ok()) return r;
  return appended(held);
}

// Wait or act until a record can be appended. Start a new file if the current one is full; without space for a new
// file, continue in the full one, up to twice its size.
pl::result<void> log::make_ready(lock_guard& held) {
  while (true) {
    if (closed_) return pl::retry("the spool " + settings_.folder.string() + " is closed");
    if (trouble_ && clock::now() >= trouble_->retry_at) repair(held);
    if (trouble_) return pl::retry(trouble_->why);
    const auto& last = segments_.back();
    const bool too_much = copy_.size() + syncing_copy_.size() >= most_unsynced;
    const bool full = last.bytes >= settings_.segment_bytes;
    if (!too_much && !full) return {};
    if (syncing_) {
      synced_.wait(held);
    } else if (has_unsynced()) {
      sync_now(held);
    } else {
      const bool room = last.bytes < 2 * settings_.segment_bytes;
      if (no_room_ && room && clock::now() - room_checked_ < repair_interval) return {};
      auto r = begin_segment(last.next);
      return r.ok() || room ? pl::result<void>() : r;
    }
  }
}

// Write `size` bytes in portions, or none of them.
pl::result<void> log::write(std::size_t size, std::uint64_t records, const portions& next) {
  auto& s = segments_.back();
  const auto kept = copy_.size();
  if (copies() && copy_.capacity() - kept < size) copy_.reserve(std::max(2 * copy_.capacity(), kept + size));
  int error = 0;
  auto at = s.bytes;
  for (auto pieces = next(); error == 0 && !pieces.empty(); pieces = next()) {
    const auto bytes = size_of(pieces);
    if (copies()) keep_copy(pieces);
    error = write_at(active_.get(), pieces, at);
    at += bytes;
  }
  if (error != 0) {
    if (copies()) copy_.resize(kept);
    // The next record must not be followed by the rest of this one, and the next start must not find it.
    const bool cut = ::ftruncate(active_.get(), static_cast<off_t>(s.bytes)) == 0;
    auto why = failed("cannot write to", s.path, error);
    if (!is_no_room(error) || !cut) return stop_appending(why, cut), why;
    ++faults_;
    no_room_ = true;  // a shorter record may still have room
    room_checked_ = clock::now();
    return why;
  }
  s.bytes += size;
  bytes_ += size;
  if (settings_.max_age.count() != 0) s.written = ages_->now();
  s.next += records;
  if (settings_.fsync == durability::never) stored_as_asked();
  return {};
}

// Keep what is not synced: if the sync fails, the system's copy is lost.
void log::keep_copy(std::span<const iovec> pieces) {
  for (const auto& piece : pieces) copy_.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  if (copy_.size() < early_sync || hurry_) return;
  hurry_ = true;
  wake_.notify_all();
}

// Wait until the record is as durable as `fsync` specifies. One of the waiting threads syncs for all of them.
pl::result<void> log::appended(lock_guard& held) {
  appended_.notify_all();
  if (settings_.fsync != durability::always) return {};
  waiting mine{segments_.back().next - 1, {}};
  waiting_.push_back(&mine);
  while (!mine.stored) {
    if (syncing_)
      synced_.wait(held);
    else
      sync_now(held);
  }
  if (*mine.stored) return {};
  return pl::retry(trouble_ ? trouble_->why : "a record could not be synced to " + settings_.folder.string());
}

// Begin a new file. What the last one holds is synced, or need not be.
pl::result<void> log::begin_segment(std::uint64_t first) {
  segment fresh;
  fresh.first = fresh.next = first;
  fresh.path = segment_path(settings_.folder, first);
  fresh.written = ages_->now();
  auto made = create_segment(fresh, settings_.segment_bytes);
  no_room_ = !made.ok();
  room_checked_ = clock::now();
  if (!made.ok()) return made.why();
  if (settings_.fsync == durability::always) resolve(first, true);
  durable_ = std::max(durable_, first);
  copy_.clear();
  continue_in(std::move(fresh), std::move(*made));
  return {};
}

void log::continue_in(segment fresh, pl::descriptor file) {
  if (!segments_.empty() && segments_.back().first == fresh.first) {  // the new file has replaced it
    bytes_ -= segments_.back().bytes;
    segments_.pop_back();
  }
  fresh.file = ++files_;
  active_ = std::move(file);
  bytes_ += fresh.bytes;
  synced_bytes_ = fresh.bytes;
  segments_.push_back(std::move(fresh));
}

pl::result<void> log::resume_at(std::uint64_t next) {
  lock_guard held(mutex_);
  while (syncing_ || (has_unsynced() && !trouble_)) {  // a new file does not hold what is not synced
    if (syncing_)
      synced_.wait(held);
    else
      sync_now(held);
  }
  if (segments_.back().next >= next) return {};
  if (trouble_) return pl::retry(trouble_->why);
  return begin_segment(next);
}

// ---------------------------------------------------------------------------------------------------------- syncing ---

bool log::has_unsynced() const noexcept {
  return settings_.fsync != durability::never && durable_ < segments_.back().next;
}

// Only one thread syncs at a time, because the system reports an error once for each open file.
void log::sync_now(lock_guard& held) {
  syncing_ = true;
  const auto s = segments_.back();
  syncing_copy_.swap(copy_);
  const pl::descriptor file(::fcntl(active_.get(), F_DUPFD_CLOEXEC, 0));  // active_ may change during the sync
  held.unlock();
  const int code = file ? ::fdatasync(file.get()) : -1;
  const int error = errno;
  held.lock();
  syncing_ = false;
  synced_at_ = clock::now();
  if (s.file != segments_.back().file) {
    syncing_copy_.clear();  // its records are settled or have expired
  } else if (code == 0) {
    syncing_copy_.clear();
    durable_ = s.next;
    synced_bytes_ = s.bytes;
    if (!trouble_) stored_as_asked();
    resolve(s.next, true);
  } else {
    syncing_copy_.append(copy_);
    copy_.swap(syncing_copy_);
    syncing_copy_.clear();
    sync_failed(failed("cannot sync", s.path, error));
  }
  synced_.notify_all();
  appended_.notify_all();
}

// Tell the threads that wait for a sync of records below `below` its outcome.
void log::resolve(std::uint64_t below, bool stored) {
  std::erase_if(waiting_, [&](waiting* w) {
    if (w->number >= below) return false;
    w->stored = stored;
    return true;
  });
}

void log::sync_failed(pl::failure why) {
  stop_appending(std::move(why), false);
  if (!copy_.empty()) return;
  // The records after the last sync were not acknowledged: their senders send them again.
  auto& s = segments_.back();
  bytes_ -= s.bytes - synced_bytes_;
  s.bytes = synced_bytes_;
  s.next = durable_;
  resolve(UINT64_MAX, false);
  cut_last();  // if this fails, the next file replaces the records
}

// Remove what follows the records of the last file.
void log::cut_last() {
  const auto& last = segments_.back();
  if (::ftruncate(active_.get(), static_cast<off_t>(last.bytes)) == 0) return;
  note(severity::warning,
       failed("cannot truncate", last.path, errno).message + "; the next file replaces its last records");
}

// ------------------------------------------------------------------------------------------------- after a fault ---

void log::stop_appending(pl::failure why, bool file_is_good) {
  ++faults_;
  const auto now = clock::now();
  if (!faulty_since_) {
    faulty_since_ = now;
    note(severity::error,
         why.message + "; no record is acknowledged until the spool continues in a new file: check the disk");
  }
  // A repair after which no record could be stored was none: without a pause, the spool would accept records again
  // between faults, only to refuse them.
  clock::duration pause{};
  if (repairs_ > 0)
    pause = std::min<clock::duration>(repair_interval, first_pause * (1U << std::min(repairs_ - 1, 10U)));
  trouble_ = trouble{std::move(why.message), file_is_good, now + pause, 0};
  hurry_ = true;
  wake_.notify_all();
}

void log::note(severity how, std::string text) {
  constexpr std::size_t most_messages = 100;  // that wait for `report`
  if (messages_.size() < most_messages) messages_.push_back({how, std::move(text)});
}

// Continue in a new file that holds what is not synced.
void log::repair(lock_guard& held) {
  if (syncing_) return;
  if (settings_.fsync == durability::always && copy_.empty() && has_unsynced()) sync_now(held);
  if (!trouble_) return;
  auto& last = segments_.back();
  if (trouble_->file_is_good && last.first == last.next) return works_again(0);  // the next append tests the disk
  trouble_->retry_at = clock::now() + repair_interval;
  ++trouble_->attempts;
  segment fresh;
  fresh.first = copy_.empty() ? last.next : durable_;
  fresh.next = last.next;
  fresh.bytes = segment_header + copy_.size();
  fresh.path = segment_path(settings_.folder, fresh.first);
  fresh.written = last.written;
  auto made = create_segment(fresh, settings_.segment_bytes, copy_);
  if (!made.ok()) {
    trouble_->why = made.why().message;
    return;
  }
  if (!copy_.empty()) {
    bytes_ -= last.bytes - synced_bytes_;
    last.bytes = synced_bytes_;
    last.next = durable_;
  }
  cut_last();  // if this fails, the records of the new file count
  const auto rewritten = fresh.next - fresh.first;
  if (settings_.fsync != durability::never) durable_ = fresh.next;
  copy_.clear();
  continue_in(std::move(fresh), std::move(*made));
  works_again(rewritten);
}

// The spool can be tried again. The recovery is reported with the first record that is stored, or at once if records were
// written again.
void log::works_again(std::uint64_t rewritten) {
  ++repairs_;
  if (rewritten > 0)
    note_recovery("; " + std::to_string(rewritten) + " records that were not synced were written again, none is lost");
  trouble_.reset();
  appended_.notify_all();
  synced_.notify_all();
}

// A record is as durable as `fsync` specifies, so the disk works.
void log::stored_as_asked() {
  repairs_ = 0;
  if (faulty_since_) note_recovery("");
}

void log::note_recovery(const std::string& more) {
  if (!faulty_since_) return;
  const auto lasted = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - *faulty_since_).count();
  note(severity::info, "the spool stores records again after " + std::to_string(lasted) + " ms, in " +
                           segments_.back().path.string() + more);
  faulty_since_.reset();
}

// Check for space for a new file: without appends nothing else would detect that there is space again.
void log::make_room(lock_guard& held) {
  if (clock::now() - room_checked_ < repair_interval || trouble_ || syncing_) return;
  room_checked_ = clock::now();
  if (segments_.back().first == segments_.back().next) {
    no_room_ = false;  // the file has no record yet: the next append tests for space
    return;
  }
  if (has_unsynced()) sync_now(held);
  if (!trouble_ && !syncing_ && !has_unsynced() && no_room_) (void)begin_segment(segments_.back().next);
}

// With `fsync: always`, only synced records are readable, because senders send the other records again after a power
// cut. After a failed sync, the system may have dropped the others.
bool log::reads_synced_only() const noexcept {
  return settings_.fsync == durability::always || (trouble_ && !copy_.empty());
}

std::uint64_t log::readable() const { return reads_synced_only() ? durable_ : segments_.back().next; }

}  // namespace spool
