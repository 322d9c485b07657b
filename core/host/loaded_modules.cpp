// SPDX-License-Identifier: Apache-2.0
#include "host/loaded_modules.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>

namespace pl::host {

namespace {

struct mapping {
  std::uint64_t begin = 0, end = 0, offset = 0;
  std::string_view path;
};

// Read a line like "7f12a000-7f12b000 r-xp 00002000 08:01 1234   /usr/lib/libx.so".
mapping parse(std::string_view line) noexcept {
  mapping found;
  const auto number = [&](std::uint64_t& to, std::size_t from) {
    const auto* end = line.data() + line.size();
    return static_cast<std::size_t>(std::from_chars(line.data() + std::min(from, line.size()), end, to, 16).ptr -
                                    line.data());
  };
  const auto dash = number(found.begin, 0);
  const auto blank = number(found.end, dash + 1);
  (void)number(found.offset, blank + 6);
  if (const auto slash = line.find('/'); slash != std::string_view::npos) found.path = line.substr(slash);
  return found;
}

// Call `each` with every mapping.
template <class F>
void for_each_mapping(F&& each) noexcept {
  const int fd = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  std::array<char, 8192> buffer;
  std::size_t used = 0;
  while (true) {
    const auto got = ::read(fd, buffer.data() + used, buffer.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    used += static_cast<std::size_t>(got);
    std::string_view rest(buffer.data(), used);
    for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      each(parse(rest.substr(0, end)));
      rest.remove_prefix(end + 1);
    }
    if (rest.size() == buffer.size()) break;  // a line that does not fit
    std::copy(rest.begin(), rest.end(), buffer.data());
    used = rest.size();
  }
  ::close(fd);
}

std::string_view file_name(std::string_view path) noexcept { return path.substr(path.rfind('/') + 1); }

}  // namespace

void append_module(fixed_text& to, std::uint64_t address) noexcept {
  bool known = false;
  for_each_mapping([&](const mapping& m) {
    if (address < m.begin || address >= m.end || m.path.empty()) return;
    to << file_name(m.path);
    known = true;
  });
  if (!known) to << "an unknown library";
}

void append_modules(fixed_text& to, std::span<const std::uint64_t> addresses) noexcept {
  std::array<std::uint64_t, 80> offsets{};
  std::array<std::array<char, 64>, 80> names{};
  const auto n = std::min(addresses.size(), offsets.size());
  for_each_mapping([&](const mapping& m) {
    for (std::size_t i = 0; i < n; ++i) {
      if (addresses[i] < m.begin || addresses[i] >= m.end || m.path.empty()) continue;
      offsets[i] = addresses[i] - m.begin + m.offset;
      const auto name = file_name(m.path).substr(0, names[i].size() - 1);
      std::copy(name.begin(), name.end(), names[i].begin());
    }
  });
  for (std::size_t i = 0; i < n; ++i) {
    to << "\n  #" << static_cast<std::int64_t>(i) << " ";
    if (names[i][0] == '\0')
      to.hex(addresses[i]);
    else
      (to << names[i].data() << "+").hex(offsets[i]);
  }
}

}  // namespace pl::host
