// SPDX-License-Identifier: Apache-2.0
// The format of one spool file: a sequence of records, each with its length and checksum.
//
//   file    = "PLSPOOL1" first:u64 record*            named <first, 20 digits>.spool
//   record  = length:u32 crc:u32 body[length]         crc: CRC-32C of the record's number (u64), then of the body
//
// Integers are little-endian. The checksum includes the record's number, so that stale data of an older file in the
// same disk blocks is never accepted as a record.
#pragma once

#include <pipeline/posix.hpp>
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

constexpr std::size_t segment_header = 16;
constexpr std::size_t record_header = 8;

struct segment {
  std::uint64_t first = 0;  // number of the first record
  std::uint64_t next = 0;   // number after the last record
  std::uint64_t bytes = segment_header;
  std::chrono::nanoseconds written{};  // time of the last record, by the clock of file_ages
  std::filesystem::path path;
  std::uint64_t file = 0;  // distinguishes files that have had the same name
};

[[nodiscard]] std::filesystem::path segment_path(const std::filesystem::path& folder, std::uint64_t first);
// Return the number of the first record from a file name; nullopt if it is not the name of a spool file.
[[nodiscard]] std::optional<std::uint64_t> first_of(const std::filesystem::path& path);
// Return whether a segment that was being created has this name. It holds nothing that was acknowledged.
[[nodiscard]] bool is_unfinished(const std::filesystem::path& path);

// Create a file with its header and these records, and reserve its disk space if the file system supports that. The
// file is complete and synced before it gets its name; a file that has the name is replaced. Fail if there is no space.
[[nodiscard]] pl::result<pl::descriptor> create_segment(const segment& s, std::uint64_t reserve,
                                                        std::string_view records = {});
[[nodiscard]] pl::result<pl::descriptor> open_segment(const std::filesystem::path& path, bool to_write);

// Return the header of a record.
[[nodiscard]] std::string header_of(std::uint64_t number, std::span<const std::string_view> body);

// A part of a file in which no record is intact.
struct damage {
  std::uint64_t first = 0;  // number of the first record that is missing
  std::uint64_t next = 0;   // number of the next intact record
  std::uint64_t offset = 0;
  std::string bytes;        // with zeros where the disk cannot be read
  bool to_the_end = false;  // no intact record follows
};

// Reads the records of a file sequentially, from an offset up to another one.
class segment_reader {
 public:
  segment_reader(pl::descriptor from, std::uint64_t number, std::uint64_t offset)
      : file_(std::move(from)), number_(number), offset_(offset) {}

  void end_at(std::uint64_t offset) noexcept { end_ = offset; }  // do not read the bytes from there on

  // failed: the system cannot read the file; error() is the reason.
  enum class step { record, end, damaged, failed };
  // Read the next record, whose body is valid until the next call.
  step next(std::string_view& body);
  // After `damaged` or `failed`: move to the next intact record, whose number is below `below`, or else to the end.
  [[nodiscard]] damage skip(std::uint64_t below);

  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }  // of the next record
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }  // where the next record begins
  [[nodiscard]] int error() const noexcept { return error_; }

 private:
  bool fill(std::size_t wanted);

  pl::descriptor file_;
  std::uint64_t number_, offset_, end_ = segment_header;
  std::string buffer_;
  std::size_t at_ = 0;  // position of offset_ in the buffer
  int error_ = 0;
};

// What a file holds.
struct scanned {
  segment records;              // up to the end of the last intact record
  std::string tail;             // the bytes after it
  bool incomplete = false;      // the tail is the beginning of a record, as after a crash during a write
  bool complete = false;        // the tail is as long as a record, but its checksum is wrong
  bool header_damaged = false;  // does not matter: the name of the file has the same information
};
// Scan a file, whose records have numbers below `below`. Records from there on are in the next file. Fail only if the
// file cannot be opened: whether it is damaged is not known then.
[[nodiscard]] pl::result<scanned> scan(const std::filesystem::path& path, std::uint64_t below = UINT64_MAX);

[[nodiscard]] pl::failure failed(std::string_view what, const std::filesystem::path& path, int error);

}  // namespace spool
