// SPDX-License-Identifier: Apache-2.0
#include "segment.hpp"

#include "checksum.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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
constexpr std::size_t read_ahead = std::size_t{256} * 1024;
constexpr std::uint32_t largest_body = 1U << 30U;

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

file& file::operator=(file&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

file::~file() {
  if (fd_ >= 0) ::close(fd_);
}

pl::failure failed(std::string_view what, const fs::path& path, int error) {
  return pl::retry(std::string(what) + " " + path.string() + ": " + std::generic_category().message(error));
}

void sync_folder(const fs::path& folder) noexcept {
  const file f(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (f) ::fsync(f.get());
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

pl::result<file> create_segment(const segment& s, std::uint64_t reserve) {
  file f(::open(s.path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!f) return failed("cannot make", s.path, errno);
  // The room is ours from now on, so that messages that are on their way find some. The size stays that of the records.
  if (::fallocate(f.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(reserve)) != 0 && errno == ENOSPC) {
    const auto why = failed("no room for", s.path, ENOSPC);
    ::unlink(s.path.c_str());
    return why;
  }
  std::string header(magic);
  put(header, s.first);
  if (::pwrite(f.get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size())) {
    const auto why = failed("cannot write to", s.path, errno);
    ::unlink(s.path.c_str());
    return why;
  }
  return f;
}

pl::result<file> open_segment(const fs::path& path, bool to_write) {
  file f(::open(path.c_str(), (to_write ? O_RDWR : O_RDONLY) | O_CLOEXEC));
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

// At least `wanted` bytes from the present place on in the buffer; false: the file has not so many.
bool segment_reader::fill(std::size_t wanted) {
  if (buffer_.size() - at_ >= wanted) return true;
  buffer_.erase(0, at_);
  at_ = 0;
  while (buffer_.size() < wanted) {
    const auto before = buffer_.size();
    const auto more = std::max(read_ahead, wanted - before);
    buffer_.resize(before + more);
    const auto n = ::pread(file_.get(), buffer_.data() + before, more, static_cast<off_t>(offset_ + before));
    buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
    if (n <= 0) return false;
  }
  return true;
}

segment_reader::step segment_reader::next(std::string_view& body) {
  if (!fill(record_header)) return buffer_.size() == at_ ? step::end : step::torn;
  const auto length = get<std::uint32_t>(buffer_.data() + at_);
  const auto crc = get<std::uint32_t>(buffer_.data() + at_ + 4);
  if (length > largest_body || !fill(record_header + length)) return step::torn;
  const auto found = std::string_view(buffer_).substr(at_ + record_header, length);
  if (crc32c(found, checksum_of_number(number_)) != crc) return step::torn;
  body = found;
  at_ += record_header + length;
  offset_ += record_header + length;
  ++number_;
  return step::record;
}

pl::result<segment> scan(const fs::path& path) {
  segment s;
  s.path = path;
  auto f = open_segment(path, false);
  if (!f.ok()) return f.why();
  std::array<char, segment_header> header{};
  const auto named = first_of(path);
  if (::pread(f->get(), header.data(), header.size(), 0) != static_cast<ssize_t>(header.size()) ||
      std::string_view(header.data(), magic.size()) != magic || !named ||
      get<std::uint64_t>(header.data() + magic.size()) != *named)
    return pl::rejected(path.string() + " is no file of a spool");
  s.first = *named;
  segment_reader reader(std::move(*f), s.first, segment_header);
  std::string_view body;
  while (reader.next(body) == segment_reader::step::record) {
  }
  s.next = reader.number();
  s.bytes = reader.offset();
  return s;
}

}  // namespace spool
