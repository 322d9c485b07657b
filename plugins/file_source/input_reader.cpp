// SPDX-License-Identifier: Apache-2.0
#include "input_reader.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

namespace lines {

namespace {

constexpr std::size_t block_size = 256UL << 10U;

}  // namespace

std::uint64_t input_reader::take_cut() noexcept { return std::exchange(cut_, 0); }

pl::result<std::vector<input_reader::input_line>> input_reader::read(std::uint32_t max_rows,
                                                                     std::chrono::nanoseconds timeout) {
  std::vector<input_line> found;
  split(found, max_rows);
  if (!found.empty() || at_end()) return found;
  if (!ended_)
    if (auto r = fill(timeout); !r.ok()) return r.why();
  split(found, max_rows);
  return found;
}

// Read what is there, and note the end of the input.
pl::result<void> input_reader::fill(std::chrono::nanoseconds timeout) {
  pollfd ready{fd_, POLLIN, 0};
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout);
  if (::poll(&ready, 1, static_cast<int>(ms.count())) <= 0) return {};
  const auto before = buffer_.size();
  buffer_.resize(before + block_size);
  const auto n = ::read(fd_, buffer_.data() + before, block_size);
  buffer_.resize(before + static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  if (n < 0 && errno != EINTR && errno != EAGAIN)
    return pl::fatal("cannot read standard input: " + std::generic_category().message(errno));
  ended_ = n == 0;
  // Keep only the beginning of a line that is too long.
  if (const auto end = buffer_.find('\n'); end == std::string::npos && buffer_.size() > max_line_ + 2) {
    dropped_ += buffer_.size() - (max_line_ + 2);
    buffer_.resize(max_line_ + 2);
  }
  return {};
}

void input_reader::split(std::vector<input_line>& to, std::uint32_t max_rows) {
  std::size_t used = 0;
  const std::string_view data(buffer_);
  while (to.size() < max_rows && used < data.size()) {
    const auto end = data.find('\n', used);
    if (end == std::string_view::npos && !ended_) break;
    auto text = data.substr(used, end == std::string_view::npos ? end : end - used);
    const auto size = text.size() + (end == std::string_view::npos ? 0 : 1);
    if (next_ == 0 && text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.size() > max_line_ || dropped_ != 0) {
      text = text.substr(0, max_line_);
      ++cut_;
    }
    if (!text.empty()) to.push_back({std::string(text), next_});
    next_ += size + std::exchange(dropped_, 0);
    used += size;
  }
  buffer_.erase(0, used);
}

}  // namespace lines
