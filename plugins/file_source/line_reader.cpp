// SPDX-License-Identifier: Apache-2.0
#include "line_reader.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

namespace lines {
namespace {

constexpr std::size_t smallest_block = 64UL << 10U;

// Read until `size` bytes or the end of the file.
pl::result<std::size_t> read_at(int fd, char* to, std::size_t size, std::uint64_t offset) {
  std::size_t have = 0;
  while (have < size) {
    const auto n = ::pread(fd, to + have, size - have, static_cast<off_t>(offset + have));
    if (n == 0) break;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return pl::retry("cannot read: " + std::generic_category().message(errno));
    have += static_cast<std::size_t>(n);
  }
  return have;
}

block allocate(std::size_t size) {
  block b(static_cast<char*>(std::malloc(size)));
  if (!b) throw std::bad_alloc();
  return b;
}

// Return the offset after the next '\n' at or after `offset`, and true; at the end of the file its size, and false.
pl::result<std::pair<std::uint64_t, bool>> skip_line(int fd, std::uint64_t offset) {
  const auto memory = allocate(smallest_block);
  for (;;) {
    auto n = read_at(fd, memory.get(), smallest_block, offset);
    if (!n.ok()) return n.why();
    if (const void* end = std::memchr(memory.get(), '\n', *n))
      return std::pair{offset + static_cast<std::uint64_t>(static_cast<const char*>(end) - memory.get()) + 1, true};
    offset += *n;
    if (*n < smallest_block) return std::pair{offset, false};
  }
}

void add_line(chunk& to, std::string_view text, std::uint64_t offset, std::size_t max_line) {
  if (offset == 0 && text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (text.size() > max_line) {
    text = text.substr(0, max_line);
    ++to.cut;
  }
  if (!text.empty()) to.lines.push_back({text, offset});
}

// Add the whole lines of the block, and return their size in bytes.
std::size_t split(chunk& to, std::string_view data, std::uint64_t offset, const limits& how) {
  std::size_t at = 0;
  while (at < data.size() && to.lines.size() < how.max_rows) {
    const void* end = std::memchr(data.data() + at, '\n', data.size() - at);
    if (end == nullptr) break;
    const auto size = static_cast<std::size_t>(static_cast<const char*>(end) - data.data()) - at;
    add_line(to, data.substr(at, size), offset + at, how.max_line);
    at += size + 1;
  }
  return at;
}

}  // namespace

pl::result<chunk> read_lines(int fd, std::uint64_t offset, const limits& how, chunk reuse) {
  chunk out = std::move(reuse);
  out.lines.clear();
  out.cut = 0;
  out.at_end = false;
  for (auto size = std::max(smallest_block, how.max_bytes);; size *= 2) {
    out.memory = allocate(size);
    out.size = size;
    auto n = read_at(fd, out.memory.get(), size, offset);
    if (!n.ok()) return n.why();
    const std::string_view data(out.memory.get(), *n);
    const auto whole = split(out, data, offset, how);
    out.next = offset + whole;
    const bool file_ends = *n < size;
    const auto rest = data.substr(whole);
    const bool full = out.lines.size() >= how.max_rows;
    out.at_end = file_ends && !full;
    if (whole > 0 && (!out.at_end || rest.empty())) return out;
    if (out.at_end) {
      if (!rest.empty() && how.take_last) {
        add_line(out, rest, offset + whole, how.max_line);
        out.next = offset + *n;
      }
      return out;
    }
    if (size <= how.max_line + 2) continue;  // the line may fit into a larger block
    auto end = skip_line(fd, offset + size);
    if (!end.ok()) return end.why();
    if (!end->second && !how.take_last) {  // still being written: wait for its end
      out.at_end = true;
      return out;
    }
    add_line(out, rest, offset, how.max_line);
    out.next = end->first;
    return out;
  }
}

}  // namespace lines
