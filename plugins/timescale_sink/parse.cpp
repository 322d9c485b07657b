// SPDX-License-Identifier: Apache-2.0
#include "parse.hpp"

#include <pipeline/text.hpp>
#include <pipeline/time.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace timescale {
namespace {

// Reads a text from the front.
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
  std::string_view digits() {
    const auto n = static_cast<std::size_t>(std::find_if_not(rest_.begin(), rest_.end(), pl::is_digit) - rest_.begin());
    const auto run = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return run;
  }

 private:
  std::string_view rest_;
};

}  // namespace

std::optional<std::int64_t> parse_date(std::string_view text) {
  const auto time = pl::read_rfc3339(text);
  if (!time || !time->date_only) return std::nullopt;
  return time->seconds / 86'400;
}

std::optional<std::int64_t> parse_time(std::string_view text) {
  constexpr int server_offset = 16 * 60;  // PostgreSQL accepts offsets below 16 hours
  const auto time = pl::read_rfc3339(text);
  if (!time || time->date_only || std::abs(time->offset_minutes) >= server_offset) return std::nullopt;
  const auto rounded = time->fraction_in(7) % 10 >= 5 ? 1 : 0;  // 0.1234565 -> 123457 microseconds
  return time->seconds * 1'000'000 + time->fraction_in(6) + rounded;
}

std::optional<std::array<char, 16>> parse_uuid(std::string_view text) {
  if (text.size() > 2 && text.front() == '{' && text.back() == '}') text = text.substr(1, text.size() - 2);
  std::array<char, 16> bytes{};
  std::size_t digits = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '-' && digits % 4 == 0 && digits != 0 && digits != 32 && text[i - 1] != '-') continue;
    const int digit = pl::hex_value(text[i]);
    if (digits == 32 || digit < 0) return std::nullopt;
    auto& byte = bytes[digits++ / 2];
    byte = static_cast<char>(static_cast<std::uint8_t>(byte) << 4 | digit);
  }
  return digits == 32 ? std::optional(bytes) : std::nullopt;
}

std::size_t characters(std::string_view utf8) {
  const auto last = utf8.find_last_not_of(' ');
  if (last == std::string_view::npos) return 0;
  return pl::count_characters(utf8.substr(0, last + 1));
}

text_fault check_text(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    // Skip eight bytes at once if they are ASCII and not NUL.
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
    if (backslashes % 2 == 0) return true;  // otherwise the backslash is itself escaped
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
  constexpr std::int64_t group = 4;  // numeric has base 10,000
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
