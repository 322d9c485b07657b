// SPDX-License-Identifier: Apache-2.0
#include "engine/queue_segment.hpp"

#include "telemetry/progress.hpp"

#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include <algorithm>
#include <filesystem>

namespace pl::engine {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view suffix = ".queue";

failure failed(std::string_view what, const std::string& path, std::error_code why) {
  return retry(fmt::format("cannot {} {}: {}", what, path, why.message()));
}

// Return whether a file of this size leaves room for what else is on the file system: 5 % of it, and 1 GiB at most.
result<void> leaves_room(int fd, const std::string& path, std::uint64_t bytes) {
  struct statvfs fs {};
  if (::fstatvfs(fd, &fs) != 0) return failed("examine the file system of", path, last_error());
  const auto unit = static_cast<std::uint64_t>(fs.f_frsize);
  const auto reserve = std::min(fs.f_blocks * unit / 20, std::uint64_t{1} << 30U);
  const auto free = fs.f_bavail * unit;
  if (free >= bytes + reserve) return {};
  return retry(fmt::format("cannot extend {}: the file system has {} free, of which {} stay free for spools and state",
                           path, telemetry::format_bytes(free), telemetry::format_bytes(reserve)));
}

// Allocate the blocks now, so that a full disk is found before records are accepted. Some file systems cannot: there,
// only a write finds it.
std::error_code allocate(int fd, std::uint64_t bytes) {
  while (::fallocate(fd, 0, 0, static_cast<off_t>(bytes)) != 0) {
    if (errno == EINTR) continue;
    if (errno != EOPNOTSUPP && errno != ENOSYS) return last_error();
    return ::ftruncate(fd, static_cast<off_t>(bytes)) == 0 ? std::error_code() : last_error();
  }
  return {};
}

// Return whether a name ends like those of `segment_name`.
bool is_segment_name(std::string_view name) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  for (int numbers = 0; numbers < 2; ++numbers) {
    const auto dot = name.find_last_not_of("0123456789");
    if (dot == std::string_view::npos || dot + 1 == name.size() || name[dot] != '.') return false;
    name = name.substr(0, dot);
  }
  return name.find('.') != std::string_view::npos;
}

}  // namespace

result<std::shared_ptr<queue_segment>> queue_segment::create(const std::string& path, std::uint64_t bytes,
                                                             std::shared_ptr<disk_usage> usage) {
  std::error_code ignored;
  if (const auto folder = folder_of(path); !folder.empty()) fs::create_directories(folder, ignored);
  descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file && errno == EEXIST) return failure{status::again, path + " exists", {}};
  if (!file) return failed("create", path, last_error());
  std::shared_ptr<queue_segment> made(new queue_segment(path, std::move(file), bytes, std::move(usage)));
  const int fd = made->file_.get();
  (void)::flock(fd, LOCK_EX | LOCK_NB);  // in use: see remove_old_segments
  if (auto room = leaves_room(fd, path, bytes); !room.ok()) return room.why();
  if (const auto error = allocate(fd, bytes)) return failed("extend", path, error);
  return made;
}

queue_segment::queue_segment(std::string path, descriptor file, std::uint64_t bytes, std::shared_ptr<disk_usage> usage)
    : path_(std::move(path)), file_(std::move(file)), size_(bytes), usage_(std::move(usage)) {
  usage_->add(size_);
}

queue_segment::~queue_segment() {
  ::unlink(path_.c_str());
  usage_->sub(size_);
}

result<std::uint64_t> queue_segment::append(std::string_view bytes) {
  const auto begin = end_;
  while (!bytes.empty()) {
    const iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    const auto n = ::pwritev(file_.get(), &part, 1, static_cast<off_t>(end_));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const auto why = n < 0 ? last_error() : std::make_error_code(std::errc::no_space_on_device);
      end_ = begin;
      return failed("write to", path_, why);
    }
    end_ += static_cast<std::uint64_t>(n);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return begin;
}

result<void> queue_segment::try_append(std::string_view bytes) {
  const auto at = append(bytes);
  if (!at.ok()) return at.why();
  end_ = *at;
  return {};
}

result<void> queue_segment::read(std::uint64_t offset, std::string& to) const {
  std::size_t done = 0;
  while (done < to.size()) {
    const auto n = ::pread(file_.get(), to.data() + done, to.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read", path_, last_error());
    if (n == 0) return fatal(fmt::format("{} ends before byte {}", path_, offset + to.size()));
    done += static_cast<std::size_t>(n);
  }
  return {};
}

void queue_segment::add_entry(std::uint64_t memory) noexcept {
  entries_ += memory;
  usage_->add_entry(memory);
}

void queue_segment::sub_entry(std::uint64_t memory) noexcept {
  entries_ -= memory;
  usage_->sub_entry(memory);
}

void queue_segment::count_for(const std::shared_ptr<disk_usage>& usage) {
  if (usage == usage_) return;
  usage->add(size_);
  usage->add_entry(entries_);
  usage_->sub(size_);
  usage_->sub_entry(entries_);
  usage_ = usage;
}

std::string segment_name(std::string_view state_dir, std::string_view pipeline, std::string_view sink, unsigned writer,
                         std::uint64_t number) {
  return fs::path(state_dir) / fmt::format("{}.{}.{}.{}{}", pipeline, sink, writer, number, suffix);
}

removed_segments remove_old_segments(const std::string& state_dir) {
  removed_segments removed;
  std::error_code unknown;
  for (const auto& entry : fs::directory_iterator(state_dir, unknown)) {
    const auto name = entry.path().filename().string();
    if (!is_segment_name(name)) continue;
    const descriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat info {};
    if (!file || ::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 || ::unlink(entry.path().c_str()) != 0) continue;
    ++removed.files;
    removed.bytes += static_cast<std::uint64_t>(info.st_size);
  }
  return removed;
}

}  // namespace pl::engine
