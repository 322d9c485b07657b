// SPDX-License-Identifier: Apache-2.0
#include "key_table.hpp"

#include <pipeline/text.hpp>

#include <bit>
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>

namespace threshold_alert {
namespace {

// Multiply two 64-bit numbers and fold the product: the mixing step of wyhash.
std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using wide = unsigned __int128;
  const auto product = static_cast<wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}
constexpr std::uint64_t prime_1 = 0xa0761d6478bd642f, prime_2 = 0xe7037ed1a0b428db;

template <class T>
std::uint64_t load(const char* p) noexcept {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

std::uint64_t hash_bytes(std::uint64_t h, const char* p, std::size_t n) noexcept {
  std::uint64_t a = 0, b = 0;
  const auto size = n;
  for (; n > 16; p += 16, n -= 16) h = mix(load<std::uint64_t>(p) ^ prime_1, load<std::uint64_t>(p + 8) ^ h);
  if (n >= 8) {
    a = load<std::uint64_t>(p);
    b = load<std::uint64_t>(p + n - 8);
  } else if (n >= 4) {
    a = load<std::uint32_t>(p);
    b = load<std::uint32_t>(p + n - 4);
  } else if (n > 0) {
    a = load<std::uint8_t>(p) << 16 | load<std::uint8_t>(p + n / 2) << 8 | load<std::uint8_t>(p + n - 1);
  }
  return mix(prime_2 ^ size, mix(a ^ prime_2, b ^ h));
}

constexpr std::size_t cell_header = 5;

}  // namespace

std::uint64_t key_hash::add(std::uint64_t h, const pl::cell& c) noexcept {
  h ^= c.kind;
  if (pl::has_bytes(c)) return hash_bytes(h, c.as.p, c.len);
  return mix(static_cast<std::uint64_t>(c.as.i) ^ prime_1, h ^ prime_2);
}

void append_key(std::string& out, const pl::cell& c) {
  const bool bytes = pl::has_bytes(c);
  const std::uint32_t size = bytes ? c.len : sizeof c.as.i;
  out.push_back(static_cast<char>(c.kind));
  out.append(reinterpret_cast<const char*>(&size), sizeof size);
  if (bytes)
    out += pl::bytes_of(c);
  else
    out.append(reinterpret_cast<const char*>(&c.as.i), sizeof c.as.i);
}

void unpack_key(std::string_view key, std::vector<pl::cell>& to) {
  to.clear();
  while (key.size() >= cell_header) {
    const auto kind = static_cast<unsigned char>(key[0]);
    const auto size = static_cast<std::uint32_t>(load<std::uint32_t>(key.data() + 1));
    pl::cell c = pl::span_cell(kind, key.substr(cell_header, size));
    if (!pl::has_bytes(c)) {
      c.len = 0;
      std::memcpy(&c.as.i, key.data() + cell_header, sizeof c.as.i);
    }
    to.push_back(c);
    key.remove_prefix(cell_header + size);
  }
}

bool is_packed(std::string_view key, std::size_t cells) noexcept {
  for (; cells != 0 && key.size() >= cell_header; --cells) {
    const auto kind = static_cast<unsigned char>(key[0]);
    const auto size = load<std::uint32_t>(key.data() + 1);
    if (kind > PL_JSON || size > key.size() - cell_header) return false;
    const auto bytes = key.substr(cell_header, size);
    if (!pl::has_bytes(pl::span_cell(kind, {})) && size != sizeof(std::int64_t)) return false;
    if (kind == PL_F64 && !std::isfinite(std::bit_cast<double>(load<std::uint64_t>(bytes.data())))) return false;
    if ((kind == PL_TEXT || kind == PL_JSON) && !pl::is_utf8(bytes)) return false;
    key.remove_prefix(cell_header + size);
  }
  return cells == 0 && key.empty();
}

key_table::~key_table() {
  for (const auto& e : table_)
    if (e.node != nullptr) destroy(e.node);
}

void key_table::destroy(key_node* n) noexcept {
  n->~key_node();
  ::operator delete(static_cast<void*>(n));
}

key_node& key_table::insert(std::uint32_t hash, std::string_view key) {
  if ((size_ + 1) * 8 > table_.size() * 7) grow();
  auto* n = new (::operator new(bytes_of(key.size()))) key_node;
  n->hash = hash;
  n->key_size = static_cast<std::uint32_t>(key.size());
  n->slots = slots_;
  for (std::size_t i = 0; i < slots_; ++i) new (&n->slot(i)) reading;
  if (!key.empty()) std::memcpy(const_cast<char*>(n->key().data()), key.data(), key.size());
  place({n, hash});
  ++size_;
  node_bytes_ += bytes_of(key.size());
  return *n;
}

void key_table::place(entry e) noexcept {
  auto at = e.hash & mask();
  while (table_[at].node != nullptr) at = (at + 1) & mask();
  table_[at] = e;
}

void key_table::grow() {
  std::vector<entry> old(table_.size() * 2);
  old.swap(table_);
  for (const auto& e : old)
    if (e.node != nullptr) place(e);
}

// Erase without a tombstone: move entries after the gap into it, if linear probing still finds them there.
void key_table::erase(key_node& n) {
  auto gap = n.hash & mask();
  while (table_[gap].node != &n) gap = (gap + 1) & mask();
  for (auto at = (gap + 1) & mask(); table_[at].node != nullptr; at = (at + 1) & mask()) {
    const auto home = table_[at].hash & mask();
    if (((at - home) & mask()) < ((at - gap) & mask())) continue;
    table_[gap] = table_[at];
    gap = at;
  }
  table_[gap] = {};
  --size_;
  node_bytes_ -= bytes_of(n.key_size);
  destroy(&n);
}

}  // namespace threshold_alert
