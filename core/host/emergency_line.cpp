// SPDX-License-Identifier: Apache-2.0
#include "host/emergency_line.hpp"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>

namespace pl::host {

namespace {

std::atomic<bool> as_json{false};

void write_bytes(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    pollfd waiting{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&waiting, 1, 100) != 1) return;
    const auto written = ::write(STDERR_FILENO, bytes.data(), std::min<std::size_t>(bytes.size(), 4096));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return;
    if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void append_padded(fixed_text& to, unsigned number, std::size_t digits) noexcept {
  std::array<char, 10> text{};
  for (auto i = digits; i > 0; --i, number /= 10) text[i - 1] = static_cast<char>('0' + number % 10);
  to << std::string_view(text.data(), digits);
}

// The time in UTC, as in the log. (The functions of the C library that know time zones may lock.)
void append_time(fixed_text& to) noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::chrono::sys_seconds at{std::chrono::seconds(now.tv_sec)};
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date(day);
  const auto seconds = static_cast<unsigned>((at - day).count());
  append_padded(to, static_cast<unsigned>(static_cast<int>(date.year())), 4);
  append_padded(to << "-", static_cast<unsigned>(date.month()), 2);
  append_padded(to << "-", static_cast<unsigned>(date.day()), 2);
  append_padded(to << "T", seconds / 3600, 2);
  append_padded(to << ":", seconds / 60 % 60, 2);
  append_padded(to << ":", seconds % 60, 2);
  append_padded(to << ".", static_cast<unsigned>(now.tv_nsec / 1'000'000), 3);
  to << "Z";
}

void append_json(fixed_text& to, std::string_view text) noexcept {
  to << "\"";
  for (const char c : text)
    if (c == '\n')
      to << "\\n";
    else if (c == '"' || c == '\\')
      to << "\\" << std::string_view(&c, 1);
    else
      to << (static_cast<unsigned char>(c) < 0x20 ? std::string_view(" ") : std::string_view(&c, 1));
  to << "\"";
}

}  // namespace

fixed_text& fixed_text::operator<<(std::string_view text) noexcept {
  const auto n = std::min(text.size(), bytes_.size() - used_);
  std::copy_n(text.data(), n, bytes_.data() + used_);
  used_ += n;
  return *this;
}

fixed_text& fixed_text::operator<<(std::int64_t number) noexcept {
  std::array<char, 20> digits{};
  auto at = digits.size();
  auto rest = number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  do digits[--at] = static_cast<char>('0' + rest % 10);
  while ((rest /= 10) != 0);
  if (number < 0) *this << "-";
  return *this << std::string_view(digits.data() + at, digits.size() - at);
}

fixed_text& fixed_text::hex(std::uint64_t number) noexcept {
  std::array<char, 16> digits{};
  auto at = digits.size();
  do digits[--at] = "0123456789abcdef"[number & 15U];
  while ((number >>= 4U) != 0);
  return *this << "0x" << std::string_view(digits.data() + at, digits.size() - at);
}

void set_emergency_format(bool json) noexcept { as_json = json; }

void emergency_line(std::string_view pipeline, std::string_view node, std::string_view message) noexcept {
  fixed_text line;
  if (as_json) {
    append_time(line << "{\"time\":\"");
    line << "\",\"level\":\"error\"";
    if (!pipeline.empty()) append_json(line << ",\"pipeline\":", pipeline);
    if (!node.empty()) append_json(line << ",\"node\":", node);
    append_json(line << ",\"message\":", message.substr(0, 8192));
    line << "}\n";
  } else {
    append_time(line);
    line << " error " << pipeline << (pipeline.empty() || node.empty() ? "" : "/") << node
         << (pipeline.empty() && node.empty() ? "" : ": ") << message.substr(0, 8192) << "\n";
  }
  write_bytes(line.view());
}

}  // namespace pl::host
