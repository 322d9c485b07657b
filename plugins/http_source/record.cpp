// SPDX-License-Identifier: Apache-2.0
#include "record.hpp"

#include <pipeline/text.hpp>

#include <digest_common/content_digest.hpp>

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <type_traits>

namespace http {

namespace {

// whole: version:u8 time:i64 id[16] path_size:u16 remote_size:u8 values:u8 path remote
//        (name_size:u8 value_size:u16 name value)* payload
// part:  version:u8 id[16] back:u32 ahead:u32 payload
// A part has the id and the payload. The rest is in the whole records `back` numbers before it and `ahead` numbers after
// it, which are in the same file: a request is one append.
constexpr char whole_version = 1, part_version = 2;
constexpr std::size_t id_at = 1 + 8, part_size = 1 + 16 + 4 + 4;

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

record_id digest_of(std::initializer_list<std::string_view> parts) {
  digest::content_digest hashing;
  for (const auto part : parts) hashing.add(part);
  return hashing.finish();
}

constexpr std::string_view nul("\0", 1);  // a separator that cannot occur in a path or a header

}  // namespace

record_id id_by_content(std::string_view path, std::string_view record) { return digest_of({path, nul, record}); }

record_id id_by_key(std::string_view path, std::string_view key, std::size_t place) {
  return digest_of({path, nul, "key", nul, key, nul, std::to_string(place)});
}

std::string hex(const record_id& id) { return pl::to_hex({id.data(), id.size()}); }

record_start::record_start(std::int64_t time_ns, std::string_view path, std::string_view remote,
                           const std::vector<named_value>& values) {
  text_.push_back(whole_version);
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

std::size_t record_start::size(std::size_t place, std::size_t count) const noexcept {
  return place == 0 || place + 1 == count ? text_.size() : part_size;
}

std::uint64_t record_start::total(std::size_t count) const noexcept {
  const std::uint64_t wholes = std::min<std::size_t>(count, 2);
  return wholes * text_.size() + (count - wholes) * part_size;
}

void record_start::append(std::string& to, const record_id& id, std::size_t place, std::size_t count) const {
  const auto at = to.size();
  if (place == 0 || place + 1 == count) {
    to += text_;
    std::memcpy(to.data() + at + id_at, id.data(), id.size());
    return;
  }
  to.push_back(part_version);
  to.append(id.data(), id.size());
  put(to, static_cast<std::uint32_t>(place));
  put(to, static_cast<std::uint32_t>(count - 1 - place));
}

namespace {

// Decode the start of a whole record, and set `rest` to what follows it.
bool decode_start(std::string_view record, stored_record& to, std::string_view& rest) {
  if (record.empty() || record[0] != whole_version) return false;
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
  rest = in.rest();
  return true;
}

bool is_part(std::string_view record) { return record.size() >= part_size && record[0] == part_version; }

}  // namespace

spool::shared_start start_of(std::string_view record) {
  spool::shared_start start;
  if (is_part(record)) {
    reader in(record.substr(1 + 16));
    (void)in.number(start.back);
    (void)in.number(start.ahead);
    return start;
  }
  stored_record ignored;
  std::string_view payload;
  if (decode_start(record, ignored, payload)) start.size = record.size() - payload.size();
  return start;
}

bool decode(std::string_view record, std::string_view shared, stored_record& to) {
  if (!is_part(record)) return decode_start(record, to, to.payload);
  std::string_view rest;
  if (!decode_start(shared, to, rest)) return false;
  std::memcpy(to.id.data(), record.data() + 1, to.id.size());
  to.payload = record.substr(part_size);
  return true;
}

}  // namespace http
