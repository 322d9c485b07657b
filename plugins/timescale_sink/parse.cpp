// SPDX-License-Identifier: Apache-2.0
#include "parse.hpp"

#include <pipeline/json.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>

namespace timescale {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads from the front of a text.
class reader {
 public:
  explicit reader(std::string_view text) : rest_(text) {}
  [[nodiscard]] bool done() const { return rest_.empty(); }
  [[nodiscard]] char peek() const { return rest_.empty() ? '\0' : rest_.front(); }
  bool skip(std::string_view one_of) {
    if (rest_.empty() || one_of.find(rest_.front()) == std::string_view::npos) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // Exactly n digits.
  std::optional<int> number(std::size_t n) {
    if (rest_.size() < n || !std::all_of(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(n), is_digit))
      return std::nullopt;
    int v = 0;
    for (const char c : rest_.substr(0, n)) v = v * 10 + (c - '0');
    rest_.remove_prefix(n);
    return v;
  }
  std::string_view digits() {
    const auto n = static_cast<std::size_t>(std::find_if_not(rest_.begin(), rest_.end(), is_digit) - rest_.begin());
    const auto run = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return run;
  }

 private:
  std::string_view rest_;
};

std::optional<std::int64_t> read_date(reader& in) {
  using namespace std::chrono;
  const auto y = in.number(4);
  if (!y || !in.skip("-")) return std::nullopt;
  const auto m = in.number(2);
  if (!m || !in.skip("-")) return std::nullopt;
  const auto d = in.number(2);
  if (!d || *y == 0) return std::nullopt;
  const year_month_day date{year(*y), month(static_cast<unsigned>(*m)), day(static_cast<unsigned>(*d))};
  if (!date.ok()) return std::nullopt;
  return sys_days(date).time_since_epoch().count();
}

// 0.1234565 -> 123457 microseconds
std::optional<std::int64_t> read_fraction(reader& in) {
  if (!in.skip(".,")) return 0;
  const auto digits = in.digits();
  if (digits.empty()) return std::nullopt;
  std::int64_t us = 0;
  for (std::size_t i = 0; i < 6; ++i) us = us * 10 + (i < digits.size() ? digits[i] - '0' : 0);
  return us + (digits.size() > 6 && digits[6] >= '5' ? 1 : 0);
}

std::optional<std::int64_t> read_offset_minutes(reader& in) {
  if (in.skip("Zz")) return 0;
  const bool west = in.peek() == '-';
  if (!in.skip("+-")) return std::nullopt;
  const auto hours = in.number(2);
  in.skip(":");
  const auto minutes = in.done() ? std::optional(0) : in.number(2);
  if (!hours || !minutes || *hours > 15 || *minutes > 59) return std::nullopt;
  return (*hours * 60 + *minutes) * (west ? -1 : 1);
}

}  // namespace

std::optional<std::int64_t> parse_date(std::string_view text) {
  reader in(text);
  const auto day = read_date(in);
  return in.done() ? day : std::nullopt;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
  reader in(text);
  const auto day = read_date(in);
  if (!day || !in.skip("Tt ")) return std::nullopt;
  const auto hour = in.number(2);
  if (!hour || !in.skip(":")) return std::nullopt;
  const auto minute = in.number(2);
  if (!minute || !in.skip(":")) return std::nullopt;
  const auto second = in.number(2);
  if (!second || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;  // 60: a leap second
  const auto fraction = read_fraction(in);
  if (!fraction) return std::nullopt;
  const auto offset = read_offset_minutes(in);
  if (!offset || !in.done()) return std::nullopt;
  const auto minutes = *day * 1440 + std::int64_t{*hour} * 60 + *minute - *offset;
  return (minutes * 60 + *second) * 1'000'000 + *fraction;
}

std::optional<std::array<char, 16>> parse_uuid(std::string_view text) {
  if (text.size() > 2 && text.front() == '{' && text.back() == '}') text = text.substr(1, text.size() - 2);
  std::array<char, 16> bytes{};
  std::size_t digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '-' && digits % 4 == 0 && digits != 0 && digits != 32 && text[i - 1] != '-') continue;
    std::uint8_t v = 0;
    if (digits == 32 || std::from_chars(&text[i], &text[i] + 1, v, 16).ec != std::errc()) return std::nullopt;
    auto& byte = bytes[digits++ / 2];
    byte = static_cast<char>(static_cast<std::uint8_t>(byte) << 4 | v);
  }
  return digits == 32 ? std::optional(bytes) : std::nullopt;
}

