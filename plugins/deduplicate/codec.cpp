// SPDX-License-Identifier: Apache-2.0
#include "codec.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace deduplicate {

namespace {

constexpr char version = 1;      // of slices
constexpr char key_version = 2;  // version 1 has no fingerprints
constexpr std::size_t identity_size = 16;

// Words are little-endian, as on all supported machines.
static_assert(std::endian::native == std::endian::little);
void put_word(std::string& to, std::uint64_t word) {
  std::array<char, sizeof word> bytes{};
  std::memcpy(bytes.data(), &word, sizeof word);
  to.append(bytes.data(), bytes.size());
}
// Append a number as LEB128: seven bits for each byte, lowest bits first.
void put_number(std::string& to, std::uint64_t n) {
  for (; n >= 0x80; n >>= 7) to.push_back(static_cast<char>(n | 0x80));
  to.push_back(static_cast<char>(n));
}
// Zigzag encoding: small positive and negative differences become small numbers.
std::uint64_t folded(std::uint64_t difference) noexcept { return difference << 1 ^ (0 - (difference >> 63)); }
std::uint64_t unfolded(std::uint64_t n) noexcept { return n >> 1 ^ (0 - (n & 1)); }

class reader {
 public:
  explicit reader(std::string_view bytes) noexcept : left_(bytes) {}
  [[nodiscard]] bool good() const noexcept { return good_; }
  [[nodiscard]] std::size_t left() const noexcept { return left_.size(); }

  std::uint8_t byte() noexcept {
    if (left_.empty()) return good_ = false, std::uint8_t{0};
    const auto b = static_cast<std::uint8_t>(left_.front());
    left_.remove_prefix(1);
    return b;
  }
  std::uint64_t word() noexcept {
    std::uint64_t word = 0;
    if (left_.size() < sizeof word) return good_ = false, word;
    std::memcpy(&word, left_.data(), sizeof word);
    left_.remove_prefix(sizeof word);
    return word;
  }
  std::uint64_t number() noexcept {
    std::uint64_t n = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto b = byte();
      n |= std::uint64_t{b & 0x7fU} << shift;
      if ((b & 0x80) == 0) break;
    }
    return n;
  }

 private:
  std::string_view left_;
  bool good_ = true;
};

pl::failure unreadable(std::string_view what) {
  return pl::fatal("the stored state is invalid (" + std::string(what) +
                   "): a later version wrote it, or it is damaged");
}

}  // namespace

std::string slice_name(std::uint64_t number) {
  std::string name = "s";
  for (int shift = 56; shift >= 0; shift -= 8) name.push_back(static_cast<char>(number >> shift & 0xff));
  return name;
}

std::optional<std::uint64_t> slice_number(std::string_view name) {
  if (name.size() != 9 || name.front() != 's') return std::nullopt;
  std::uint64_t number = 0;
  for (const char c : name.substr(1)) number = number << 8 | static_cast<unsigned char>(c);
  return number;
}

std::string encode(const stored_key& key) {
  std::string to(1, key_version);
  put_word(to, key.hash_key.low);
  put_word(to, key.hash_key.high);
  put_number(to, key.by);
  put_number(to, key.time_column);
  return to;
}

pl::result<stored_key> decode_key(std::string_view bytes) {
  reader from(bytes);
  const auto found = from.byte();
  if (found != 1 && found != key_version) return unreadable("key");
  stored_key key;
  key.hash_key.low = from.word();
  key.hash_key.high = from.word();
  if (found != 1) {
    key.by = static_cast<std::uint32_t>(from.number());
    key.time_column = static_cast<std::uint32_t>(from.number());
  }
  if (!from.good() || from.left() != 0) return unreadable("key");
  return key;
}

std::string encode(const slice& about, std::span<const entry> entries) {
  std::string to(1, version);
  to.reserve(32 + entries.size() * (identity_size + 2));
  put_number(to, about.level);
  put_word(to, std::bit_cast<std::uint64_t>(about.opened));
  put_word(to, std::bit_cast<std::uint64_t>(about.newest));
  put_number(to, entries.size());
  std::uint64_t before = 0;
  for (const auto& e : entries) {
    put_word(to, e.id.low);
    put_word(to, e.id.high);
    put_number(to, folded(e.position - before));
    before = e.position;
  }
  return to;
}

pl::result<stored_slice> decode_slice(std::uint64_t number, std::string_view bytes) {
  reader from(bytes);
  if (from.byte() != version) return unreadable("version of a slice");
  stored_slice made;
  made.about.number = number;
  made.about.level = static_cast<std::uint32_t>(from.number());
  made.about.opened = std::bit_cast<std::int64_t>(from.word());
  made.about.newest = std::bit_cast<std::int64_t>(from.word());
  const auto count = from.number();
  if (!from.good() || count > from.left() / (identity_size + 1)) return unreadable("size of a slice");
  made.entries.resize(count);
  std::uint64_t before = 0;
  for (auto& e : made.entries) {
    e.id.low = from.word();
    e.id.high = from.word();
    e.position = before += unfolded(from.number());
  }
  if (!from.good() || from.left() != 0) return unreadable("end of a slice");
  made.about.count = static_cast<std::uint32_t>(count);
  return made;
}

}  // namespace deduplicate
