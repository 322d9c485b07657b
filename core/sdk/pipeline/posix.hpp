// SPDX-License-Identifier: Apache-2.0
// POSIX files: descriptors that close themselves, complete writes, and atomic replacement: after a crash or a power cut
// either the old or the complete new file exists. New files and folders hold data of devices, so other users cannot read
// them: their modes are 0640 and 0750, from which the umask may remove more.
//
// Errors are std::error_code of the generic category, whose value() is the errno. Paths are passed to open(2); a
// std::filesystem::path converts to one. Calls that a signal interrupts (EINTR) are repeated.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace pl {

inline constexpr mode_t data_file_mode = 0640, data_folder_mode = 0750;

// Owns an open file descriptor, or none. Can be moved, but not copied.
class descriptor {
 public:
  descriptor() = default;
  explicit descriptor(int fd) noexcept : fd_(fd) {}  // takes ownership; negative: none
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~descriptor() { reset(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  // Close the descriptor now. errno is preserved, so that an earlier error can still be reported.
  void reset() noexcept {
    if (fd_ < 0) return;
    const int kept = errno;
    ::close(std::exchange(fd_, -1));
    errno = kept;
  }

 private:
  int fd_ = -1;
};

[[nodiscard]] inline std::error_code last_error() noexcept { return {errno, std::generic_category()}; }

// Create a folder, and those above it that do not exist. An existing folder keeps its mode.
[[nodiscard]] inline std::error_code make_folders(const std::string& folder, mode_t mode = data_folder_mode) {
  struct stat s {};
  if (folder.empty()) return {};
  if (::stat(folder.c_str(), &s) == 0)
    return S_ISDIR(s.st_mode) ? std::error_code() : std::make_error_code(std::errc::not_a_directory);
  if (const auto end = folder.find_last_not_of('/'); end != std::string::npos)
    if (const auto slash = folder.rfind('/', end); slash != std::string::npos && slash != 0)
      if (const auto error = make_folders(folder.substr(0, slash), mode)) return error;
  return ::mkdir(folder.c_str(), mode) == 0 || errno == EEXIST ? std::error_code() : last_error();
}

// Write all bytes at the current file offset. After an error some of them may be written.
[[nodiscard]] inline std::error_code write_all(int fd, std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) return last_error();
    if (n == 0) return std::make_error_code(std::errc::no_space_on_device);
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

// Make a file's content and size survive a power cut. After an error, a second call on the same file may return success
// although the content is lost (Linux drops the pages): write the content again, to another file. Succeeds for files
// that cannot be synced, such as devices.
[[nodiscard]] inline std::error_code sync_file(int fd) noexcept {
  return ::fsync(fd) == 0 || errno == EINVAL ? std::error_code() : last_error();
}

// Make new, changed and removed names in a folder survive a power cut. An empty path is the current folder. File
// systems that do not support this call do not need it, so that it succeeds there.
[[nodiscard]] inline std::error_code sync_folder(const std::string& folder) noexcept {
  const descriptor d(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return d ? sync_file(d.get()) : last_error();
}

// Return the path of the folder that contains a file, with a slash at its end; empty: the current folder.
[[nodiscard]] inline std::string folder_of(const std::string& file) {
  const auto slash = file.rfind('/');
  return slash == std::string::npos ? std::string() : file.substr(0, slash + 1);
}

// Sync the folder that contains a file.
[[nodiscard]] inline std::error_code sync_folder_of(const std::string& file) { return sync_folder(folder_of(file)); }

// What a rename does if a file of the new name exists: replace it, or fail with EEXIST.
enum class if_exists { replace, fail };

// Rename without replacing an existing file. Return 0 or an errno.
[[nodiscard]] inline int rename_to_new(const std::string& from, const std::string& to) noexcept {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL) return errno;
  // Some file systems do not support RENAME_NOREPLACE. There, another process could create the name in between.
  if (::access(to.c_str(), F_OK) == 0) return EEXIST;
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

// Rename a file that was written through `fd`, so that after a power cut either the old or the new name exists, with
// the complete content: sync the file, rename it, sync the folder. All persistent files are renamed with this function.
// If only the last step fails, the file has its new name, but may lose it in a power cut.
[[nodiscard]] inline std::error_code rename_durably(int fd, const std::string& from, const std::string& to,
                                                    if_exists what = if_exists::replace) {
  if (const auto error = sync_file(fd)) return error;
  if (what == if_exists::fail) {
    if (const int error = rename_to_new(from, to); error != 0) return {error, std::generic_category()};
  } else if (::rename(from.c_str(), to.c_str()) != 0) {
    return last_error();
  }
  if (const auto error = sync_folder_of(to)) return error;
  return folder_of(from) == folder_of(to) ? std::error_code() : sync_folder_of(from);
}

// Rename a file or a folder that this process does not have open for writing.
[[nodiscard]] inline std::error_code rename_durably(const std::string& from, const std::string& to,
                                                    if_exists what = if_exists::replace) {
  const descriptor d(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  return d ? rename_durably(d.get(), from, to, what) : last_error();
}

// The new content of a file, written to a temporary file whose name ends in `suffix`. The destructor removes that file
// unless commit succeeded. Not thread-safe; only one replacement of a file with the same suffix may exist at a time.
class file_replacement {
 public:
  // mode: permissions of the new file, before the umask.
  explicit file_replacement(std::string path, std::string_view suffix = ".new", mode_t mode = data_file_mode)
      : path_(std::move(path)),
        name_(std::string(path_).append(suffix)),
        file_(::open(name_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)) {
    if (!file_) error_ = last_error();
  }
  file_replacement(const file_replacement&) = delete;
  file_replacement& operator=(const file_replacement&) = delete;
  ~file_replacement() {
    if (!committed_ && file_) ::unlink(name_.c_str());  // has no effect if only the folder could not be synced
  }

  [[nodiscard]] int fd() const noexcept { return file_.get(); }  // -1 if the temporary file could not be opened
  // The first error is kept, and commit returns it.
  void write(std::string_view bytes) noexcept {
    if (!error_) error_ = write_all(file_.get(), bytes);
  }
  void fail(std::error_code error) noexcept {
    if (!error_) error_ = error;
  }
  // Replace the file atomically and durably: see rename_durably. After an error the old file is unchanged, unless only
  // the folder could not be synced.
  [[nodiscard]] std::error_code commit() {
    if (!error_) error_ = rename_durably(file_.get(), name_, path_);
    committed_ = !error_;
    return error_;
  }

 private:
  const std::string path_, name_;
  const descriptor file_;
  std::error_code error_;
  bool committed_ = false;
};

// Replace a file's content or create the file. Readers see either the complete old content or the complete new content,
// also after a power cut.
[[nodiscard]] inline std::error_code replace_file(const std::string& path, std::string_view content,
                                                  std::string_view suffix = ".new") {
  file_replacement fresh(path, suffix);
  fresh.write(content);
  return fresh.commit();
}

}  // namespace pl
