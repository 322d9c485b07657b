// SPDX-License-Identifier: Apache-2.0
#include <pipeline/posix.hpp>

#include <fcntl.h>
#include <file_common/each_line.hpp>
#include <file_common/line_file.hpp>
#include <file_common/line_rewrite.hpp>
#include <file_common/rotated_files.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pl::files {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto lock_timeout = 30s;  // a writer holds the lock for one batch, a rewrite for its whole duration

failure problem(std::string_view what, const fs::path& file, int error) {
  return fatal(std::string(what) + " " + file.string() + ": " + std::generic_category().message(error));
}

// The locked file that the path names. The lock is destroyed before the descriptor.
struct locked_file {
  descriptor fd;
  std::unique_ptr<file_lock> lock;
};

result<locked_file> open_locked(const fs::path& file) {
  for (const auto until = std::chrono::steady_clock::now() + lock_timeout;;) {
    locked_file open{descriptor(::open(file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640)), {}};
    if (!open.fd) return problem("cannot open", file, errno);
    open.lock = std::make_unique<file_lock>(open.fd.get());
    const auto outcome = open.lock->acquire(until - std::chrono::steady_clock::now());
    if (outcome == lock_outcome::unsupported) return problem("cannot lock", file, errno);
    if (outcome == lock_outcome::busy)
      return fatal(file.string() + " is locked by another program, which has not released it for " +
                   std::to_string(lock_timeout / 1s) + " s; find the program with `fuser " + file.string() +
                   "`, and retry");
    struct stat now {};
    bool still_named = false;
    if (look_at(file, open.fd.get(), now, still_named) == 0 && still_named) return open;
  }
}

// The new content of a file of lines. The file keeps its owner and its mode.
class replacement {
 public:
  explicit replacement(const fs::path& of) : of_(of), fresh_(of, ".retry", 0600) {}

  void add(std::string_view text) {
    empty_ = empty_ && text.empty();
    text_ += text;
    if (text_.size() > (1U << 20U)) flush();
  }
  [[nodiscard]] bool empty() const noexcept { return empty_; }
  result<void> put() {
    flush();
    if (fresh_.fd() >= 0 && !keep_owner_and_mode()) fresh_.fail(last_error());
    const auto error = fresh_.commit();
    return error ? problem("cannot rewrite", of_, error.value()) : result<void>();
  }

 private:
  // Keep owner and mode, so that the host can still write the file. On failure, return false and set errno.
  bool keep_owner_and_mode() {
    struct stat s {};
    if (::stat(of_.c_str(), &s) != 0 || ::fchmod(fresh_.fd(), s.st_mode & 07777U) != 0) return false;
    const bool ours = s.st_uid == ::geteuid() && s.st_gid == ::getegid();
    return ours || ::fchown(fresh_.fd(), s.st_uid, s.st_gid) == 0;
  }
  void flush() {
    fresh_.write(text_);
    text_.clear();
  }
  const fs::path of_;
  file_replacement fresh_;
  std::string text_;
  bool empty_ = true;
};

result<void> append_durably(const fs::path& file, std::string_view lines) {
  if (lines.empty()) return {};
  auto fd = open_locked(file);
  if (!fd.ok()) return fd.why();
  auto error = write_all(fd->fd.get(), lines);
  if (!error) error = sync_file(fd->fd.get());
  if (error) return problem("cannot write to", file, error.value());
  if (const auto failed = sync_folder_of(file)) return problem("cannot sync the folder of", file, failed.value());
  return {};
}

struct survey {
  std::string moved;                   // lines
  std::vector<fs::path> with_changes;  // files, the oldest first
};

result<survey> look_through(const fs::path& path, const std::function<line_fate(std::string_view)>& fate_of) {
  survey found;
  for (const auto& file : with_rotated(path)) {
    bool changes = false;
    const auto read = each_line(file, [&](std::string_view line) {
      const auto what = fate_of(line);
      changes = changes || what != line_fate::stays;
      if (what == line_fate::moves) found.moved.append(line).push_back('\n');
    });
    if (!read) return read.why();
    if (changes) found.with_changes.push_back(file);
  }
  return found;
}

}  // namespace

result<void> rewrite_lines(const fs::path& path, const std::function<line_fate(std::string_view line)>& fate_of,
                           const fs::path& moved_to, std::string_view added) {
  auto locked = open_locked(path);  // rotating and appending need the lock of the newest file, too
  if (!locked.ok()) return locked.why();
  auto found = look_through(path, fate_of);
  if (!found.ok()) return found.why();
  if (auto r = append_durably(moved_to, found->moved); !r) return r;
  auto files = found->with_changes;
  if (!added.empty() && (files.empty() || files.back() != path)) files.push_back(path);
  // The newest file is replaced last, because other writers can write to its replacement from then on.
  for (const auto& file : files) {
    replacement fresh(file);
    const auto read = each_line(file, [&](std::string_view line) {
      if (fate_of(line) != line_fate::stays) return;
      fresh.add(line);
      fresh.add("\n");
    });
    if (!read) return read.why();
    if (file == path) fresh.add(added);
    if (fresh.empty() && file != path) {  // a rotated file without remaining lines
      if (::unlink(file.c_str()) != 0) return problem("cannot remove", file, errno);
    } else if (auto r = fresh.put(); !r) {
      return r;
    }
  }
  if (const auto failed = sync_folder_of(path)) return problem("cannot sync the folder of", path, failed.value());
  return {};
}

}  // namespace pl::files
