// SPDX-License-Identifier: Apache-2.0
#include "gaps.hpp"

#include "segment.hpp"

#include <pipeline/posix.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <system_error>

namespace spool {

namespace fs = std::filesystem;

namespace {

fs::path file_in(const fs::path& folder) { return folder / "skipped"; }

}  // namespace

// Read a small file of lines. No lines: it does not exist. Fail if it cannot be read.
pl::result<std::vector<std::string>> lines_of(const fs::path& path) {
  const pl::descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::vector<std::string>();
  std::string text(4096, '\0');
  ssize_t n = -1;
  if (file) do
      n = ::pread(file.get(), text.data(), text.size(), 0);
    while (n < 0 && errno == EINTR);
  if (n < 0) return failed("cannot read", path, errno);
  text.resize(static_cast<std::size_t>(n));
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  if (lines.empty()) lines.emplace_back();
  return lines;
}

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

pl::result<number_gaps> load_gaps(const fs::path& folder) {
  const auto lines = lines_of(file_in(folder));
  if (!lines.ok()) return lines.why();
  number_gaps gaps;
  for (std::size_t i = 0; i + 1 < lines->size(); i += 2)
    gaps.push_back({number_of((*lines)[i]).value_or(0), number_of((*lines)[i + 1]).value_or(0)});
  return gaps;
}

pl::result<void> store_gaps(const fs::path& folder, const number_gaps& gaps) {
  std::string text;
  for (const auto& g : gaps) text += std::to_string(g.begin) + "\n" + std::to_string(g.end) + "\n";
  const auto path = file_in(folder);
  if (const auto error = pl::replace_file(path, text)) return failed("cannot write", path, error.value());
  return {};
}

std::uint64_t count_between(const number_gaps& gaps, std::uint64_t from, std::uint64_t end) {
  if (from >= end) return 0;
  auto n = end - from;
  for (const auto& g : gaps) {
    const auto begin = std::max(g.begin, from), until = std::min(g.end, end);
    if (begin < until) n -= until - begin;
  }
  return n;
}

}  // namespace spool
