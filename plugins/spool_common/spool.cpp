// SPDX-License-Identifier: Apache-2.0
#include "spool.hpp"

#include <pipeline/posix.hpp>
#include <pipeline/text.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

namespace spool {

namespace fs = std::filesystem;

namespace {

constexpr auto store_interval = std::chrono::milliseconds(500);  // between writes of the settled position
constexpr std::size_t id_size = 16;
// More records than a power cut can take from the disk after the sinks have read them.
constexpr std::uint64_t most_unknown = 1ULL << 32U;

std::string random_id() {
  std::random_device random;
  std::string id;
  for (std::size_t i = 0; i < id_size; ++i) id.push_back(pl::hex_digit(random()));
  return id;
}

bool is_id(std::string_view text) {
  return text.size() == id_size && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- opening ---

pl::result<std::unique_ptr<log>> log::open(settings given, const notice& report) {
  if (const auto error = pl::make_folders(given.folder)) return failed("cannot create", given.folder, error.value());
  std::unique_ptr<log> made(new log(std::move(given)));
  if (auto r = made->lock(); !r.ok()) return r.why();
  if (auto r = made->identify(); !r.ok()) return r.why();
  if (auto r = made->recover(report); !r.ok()) return r.why();
  if (made->stored_.closed && !made->store_positions())
    return pl::retry("cannot write " + (made->settings_.folder / "settled").string() + "; check the disk");
  made->closed_ = false;
  made->synced_at_ = clock::now();  // the first interval begins now
  made->keeper_ = std::jthread([l = made.get()](const std::stop_token& stop) { l->keep(stop); });
  return made;
}

log::~log() { (void)close(); }

pl::result<void> log::close() {
  keeper_.request_stop();
  if (keeper_.joinable()) keeper_.join();
  pl::result<void> result;
  {
    lock_guard held(mutex_);
    if (std::exchange(closed_, true)) return {};
    while (syncing_) synced_.wait(held);
    if (!trouble_ && has_unsynced()) sync_now(held);
    if (trouble_) repair(held);
    if (trouble_ && !copy_.empty())
      result = pl::retry(trouble_->why + "; records " + std::to_string(durable_) + " to " +
                         std::to_string(segments_.back().next - 1) +
                         " were acknowledged and are not synced: they may be lost in a power cut");
  }
  (void)store_positions(result.ok());
  return result;
}

pl::result<void> log::lock() {
  const auto path = settings_.folder / "lock";
  lock_ = pl::descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, pl::data_file_mode));
  if (!lock_) return failed("cannot open", path, errno);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return {};
  return pl::retry("another process uses the spool " + settings_.folder.string() +
                   "; give each host its own state_dir, or stop the other process");
}

// Read the id of the log, or create one for a new log. The id distinguishes the positions of this log from those of a
// deleted log, which is another stream. Records that get another id are delivered twice.
pl::result<void> log::identify() {
  const auto path = settings_.folder / "id";
  const auto found = lines_of(path);
  if (!found.ok()) return found.why();
  if (!found->empty()) {
    id_ = found->front();
    if (is_id(id_)) return {};
    return pl::retry(path.string() +
                     " is damaged: it does not hold 16 hexadecimal digits, which identify the records to the sinks. "
                     "Restore the file (the positions stored in the sinks name it: spool/<id>); or delete it, which "
                     "makes these records a new stream, so that those already delivered are delivered again");
  }
  id_ = random_id();
  if (const auto error = pl::replace_file(path, id_ + "\n")) return failed("cannot write", path, error.value());
  return {};
}

pl::result<void> log::load_positions(const notice& report) {
  const auto settled = lines_of(settings_.folder / "settled");
  if (!settled.ok()) return settled.why();
  const auto expired = lines_of(settings_.folder / "expired");
  if (!expired.ok()) return expired.why();
  auto skipped = load_gaps(settings_.folder);
  if (!skipped.ok()) return skipped.why();
  skipped_ = std::move(*skipped);
  if (!expired->empty()) expired_ = number_of(expired->front()).value_or(0);
  if (settled->empty()) return {};
  const auto number = number_of(settled->front());
  if (!number)
    report(severity::warning, (settings_.folder / "settled").string() +
                                  " is damaged: records that the sinks already have are read again; sinks that do not "
                                  "keep positions may store them twice");
  settled_ = number.value_or(0);
  stored_ = {settled_, settled->size() > 1 ? number_of((*settled)[1]).value_or(0) : 0, settled->size() > 2};
  return {};
}

pl::result<void> log::recover(const notice& report) {
  if (auto r = load_positions(report); !r.ok()) return r;
  ages_.emplace(settings_.folder / "clock", settings_.time);
  auto next = scan_files(report);
  if (next.ok() && ages_->rebooted() && !stored_.closed && *next != 0) next = skip_unknown(*next);
  if (!next.ok()) return next.why();
  // Versions that deleted files before they stored the position did not store the end.
  start_ = stored_.end != 0 || segments_.empty() ? settled_ : std::max(settled_, segments_.front().first);
  durable_ = *next;
  if (segments_.empty() || !active_ || segments_.back().next < *next) return begin_segment(*next);
  return sync_recovered();
}

// After a power cut, the sinks may have more records than the disk. Skip their numbers: a sink that keeps positions
// would ignore a new record with such a number.
pl::result<std::uint64_t> log::skip_unknown(std::uint64_t next) {
  std::erase_if(skipped_, [this](const auto& g) { return g.end <= settled_; });
  skipped_.push_back({next, next + most_unknown});
  if (auto stored = store_gaps(settings_.folder, skipped_); !stored.ok()) return stored.why();
  return next + most_unknown;
}

// Scan all files, and open the last one if it can be continued. Return the number of the next record.
pl::result<std::uint64_t> log::scan_files(const notice& report) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(settings_.folder, error)) {
    if (first_of(entry.path())) files.push_back(entry.path());
    if (is_unfinished(entry.path())) ::unlink(entry.path().c_str());
  }
  if (error) return failed("cannot read", settings_.folder, error.value());
  std::sort(files.begin(), files.end());
  auto next = std::max(settled_, stored_.end);
  for (std::size_t i = 0; i < files.size(); ++i) {
    const bool last = i + 1 == files.size();
    auto found = scan(files[i], last ? UINT64_MAX : *first_of(files[i + 1]));
    if (!found.ok()) return found.why();
    auto& s = found->records;
    s.written = ages_->written(files[i]);
    s.file = ++files_;
    if (found->header_damaged && s.next != s.first)
      report(severity::warning, "the header of " + files[i].string() + " is damaged; its records can be read");
    bytes_ += s.bytes;
    const bool stored_more = s.next < next;  // the tail held records
    next = std::max(next, s.next + (last && found->complete && !stored_more ? 1 : 0));
    segments_.push_back(std::move(s));
    const bool empty = segments_.back().first == segments_.back().next;
    if (!last || (found->header_damaged && empty && found->tail.empty())) continue;  // an empty one is created again
    if (found->tail.empty() || (found->incomplete && !stored_more)) {
      if (auto r = reopen_last(report); !r.ok()) return r.why();
    } else {
      keep_aside(segments_.back().path, segments_.back().bytes, found->tail, report);
    }
  }
  return next;
}

