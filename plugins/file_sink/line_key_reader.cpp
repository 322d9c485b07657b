// SPDX-License-Identifier: Apache-2.0
#include "line_keys.hpp"

#include <pipeline/json_members.hpp>

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

// scanner collects the values of the selected members of the outermost object. Each value is encoded with a letter for
// its kind and with its length, so that different values have different encodings.
class line_key_reader::scanner : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, line_key_reader::scanner> {
 public:
  explicit scanner(std::vector<key_column> columns) : columns_(std::move(columns)), values_(columns_.size()) {}

  // Return the values in the order of the columns; nullptr if one is missing.
  const std::vector<std::string>* scan(std::string_view line) {
    for (auto& v : values_) v.clear();
    const bool whole = each_json_member(line, [&](std::string_view key, std::string_view value) {
      if (auto* const to = wanted(key)) read(value, *to);
    });
    if (!whole) return nullptr;
    for (std::size_t i = 0; i < values_.size(); ++i)
      if (values_[i].empty() && !columns_[i].optional) return nullptr;
    return &values_;
  }

  bool Null() { return append("0", {}); }
  bool Bool(bool b) { return append(b ? "t" : "f", {}); }
  bool RawNumber(const char* p, rapidjson::SizeType n, bool /*copy*/) { return append("n", {p, n}); }
  bool String(const char* p, rapidjson::SizeType n, bool /*copy*/) { return append("s", {p, n}); }
  bool Key(const char* p, rapidjson::SizeType n, bool /*copy*/) { return append("k", {p, n}); }
  bool StartObject() { return append("{", {}); }
  bool EndObject(rapidjson::SizeType /*n*/) { return append("}", {}); }
  bool StartArray() { return append("[", {}); }
  bool EndArray(rapidjson::SizeType /*n*/) { return append("]", {}); }

 private:
  std::string* wanted(std::string_view raw_key) {
    const bool escaped = raw_key.find('\\') != std::string_view::npos;
    const auto decoded = escaped ? json_text(raw_key) : std::nullopt;
    const auto name = decoded ? std::string_view(*decoded) : raw_key.substr(1, raw_key.size() - 2);
    for (std::size_t i = 0; i < columns_.size(); ++i)
      if (columns_[i].name == name) return &values_[i];
    return nullptr;
  }
  void read(std::string_view raw, std::string& to) {
    to.clear();
    to_ = &to;
    if (raw == "null") return;  // null counts as missing
    rapidjson::MemoryStream stream(raw.data(), raw.size());
    constexpr unsigned how = rapidjson::kParseIterativeFlag | rapidjson::kParseNumbersAsStringsFlag;
    if (!reader_.Parse<how>(stream, *this).IsError()) return;
    to.clear();  // valid JSON with a number or an escape that RapidJSON rejects: use its original text
    append("r", raw);
  }
  bool append(const char* kind, std::string_view text) {
    *to_ += kind;
    append_number(*to_, text.size());
    *to_ += text;
    return true;
  }

  const std::vector<key_column> columns_;
  std::vector<std::string> values_;
  std::string* to_ = nullptr;
  rapidjson::Reader reader_;
};

line_key_reader::line_key_reader(std::vector<key_column> columns)
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
