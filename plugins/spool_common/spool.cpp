// SPDX-License-Identifier: Apache-2.0
#include "spool.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

namespace spool {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

namespace {

constexpr auto room_interval = std::chrono::seconds(1);         // between looks for room on a full disk
constexpr auto look_interval = std::chrono::seconds(1);         // for what is too old
constexpr auto note_interval = std::chrono::milliseconds(500);  // between notes of what is settled

std::string first_line(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// In one step, so that a reader finds the old or the new.
bool replace_file(const fs::path& path, std::string_view text) {
  const auto fresh = fs::path(path.string() + ".new");
  {
    std::ofstream out(fresh, std::ios::trunc);
    out << text << '\n';
    if (!out.flush()) return false;
  }
  std::error_code failed;
  fs::rename(fresh, path, failed);
  return !failed;
}

std::string random_id() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 16; ++i) id.push_back("0123456789abcdef"[random() & 15U]);
  return id;
}

}  // namespace

// ---------------------------------------------------------------------------------------------------------- opening ---

pl::result<std::unique_ptr<log>> log::open(settings given, const notice& say) {
  std::error_code error;
  fs::create_directories(given.folder, error);
  if (error) return failed("cannot make", given.folder, error.value());
  std::unique_ptr<log> made(new log(std::move(given)));
  if (auto r = made->lock(); !r.ok()) return r.why();
  if (auto r = made->identify(); !r.ok()) return r.why();
  if (auto r = made->recover(say); !r.ok()) return r.why();
  if (made->settings_.fsync == durability::interval)
    made->syncer_ = std::jthread([l = made.get()](const std::stop_token& stop) { l->sync_every_interval(stop); });
  return made;
}

log::~log() {
  syncer_.request_stop();
  appended_.notify_all();
  if (syncer_.joinable()) syncer_.join();
  if (active_) ::fdatasync(active_.get());
  note_settled();
}

pl::result<void> log::lock() {
  const auto path = settings_.folder / "lock";
  lock_ = file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_) return failed("cannot open", path, errno);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0) return {};
  return pl::retry("another process uses the spool " + settings_.folder.string() +
                   "; give each host a state_dir of its own, or stop the other one");
}

// Positions of a log that was deleted and begun anew must not be taken for those of the old one: it is another stream.
pl::result<void> log::identify() {
  const auto path = settings_.folder / "id";
  id_ = first_line(path);
  if (id_.size() == 16) return {};
  id_ = random_id();
  if (!replace_file(path, id_)) return failed("cannot write", path, errno);
  sync_folder(settings_.folder);
  return {};
}

std::uint64_t log::noted(const char* name) const {
  std::uint64_t number = 0;
  const auto text = first_line(settings_.folder / name);
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

pl::result<void> log::recover(const notice& say) {
  settled_ = noted("settled");
  expired_ = noted("expired");
  ages_.emplace(settings_.folder / "clock", settings_.time);
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(settings_.folder, error))
    if (first_of(entry.path())) files.push_back(entry.path());
  if (error) return failed("cannot read", settings_.folder, error.value());
  std::sort(files.begin(), files.end());
  std::uint64_t next = settled_;
  for (const auto& path : files) {
    auto found = scan(path);
    if (!found.ok()) {
      // Its header was being written when the power went: no record was acknowledged from it.
      say(found.why().message + "; it is left out");
      fs::rename(path, fs::path(path.string() + ".damaged"), error);
      continue;
    }
    if (!segments_.empty() && segments_.back().next < found->first && found->first > std::max(settled_, expired_))
      say("LOST: records " + std::to_string(segments_.back().next) + " to " + std::to_string(found->first - 1) +
          " can't be read any more: " + segments_.back().path.string() + " is damaged (is the disk?)");
    next = std::max(next, found->next);
    found->written = ages_->written(path);
    bytes_ += found->bytes;
    segments_.push_back(std::move(*found));
  }
  durable_ = next;
  if (segments_.empty() || segments_.back().next < next) return begin_segment(next);
  return take_up(segments_.back(), say);
}

