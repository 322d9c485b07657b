// SPDX-License-Identifier: Apache-2.0
#include "segment.hpp"

#include "checksum.hpp"
#include "record_search.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>
#include <utility>

namespace spool {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view magic = "PLSPOOL1";
constexpr std::string_view extension = ".spool";
constexpr std::string_view unfinished = ".spool.new";
constexpr std::size_t read_ahead = std::size_t{256} * 1024;

template <class T>
void put(std::string& to, T value) {
  std::array<char, sizeof value> raw{};
  std::memcpy(raw.data(), &value, sizeof value);
  to.append(raw.data(), raw.size());
}

template <class T>
T get(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

std::uint32_t checksum_of_number(std::uint64_t number) {
  std::string raw;
  put(raw, number);
  return crc32c(raw);
}

}  // namespace

pl::failure failed(std::string_view what, const fs::path& path, int error) {
  return pl::retry(std::string(what) + " " + path.string() + ": " + std::generic_category().message(error));
}

fs::path segment_path(const fs::path& folder, std::uint64_t first) {
  auto digits = std::to_string(first);
  return folder / (std::string(20 - digits.size(), '0') + digits + std::string(extension));
}

std::optional<std::uint64_t> first_of(const fs::path& path) {
  const auto name = path.filename().string();
  if (name.size() != 20 + extension.size() || !name.ends_with(extension)) return std::nullopt;
  std::uint64_t first = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + 20, first);
  return error == std::errc{} && end == name.data() + 20 ? std::optional(first) : std::nullopt;
}

bool is_unfinished(const fs::path& path) { return path.filename().string().ends_with(unfinished); }

pl::result<pl::descriptor> create_segment(const segment& s, std::uint64_t reserve, std::string_view records) {
  const auto name = s.path.string() + ".new";
  pl::descriptor f(::open(name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, pl::data_file_mode));
  if (!f) return failed("cannot create", s.path, errno);
  const auto refuse = [&](std::string_view what, int error) {
    ::unlink(name.c_str());
    return failed(what, s.path, error);
  };
  // Reserve the space, so that messages in flight can be stored. The file size remains that of the records.
  if (::fallocate(f.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(reserve)) != 0 && errno == ENOSPC)
    return refuse("no room for", ENOSPC);
  std::string header(magic);
  put(header, s.first);
  auto error = pl::write_all(f.get(), header);
  if (!error) error = pl::write_all(f.get(), records);
  if (error) return refuse("cannot write to", error.value());
  if (error = pl::rename_durably(f.get(), name, s.path.string()); error) return refuse("cannot sync", error.value());
  return f;
}

