// SPDX-License-Identifier: Apache-2.0
#include "line_keys.hpp"

#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <bit>
#include <cstring>
#include <random>

namespace pl::files {

namespace {

void append_number(std::string& to, std::size_t n) { to.append(reinterpret_cast<const char*>(&n), sizeof n); }

std::uint64_t word_at(std::string_view bytes, std::size_t at, std::size_t n) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, bytes.data() + at, n);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

struct siphash_state {
  std::uint64_t v0, v1, v2, v3;

  void rounds(int n) noexcept {
    for (; n > 0; --n) {
      v0 += v1, v1 = std::rotl(v1, 13), v1 ^= v0, v0 = std::rotl(v0, 32);
      v2 += v3, v3 = std::rotl(v3, 16), v3 ^= v2;
      v0 += v3, v3 = std::rotl(v3, 21), v3 ^= v0;
      v2 += v1, v1 = std::rotl(v1, 17), v1 ^= v2, v2 = std::rotl(v2, 32);
    }
  }
  void take(std::uint64_t word) noexcept {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  }
  [[nodiscard]] std::uint64_t sum() const noexcept { return v0 ^ v1 ^ v2 ^ v3; }
};

line_key random_secret() {
  std::random_device random;
  const auto word = [&] { return std::uint64_t{random()} << 32U | random(); };
  return {word(), word()};
}

}  // namespace

line_key siphash(std::string_view bytes, const line_key& secret) noexcept {
  siphash_state s{secret.low ^ 0x736f6d6570736575ULL, secret.high ^ 0x646f72616e646f6dULL ^ 0xeeU,
                  secret.low ^ 0x6c7967656e657261ULL, secret.high ^ 0x7465646279746573ULL};
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) s.take(word_at(bytes, at, 8));
  s.take(word_at(bytes, at, bytes.size() - at) | std::uint64_t{bytes.size()} << 56U);
  line_key key;
  s.v2 ^= 0xeeU;
  s.rounds(4);
  key.low = s.sum();
  s.v1 ^= 0xddU;
  s.rounds(4);
  key.high = s.sum();
  return key;
}

// Takes the values of the wanted members of the outermost object, each in a form in which different values differ: a letter
// for the kind, and the length before whatever has one.
class line_key_reader::scanner : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, line_key_reader::scanner> {
 public:
  explicit scanner(std::vector<std::string> columns) : columns_(std::move(columns)), values_(columns_.size()) {}

  // Null where a value is missing.
  const std::vector<std::string>* scan(std::string_view line) {
    for (auto& v : values_) v.clear();
    depth_ = 0;
    to_ = nullptr;
    rapidjson::MemoryStream stream(line.data(), line.size());
    constexpr unsigned how = rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag;
    if (reader_.Parse<how>(stream, *this).IsError()) return nullptr;
    for (const auto& v : values_)
      if (v.empty()) return nullptr;
    return &values_;
  }

  bool Null() { return take("0", {}); }
  bool Bool(bool b) { return take(b ? "t" : "f", {}); }
  bool RawNumber(const char* p, rapidjson::SizeType n, bool /*copy*/) { return take("n", {p, n}); }
  bool String(const char* p, rapidjson::SizeType n, bool /*copy*/) { return take("s", {p, n}); }
  bool Key(const char* p, rapidjson::SizeType n, bool /*copy*/) {
    const std::string_view name(p, n);
    if (depth_ > 1) return append("k", name), true;
    to_ = nullptr;
    for (std::size_t i = 0; i < columns_.size(); ++i)
      if (columns_[i] == name) to_ = &values_[i];
    if (to_ != nullptr) to_->clear();
    return true;
  }
  bool StartObject() { return ++depth_, append("{", {}), true; }
  bool EndObject(rapidjson::SizeType /*n*/) {
    if (--depth_ > 0) append("}", {});
    return true;
  }
  bool StartArray() { return append("[", {}), ++depth_ > 1; }  // a line that is an array is no row
  bool EndArray(rapidjson::SizeType /*n*/) { return append("]", {}), --depth_, true; }

 private:
  bool take(const char* kind, std::string_view text) {
    if (depth_ == 1 && *kind == '0') return true;  // null is as good as missing
    append(kind, text);
    return depth_ > 0;
  }
  void append(const char* kind, std::string_view text) {
    if (to_ == nullptr) return;
    *to_ += kind;
    append_number(*to_, text.size());
    *to_ += text;
  }

  const std::vector<std::string> columns_;
  std::vector<std::string> values_;
  std::string* to_ = nullptr;
  std::size_t depth_ = 0;
  rapidjson::Reader reader_;
};

line_key_reader::line_key_reader(std::vector<std::string> columns)
    : scanner_(std::make_unique<scanner>(std::move(columns))), secret_(random_secret()) {}

line_key_reader::~line_key_reader() = default;

std::optional<line_key> line_key_reader::read(std::string_view line) {
  const auto* values = scanner_->scan(line);
  if (values == nullptr) return std::nullopt;
  text_.clear();
  for (const auto& v : *values) {
    append_number(text_, v.size());
    text_ += v;
  }
  return siphash(text_, secret_);
}

}  // namespace pl::files