// Goes on in the last file. What is behind its last whole record was never acknowledged.
pl::result<void> log::take_up(const segment& last, const notice& say) {
  auto opened = open_segment(last.path, true);
  if (!opened.ok()) return opened.why();
  const auto size = ::lseek(opened->get(), 0, SEEK_END);
  if (size > static_cast<off_t>(last.bytes)) {
    say(last.path.string() + ": " + std::to_string(static_cast<std::uint64_t>(size) - last.bytes) +
        " bytes of a record that was not written to its end are cut off");
    if (::ftruncate(opened->get(), static_cast<off_t>(last.bytes)) != 0) return failed("cannot cut", last.path, errno);
  }
  active_ = std::move(*opened);
  return {};
}

pl::result<void> log::begin_segment(std::uint64_t first) {
  segment fresh;
  fresh.first = fresh.next = first;
  fresh.path = segment_path(settings_.folder, first);
  fresh.written = ages_->now();
  auto made = create_segment(fresh, settings_.segment_bytes);
  no_room_ = !made.ok();
  if (!made.ok()) return made.why();
  if (active_) ::fdatasync(active_.get());
  sync_folder(settings_.folder);
  active_ = std::move(*made);
  bytes_ += fresh.bytes;
  segments_.push_back(std::move(fresh));
  return {};
}

pl::result<void> log::go_on_at(std::uint64_t next) {
  const std::scoped_lock lock(mutex_);
  if (segments_.back().next >= next) return {};
  durable_ = next;
  return begin_segment(next);
}

// -------------------------------------------------------------------------------------------------------- appending ---

pl::result<void> log::append(std::span<const std::string_view> body) {
  std::unique_lock held(mutex_);
  if (auto r = make_room(); !r.ok()) return r;
  if (auto r = write(body); !r.ok()) return r;
  return appended(held);
}

pl::result<void> log::append_all(std::span<const parts> bodies) {
  if (bodies.empty()) return {};
  std::string bytes;
  std::size_t size = 0;
  for (const auto& body : bodies) size += record_header + body[0].size() + body[1].size();
  bytes.reserve(size);
  std::unique_lock held(mutex_);
  if (auto r = make_room(); !r.ok()) return r;
  auto number = segments_.back().next;
  for (const auto& body : bodies) bytes.append(header_of(number++, body)).append(body[0]).append(body[1]);
  iovec whole{bytes.data(), bytes.size()};
  if (auto r = write(std::span(&whole, 1), bodies.size()); !r.ok()) return r;
  return appended(held);
}

// A full file goes on where there is no room for a new one: what it has reserved is for this.
pl::result<void> log::make_room() {
  if (segments_.back().bytes < settings_.segment_bytes) return {};
  auto r = begin_segment(segments_.back().next);
  return r.ok() || segments_.back().bytes < 2 * settings_.segment_bytes ? pl::result<void>() : r;
}

pl::result<void> log::appended(std::unique_lock<std::mutex>& held) {
  const auto last = segments_.back().next - 1;
  appended_.notify_all();
  return settings_.fsync == durability::always ? make_durable(last, held) : pl::result<void>();
}

pl::result<void> log::write(std::span<const std::string_view> body) {
  const auto header = header_of(segments_.back().next, body);
  std::vector<iovec> bytes{{const_cast<char*>(header.data()), header.size()}};
  for (const auto part : body) bytes.push_back({const_cast<char*>(part.data()), part.size()});
  return write(bytes, 1);
}

pl::result<void> log::write(std::span<iovec> bytes, std::uint64_t records) {
  auto& s = segments_.back();
  std::size_t size = 0;
  for (const auto& part : bytes) size += part.iov_len;
  const auto written =
      ::pwritev(active_.get(), bytes.data(), static_cast<int>(bytes.size()), static_cast<off_t>(s.bytes));
  if (written != static_cast<ssize_t>(size)) {
    const int error = written < 0 ? errno : ENOSPC;
    no_room_ = error == ENOSPC || error == EDQUOT;
    // Half a record is no record: the next one takes its place.
    if (written > 0 && ::ftruncate(active_.get(), static_cast<off_t>(s.bytes)) != 0)
      return failed("cannot cut", s.path, errno);
    return failed("cannot write to", s.path, error);
  }
  s.bytes += size;
  bytes_ += size;
  if (settings_.max_age.count() != 0) s.written = ages_->now();
  s.next += records;
  return {};
}

