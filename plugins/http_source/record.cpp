// SPDX-License-Identifier: Apache-2.0
#include "record.hpp"

#include <openssl/evp.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <type_traits>

namespace http {

namespace {

// version:u8 time:i64 id[16] path_size:u16 remote_size:u8 values:u8 path remote (name_size:u8 value_size:u16 name value)*
// payload
constexpr char version = 1;
constexpr std::size_t id_at = 1 + 8, fixed_size = id_at + 16 + 2 + 1 + 1;

template <class T>
void put(std::string& to, T number) {
  char bytes[sizeof number];
  std::memcpy(bytes, &number, sizeof number);
  to.append(bytes, sizeof number);
}

class reader {
 public:
  explicit reader(std::string_view rest) : rest_(rest) {}
  template <class T>
  bool number(T& to) {
    if (rest_.size() < sizeof to) return false;
    std::memcpy(&to, rest_.data(), sizeof to);
    rest_.remove_prefix(sizeof to);
    return true;
  }
  bool text(std::size_t size, std::string_view& to) {
    if (rest_.size() < size) return false;
    to = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

struct context_free {
  void operator()(EVP_MD_CTX* c) const noexcept { EVP_MD_CTX_free(c); }
};

record_id digest(std::initializer_list<std::string_view> parts) {
  static thread_local const std::unique_ptr<EVP_MD_CTX, context_free> hashing(EVP_MD_CTX_new());
  std::array<unsigned char, EVP_MAX_MD_SIZE> whole{};
  EVP_DigestInit_ex(hashing.get(), EVP_sha256(), nullptr);
  for (const auto part : parts) EVP_DigestUpdate(hashing.get(), part.data(), part.size());
  EVP_DigestFinal_ex(hashing.get(), whole.data(), nullptr);
  record_id id;
  std::memcpy(id.data(), whole.data(), id.size());
  return id;
}

constexpr std::string_view nul("\0", 1);  // in no path, and in no header

}  // namespace

record_id id_by_content(std::string_view path, std::string_view record) { return digest({path, nul, record}); }

record_id id_by_key(std::string_view path, std::string_view key, std::size_t place) {
  return digest({path, nul, "key", nul, key, nul, std::to_string(place)});
}

std::string hex(const record_id& id) {
  std::string text;
  for (const char c : id) {
    const auto byte = static_cast<unsigned char>(c);
    text.push_back("0123456789abcdef"[byte >> 4U]);
    text.push_back("0123456789abcdef"[byte & 15U]);
  }
  return text;
}

record_prefix::record_prefix(std::int64_t time_ns, std::string_view path, std::string_view remote,
                             const std::vector<named_value>& values) {
  text_.push_back(version);
  put(text_, time_ns);
  text_.append(16, '\0');
  put(text_, static_cast<std::uint16_t>(path.size()));
  put(text_, static_cast<std::uint8_t>(remote.size()));
  put(text_, static_cast<std::uint8_t>(values.size()));
  text_.append(path).append(remote);
  for (const auto& [name, value] : values) {
    put(text_, static_cast<std::uint8_t>(name.size()));
    put(text_, static_cast<std::uint16_t>(value.size()));
    text_.append(name).append(value);
  }
}

void record_prefix::append(std::string& to, const record_id& id) const {
  const auto at = to.size();
  to += text_;
  std::memcpy(to.data() + at + id_at, id.data(), id.size());
}

bool decode(std::string_view record, stored_record& to) {
  if (record.size() < fixed_size || record[0] != version) return false;
  reader in(record.substr(1));
  std::string_view id;
  std::uint16_t path = 0;
  std::uint8_t remote = 0, values = 0;
  if (!in.number(to.time_ns) || !in.text(to.id.size(), id) || !in.number(path) || !in.number(remote) ||
      !in.number(values) || !in.text(path, to.path) || !in.text(remote, to.remote))
    return false;
  std::memcpy(to.id.data(), id.data(), id.size());
  to.values.clear();
  for (std::uint8_t i = 0; i < values; ++i) {
    std::uint8_t name_size = 0;
    std::uint16_t value_size = 0;
    named_value v;
    if (!in.number(name_size) || !in.number(value_size) || !in.text(name_size, v.first) ||
        !in.text(value_size, v.second))
      return false;
    to.values.push_back(v);
  }
  to.payload = in.rest();
  return true;
}

}  // namespace http