pl::result<pl::descriptor> open_segment(const fs::path& path, bool to_write) {
  pl::descriptor f(::open(path.c_str(), (to_write ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!f) return failed("cannot read", path, errno);
  return f;
}

std::string header_of(std::uint64_t number, std::span<const std::string_view> body) {
  std::size_t length = 0;
  auto crc = checksum_of_number(number);
  for (const auto part : body) {
    length += part.size();
    crc = crc32c(part, crc);
  }
  std::string header;
  put(header, static_cast<std::uint32_t>(length));
  put(header, crc);
  return header;
}

// Read until the buffer has at least `wanted` bytes from the current offset on. Return false at the end, or if the
// system cannot read.
bool segment_reader::fill(std::size_t wanted) {
  error_ = 0;
  if (buffer_.size() - at_ >= wanted) return true;
  buffer_.erase(0, at_);
  at_ = 0;
  while (buffer_.size() < wanted) {
    const auto before = buffer_.size();
    const auto more = std::min<std::uint64_t>(std::max(read_ahead, wanted - before), end_ - offset_ - before);
    buffer_.resize(before + more);
    const auto n = ::pread(file_.get(), buffer_.data() + before, more, static_cast<off_t>(offset_ + before));
    if (n < 0) error_ = errno;
    buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
  }
  return true;
}

segment_reader::step segment_reader::next(std::string_view& body) {
  if (offset_ >= end_) return step::end;
  const auto broken = [this] { return error_ != 0 ? step::failed : step::damaged; };
  if (end_ - offset_ < record_header || !fill(record_header)) return broken();
  const auto length = get<std::uint32_t>(buffer_.data() + at_);
  const auto crc = get<std::uint32_t>(buffer_.data() + at_ + 4);
  if (length > end_ - offset_ - record_header || !fill(record_header + length)) return broken();
  const auto found = std::string_view(buffer_).substr(at_ + record_header, length);
  if (crc32c(found, checksum_of_number(number_)) != crc) return step::damaged;
  body = found;
  at_ += record_header + length;
  offset_ += record_header + length;
  ++number_;
  return step::record;
}

namespace {

// Read a part of a file. Blocks that the system cannot read are zeros.
std::string read_what_is_readable(int file, std::uint64_t from, std::uint64_t end) {
  constexpr std::uint64_t block = 4096;
  std::string bytes(end - from, '\0');
  for (std::uint64_t at = from; at < end;) {
    const auto n = ::pread(file, bytes.data() + (at - from), end - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) {  // the file is shorter
      bytes.resize(at - from);
      break;
    }
    if (n > 0) {
      at += static_cast<std::uint64_t>(n);
    } else {
      const auto next = std::min(end, (at / block + 1) * block);
      const auto part = ::pread(file, bytes.data() + (at - from), next - at, static_cast<off_t>(at));
      if (part < 0) std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(at - from), next - at, '\0');
      at = next;
    }
  }
  return bytes;
}

}  // namespace

damage segment_reader::skip(std::uint64_t below) {
  damage d;
  d.first = number_;
  d.offset = offset_;
  d.bytes = read_what_is_readable(file_.get(), offset_, std::max(offset_, end_));
  buffer_.clear();
  at_ = 0;
  if (const auto found = record_search(d.bytes, number_, below).first()) {
    d.bytes.resize(found->at);
    offset_ += found->at;
    number_ = found->number;
  } else {
    d.to_the_end = true;
    offset_ = std::max(offset_, end_);
    number_ = below;
  }
  d.next = number_;
  return d;
}

namespace {

// Describe the bytes after the last intact record.
void describe_tail(scanned& to, std::string bytes) {
  to.tail = std::move(bytes);
  const std::string_view tail = to.tail;
  std::uint32_t length = 0;
  if (tail.size() >= record_header) length = get<std::uint32_t>(tail.data());
  const auto room = tail.size() - std::min(tail.size(), record_header);
  to.incomplete = tail.size() < record_header || length > room;
  to.complete = !to.incomplete && tail.substr(0, record_header).find_first_not_of('\0') != std::string_view::npos;
}

}  // namespace

pl::result<scanned> scan(const fs::path& path, std::uint64_t below) {
  auto f = open_segment(path, false);
  if (!f.ok()) return f.why();
  struct stat now {};
  if (::fstat(f->get(), &now) != 0) return failed("cannot read", path, errno);
  const auto size = static_cast<std::uint64_t>(now.st_size);
  scanned all;
  auto& s = all.records;
  s.path = path;
  s.first = s.next = first_of(path).value_or(0);
  std::array<char, segment_header> header{};
  all.header_damaged = ::pread(f->get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()) ||
                       std::string_view(header.data(), magic.size()) != magic ||
                       get<std::uint64_t>(header.data() + magic.size()) != s.first;
  segment_reader reader(std::move(*f), s.first, segment_header);
  reader.end_at(size);
  std::string_view body;
  while (reader.number() < below) {
    const auto step = reader.next(body);
    if (step == segment_reader::step::end) break;
    if (step != segment_reader::step::record) {
      auto d = reader.skip(below);
      if (d.to_the_end) {
        describe_tail(all, std::move(d.bytes));
        return all;
      }
      continue;
    }
    s.next = reader.number();
    s.bytes = reader.offset();
  }
  return all;
}

}  // namespace spool