// One of those that wait syncs for all of them.
pl::result<void> log::make_durable(std::uint64_t number, std::unique_lock<std::mutex>& held) {
  while (durable_ <= number) {
    if (!sync_failure_.empty()) return pl::retry(sync_failure_);
    if (syncing_)
      synced_.wait(held);
    else
      sync_now(held);
  }
  return {};
}

void log::sync_now(std::unique_lock<std::mutex>& held) {
  syncing_ = true;
  const auto until = segments_.back().next;
  const file same(::fcntl(active_.get(), F_DUPFD_CLOEXEC, 0));  // a new file may be begun meanwhile
  const auto path = segments_.back().path;
  held.unlock();
  const int code = same ? ::fdatasync(same.get()) : -1;
  const int error = errno;
  held.lock();
  syncing_ = false;
  if (code == 0)
    durable_ = std::max(durable_, until);
  else
    // What the kernel could not write it has dropped: a second try would say that all is well.
    sync_failure_ = failed("cannot sync", path, error).message + "; what was taken since is not safe: restart the host";
  synced_.notify_all();
  appended_.notify_all();
}

void log::sync_every_interval(const std::stop_token& stop) {
  std::unique_lock held(mutex_);
  while (!stop.stop_requested()) {
    synced_.wait_for(held, settings_.interval, [&] { return stop.stop_requested(); });
    if (durable_ < segments_.back().next && !syncing_) sync_now(held);
  }
}

// Where nothing is taken in, nothing else would find out that the disk has room again.
void log::look_for_room() {
  const auto now = clock::now();
  if (now - looked_for_room_ < room_interval) return;
  looked_for_room_ = now;
  const auto& last = segments_.back();
  if (last.first == last.next)
    no_room_ = false;  // there is no record in it yet: the next one shows
  else
    (void)begin_segment(last.next);
}

bool log::pressed() {
  const std::scoped_lock lock(mutex_);
  if (no_room_) look_for_room();
  return no_room_ || bytes_ >= settings_.max_bytes;
}

// ---------------------------------------------------------------------------------------------------------- reading ---

// What a power cut could still take away, so that its sender sends it once more, isn't handed on.
std::uint64_t log::readable() const { return settings_.fsync == durability::always ? durable_ : segments_.back().next; }

std::uint64_t log::begin() const {
  const std::scoped_lock lock(mutex_);
  return segments_.front().first;
}

std::uint64_t log::end() const {
  const std::scoped_lock lock(mutex_);
  return segments_.back().next;
}

std::uint64_t log::bytes() const {
  const std::scoped_lock lock(mutex_);
  return bytes_;
}

void log::wait(std::uint64_t next, std::chrono::nanoseconds at_most) {
  std::unique_lock held(mutex_);
  appended_.wait_for(held, at_most, [&] { return readable() > next; });
}

const segment* log::segment_with(std::uint64_t number) const {
  for (const auto& s : segments_)
    if (number < s.next) return &s;
  return nullptr;
}

// Where the reader isn't there already.
bool log::place_reader(std::uint64_t next) {
  if (reader_ && reader_->number() == next) {
    const std::scoped_lock lock(mutex_);
    const auto* s = segment_with(next);
    if (s != nullptr && s->first == reader_segment_) return true;
  }
  segment from;
  {
    const std::scoped_lock lock(mutex_);
    const auto* s = segment_with(next);
    if (s == nullptr) return false;
    from = *s;
  }
  auto opened = open_segment(from.path, false);
  if (!opened.ok()) return false;
  reader_.emplace(std::move(*opened), from.first, segment_header);
  reader_segment_ = from.first;
  std::string_view body;
  while (reader_->number() < next && reader_->next(body) == segment_reader::step::record) {
  }
  return true;
}