// Reopen the last file for appending. Bytes after its last intact record were never acknowledged.
pl::result<void> log::reopen_last(const notice& report) {
  const auto& last = segments_.back();
  auto opened = open_segment(last.path, true);
  if (!opened.ok()) return opened.why();
  const auto size = ::lseek(opened->get(), 0, SEEK_END);
  if (size > static_cast<off_t>(last.bytes)) {
    report(severity::warning, last.path.string() + ": " +
                                  std::to_string(static_cast<std::uint64_t>(size) - last.bytes) +
                                  " bytes of an incomplete last record, which was not acknowledged, were truncated");
    if (::ftruncate(opened->get(), static_cast<off_t>(last.bytes)) != 0)
      return failed("cannot truncate", last.path, errno);
  }
  active_ = std::move(*opened);
  return {};
}

// A process that was killed may have left records that are not synced.
pl::result<void> log::sync_recovered() {
  const auto& last = segments_.back();
  synced_bytes_ = last.bytes;
  if (settings_.fsync == durability::never) return {};
  const auto error = pl::sync_file(active_.get());
  if (!error) return {};
  copy_.resize(last.bytes - segment_header);
  if (::pread(active_.get(), copy_.data(), copy_.size(), segment_header) != static_cast<ssize_t>(copy_.size()))
    return failed("cannot read", last.path, errno);
  durable_ = last.first;
  synced_bytes_ = segment_header;
  sync_failed(failed("cannot sync", last.path, error.value()));
  return {};
}

// -------------------------------------------------------------------------------------------- the thread of the log ---

// Sync periodically, continue after faults, and store the positions.
void log::keep(const std::stop_token& stop) {
  lock_guard held(mutex_);
  while (!stop.stop_requested()) {
    const nanoseconds next_sync = copies() ? synced_at_ + settings_.interval - clock::now() : store_interval;
    const auto pause = std::clamp<nanoseconds>(next_sync, std::chrono::milliseconds(1), store_interval);
    wake_.wait_for(held, stop, pause, [this] { return hurry_; });
    if (stop.stop_requested()) return;
    const auto now = clock::now();
    const bool early = std::exchange(hurry_, false);
    if (trouble_ && now >= trouble_->retry_at) repair(held);
    if (no_room_) make_room(held);
    if (copies() && (early || now - synced_at_ >= settings_.interval)) {
      synced_at_ = now;
      if (!trouble_ && !syncing_ && has_unsynced()) sync_now(held);
    }
    if (now - stored_at_ < store_interval) continue;
    stored_at_ = now;
    const bool full = last_is_settled();
    held.unlock();
    if (full)
      settle(0);
    else
      (void)store_positions();
    held.lock();
  }
}

