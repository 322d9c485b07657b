// SPDX-License-Identifier: Apache-2.0
// One file of a spool: records, one after the other, each with its length and checksum.
//
//   file    = "PLSPOOL1" first:u64 record*            named <first, 20 digits>.spool
//   record  = length:u32 crc:u32 body[length]         crc: CRC-32C of the record's number (u64), then of the body
//
// Integers are little-endian. The number is part of the checksum so that what a disk gives back of an older file in the same
// place is never taken for a record.
#pragma once

#include <pipeline/result.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spool {

// A file descriptor, closed by itself.
class file {
 public:
  file() = default;
  explicit file(int fd) noexcept : fd_(fd) {}
  file(file&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  file& operator=(file&& other) noexcept;
  ~file();
  [[nodiscard]] int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

constexpr std::size_t segment_header = 16;
constexpr std::size_t record_header = 8;

struct segment {
  std::uint64_t first = 0;  // number of its first record
  std::uint64_t next = 0;   // one behind its last
  std::uint64_t bytes = segment_header;
  std::chrono::nanoseconds written{};  // when its last record came, by the clock of file_ages
  std::filesystem::path path;
};

[[nodiscard]] std::filesystem::path segment_path(const std::filesystem::path& folder, std::uint64_t first);
// The first record's number, of a file name; nothing where it is none of ours.
[[nodiscard]] std::optional<std::uint64_t> first_of(const std::filesystem::path& path);

// A new file with its header, its room on the disk reserved where the file system can do that. Failure: no room.
[[nodiscard]] pl::result<file> create_segment(const segment& s, std::uint64_t reserve);
[[nodiscard]] pl::result<file> open_segment(const std::filesystem::path& path, bool to_write);

// A record's bytes before its body.
[[nodiscard]] std::string header_of(std::uint64_t number, std::span<const std::string_view> body);

// Reads a file from a place on, record by record.
class segment_reader {
 public:
  segment_reader(file from, std::uint64_t number, std::uint64_t offset)
      : file_(std::move(from)), number_(number), offset_(offset) {}

  enum class step { record, end, torn };
  // The next record; its body is good until the next call. end: the file ends here; torn: what is here is no whole record.
  step next(std::string_view& body);
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }  // of the next record
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }  // where it begins

 private:
  bool fill(std::size_t wanted);

  file file_;
  std::uint64_t number_, offset_;
  std::string buffer_;
  std::size_t at_ = 0;  // of offset_ in the buffer
};

// What is in a file: how many whole records, where the last ends.
[[nodiscard]] pl::result<segment> scan(const std::filesystem::path& path);

[[nodiscard]] pl::failure failed(std::string_view what, const std::filesystem::path& path, int error);
// So that a new name, or the end of one, survives a power cut.
void sync_folder(const std::filesystem::path& folder) noexcept;

}  // namespace spool