pl::result<std::uint64_t> log::read(std::uint64_t next, std::size_t at_most,
                                    const std::function<bool(std::uint64_t number, std::string_view body)>& take,
                                    const notice& say) {
  std::uint64_t until = 0;
  {
    const std::scoped_lock lock(mutex_);
    until = readable();
    next = std::max(next, segments_.front().first);
    if (const auto* s = segment_with(next)) next = std::max(next, s->first);  // what was between is too old
  }
  for (std::size_t n = 0; next < until && n < at_most;) {
    if (!place_reader(next)) return failed("cannot read", settings_.folder, errno);
    std::string_view body;
    const auto at = reader_->number();
    if (at < next || reader_->next(body) != segment_reader::step::record) {
      next = skip_damage(next, say);
      continue;
    }
    ++n;
    next = at + 1;
    if (!take(at, body)) break;
  }
  return next;
}

// The rest of a damaged file cannot be told into records any more. Its last file has none: it was cut when it was opened.
std::uint64_t log::skip_damage(std::uint64_t at, const notice& say) {
  reader_.reset();
  std::uint64_t next = at;
  fs::path path;
  {
    const std::scoped_lock lock(mutex_);
    const auto* s = segment_with(at);
    if (s == nullptr) return at;
    next = s->next;
    path = s->path;
  }
  say("LOST: records " + std::to_string(at) + " to " + std::to_string(next - 1) + ", " + std::to_string(next - at) +
      " of them, can't be read any more: " + path.string() + " is damaged (is the disk?)");
  return next;
}

// ------------------------------------------------------------------------------------------------------------- age ---

std::uint64_t log::expire(std::uint64_t next, const notice& say) {
  if (settings_.max_age.count() == 0) return next;
  std::uint64_t first = 0, until = 0;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto now = ages_->now(); now - looked_ < std::min<nanoseconds>(settings_.max_age / 8, look_interval))
      return next;
    else
      looked_ = now;
    ages_->look();
    first = std::max(next, segments_.front().first);
    until = end_of_old(first);
    // It is noted before the files go: a gap that nobody has noted is damage.
    if (until == first || !replace_file(settings_.folder / "expired", std::to_string(until))) return next;
    expired_ = until;
    remove_between(first, until);
    durable_ = std::max(durable_, until);
  }
  reader_.reset();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(settings_.max_age).count();
  say("LOST: records " + std::to_string(first) + " to " + std::to_string(until - 1) + ", " +
      std::to_string(until - first) + " of them, waited for longer than max_age (" + std::to_string(seconds) +
      " s), and were dropped");
  return until;
}

// Of whole files from `next` on, and of the rest of the one that is being read: where the first one begins that is young
// enough. The last one is closed for that.
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

// --------------------------------------------------------------------------------------------------------- settling ---

void log::settle(std::uint64_t next) {
  settled_ = std::max(settled_, next);
  std::vector<fs::path> done;
  {
    const std::scoped_lock lock(mutex_);
    // The last file goes, too, where it alone takes up all the room.
    if (const auto& last = segments_.back();
        last.next <= settled_ && last.first != last.next && bytes_ >= settings_.max_bytes)
      (void)begin_segment(last.next);
    while (segments_.size() > 1 && segments_.front().next <= settled_) {
      bytes_ -= segments_.front().bytes;
      done.push_back(segments_.front().path);
      segments_.pop_front();
    }
    if (!done.empty()) no_room_ = false;  // there may be: the next file shows
  }
  std::error_code ignored;
  for (const auto& path : done) fs::remove(path, ignored);
  if (const auto now = clock::now(); now - noted_ >= note_interval) {
    noted_ = now;
    note_settled();
  }
}

void log::note_settled() const { (void)replace_file(settings_.folder / "settled", std::to_string(settled_)); }

}  // namespace spool