bool log::store_positions(bool closed) {
  const std::scoped_lock storing(storing_);
  positions now;
  {
    const std::scoped_lock lock(mutex_);
    now = {settled_, settings_.fsync == durability::always ? durable_ : segments_.back().next, closed};
  }
  if (now == stored_) return true;
  const auto path = settings_.folder / "settled";
  const auto error = pl::replace_file(
      path, std::to_string(now.settled) + "\n" + std::to_string(now.end) + "\n" + (closed ? "closed\n" : ""));
  if (!error) stored_ = now;
  if (std::exchange(store_failed_, bool(error)) == bool(error)) return !error;
  const std::scoped_lock lock(mutex_);
  messages_.push_back(error ? message{severity::warning,
                                      failed("cannot write", path, error.value()).message +
                                          "; after a restart, records may be delivered again to sinks that do not keep "
                                          "positions"}
                            : message{severity::info, path.string() + " can be written again"});
  return !error;
}

bool log::store_expired(std::uint64_t number) const {
  return !pl::replace_file(settings_.folder / "expired", std::to_string(number) + "\n");
}

// ------------------------------------------------------------------------------------------------------------ state ---

bool log::full() const {
  const std::scoped_lock lock(mutex_);
  return no_room_ || bytes_ >= settings_.max_bytes;
}

std::string log::fault() const {
  const std::scoped_lock lock(mutex_);
  return trouble_ ? trouble_->why : std::string();
}

void log::report(const notice& to) {
  std::vector<message> all;
  {
    const std::scoped_lock lock(mutex_);
    all.swap(messages_);
  }
  for (const auto& m : all) to(m.how, m.text);
}

std::uint64_t log::start() const { return start_; }

std::uint64_t log::settled() const {
  const std::scoped_lock lock(mutex_);
  return settled_;
}

bool log::has_room(std::uint64_t more) {
  const std::scoped_lock lock(mutex_);
  if (more <= settings_.max_bytes && bytes_ <= settings_.max_bytes - more) return true;
  wants_room_ = true;
  return false;
}

std::uint64_t log::begin() const {
  const std::scoped_lock lock(mutex_);
  return segments_.front().first;
}

std::uint64_t log::end() const {
  const std::scoped_lock lock(mutex_);
  return segments_.back().next;
}

std::uint64_t log::lag_end(std::uint64_t next) const { return next + count_between(skipped_, next, end()); }

std::uint64_t log::bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

std::uint64_t log::faults() const {
  const std::scoped_lock lock(mutex_);
  return faults_;
}

// --------------------------------------------------------------------------------------------------------- settling ---

// Return whether max_bytes is reached or an append needs room, and the last file holds only settled records.
bool log::last_is_settled() const {
  const auto& last = segments_.back();
  return last.next <= settled_ && last.first != last.next && (wants_room_ || bytes_ >= settings_.max_bytes);
}

void log::free_settled() {
  {
    const std::scoped_lock lock(mutex_);
    if (!wants_room_ || !last_is_settled()) return;
  }
  settle(0);
}

void log::settle(std::uint64_t next) {
  std::vector<segment> done;
  {
    const std::scoped_lock lock(mutex_);
    settled_ = std::max(settled_, next);
    // If there is no room, begin a new file, so that the last one can be deleted, too.
    if (last_is_settled() && !syncing_ && !trouble_ && begin_segment(segments_.back().next).ok()) wants_room_ = false;
    while (segments_.size() > 1 && segments_.front().next <= settled_) {
      bytes_ -= segments_.front().bytes;
      done.push_back(std::move(segments_.front()));
      segments_.pop_front();
    }
  }
  if (done.empty()) return;
  // A missing file is reported as lost records, unless they are known to be settled.
  if (!store_positions()) {
    const std::scoped_lock lock(mutex_);
    for (auto& s : done) bytes_ += s.bytes;
    segments_.insert(segments_.begin(), std::make_move_iterator(done.begin()), std::make_move_iterator(done.end()));
    return;
  }
  std::error_code ignored;
  for (const auto& s : done) fs::remove(s.path, ignored);
  const std::scoped_lock lock(mutex_);
  no_room_ = false;  // there may be space now: the next append tests it
  if (trouble_) trouble_->retry_at = {};
  hurry_ = true;
  wake_.notify_all();
}

}  // namespace spool