std::size_t characters(std::string_view utf8) {
  const auto last = utf8.find_last_not_of(' ');
  if (last == std::string_view::npos) return 0;
  const auto is_start = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
  return static_cast<std::size_t>(
      std::count_if(utf8.begin(), utf8.begin() + static_cast<std::ptrdiff_t>(last) + 1, is_start));
}

text_fault check_text(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    // Eight bytes at once while they are ASCII and not NUL.
    if (text.size() - i >= 8) {
      std::uint64_t w = 0;
      std::memcpy(&w, text.data() + i, 8);
      if (((w | (w - 0x0101010101010101U)) & 0x8080808080808080U) == 0) {
        i += 8;
        continue;
      }
    }
    if (text[i] == '\0') return text_fault::nul;
    const auto n = pl::utf8_sequence(text, i);
    if (n == 0) return text_fault::not_utf8;
    i += n;
  }
  return text_fault::none;
}

bool has_escaped_nul(std::string_view document) noexcept {
  for (auto at = document.find("\\u0000"); at != std::string_view::npos; at = document.find("\\u0000", at + 1)) {
    std::size_t backslashes = 0;
    while (backslashes < at && document[at - 1 - backslashes] == '\\') ++backslashes;
    if (backslashes % 2 == 0) return true;  // else the backslash is itself escaped
  }
  return false;
}

bool numeric_encoder::read(std::string_view text) {
  reader in(text);
  negative_ = in.peek() == '-';
  in.skip("+-");
  digits_ = in.digits();
  point_ = static_cast<std::int64_t>(digits_.size());
  if (in.skip(".")) digits_ += in.digits();
  if (digits_.empty()) return false;
  fraction_ = static_cast<std::int64_t>(digits_.size()) - point_;
  if (in.skip("eE")) {
    const bool minus = in.peek() == '-';
    in.skip("+-");
    const auto exponent = in.digits();
    if (exponent.empty() || exponent.size() > 9) return false;
    std::int64_t e = 0;
    for (const char c : exponent) e = e * 10 + (c - '0');
    point_ += minus ? -e : e;
    fraction_ = std::max<std::int64_t>(fraction_ + (minus ? e : -e), 0);
  }
  if (!in.done()) return false;
  const auto leading = std::min(digits_.find_first_not_of('0'), digits_.size());
  digits_.erase(0, leading);
  point_ -= static_cast<std::int64_t>(leading);
  digits_.erase(digits_.find_last_not_of('0') + 1);
  return fraction_ <= 16383 && (digits_.empty() || point_ <= 131072);
}

bool numeric_encoder::append(byte_buffer& out, std::string_view text) {
  if (!read(text)) return false;
  constexpr std::int64_t group = 4;  // numeric counts in base 10,000
  const bool zero = digits_.empty();
  const auto weight = zero ? 0 : (point_ > 0 ? (point_ - 1) / group : (point_ - group) / group);
  const auto pad = zero ? 0 : static_cast<std::size_t>((weight + 1) * group - point_);  // zeros before the first digit
  digits_.insert(0, pad, '0');
  digits_.resize((digits_.size() + 3) / 4 * 4, '0');
  const auto groups = digits_.size() / 4;
  out.put(static_cast<std::uint32_t>(8 + 2 * groups));
  out.put(static_cast<std::uint16_t>(groups));
  out.put(static_cast<std::uint16_t>(weight));
  out.put(static_cast<std::uint16_t>(negative_ && !zero ? 0x4000 : 0));
  out.put(static_cast<std::uint16_t>(fraction_));
  for (std::size_t i = 0; i < digits_.size(); i += 4) {
    unsigned v = 0;
    for (std::size_t k = 0; k < 4; ++k) v = v * 10 + static_cast<unsigned>(digits_[i + k] - '0');
    out.put(static_cast<std::uint16_t>(v));
  }
  return true;
}

}  // namespace timescale
