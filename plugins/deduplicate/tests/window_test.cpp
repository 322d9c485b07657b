// SPDX-License-Identifier: Apache-2.0
// Tests of the hash, the window and its encoding, without a host.
#include "window.hpp"

#include "codec.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

using namespace deduplicate;

namespace {

constexpr std::int64_t second = 1'000'000'000;
constexpr std::uint32_t plenty = 1'000'000;

// Return a well-distributed identity.
identity id_of(std::uint64_t n) {
  cell_hash hash({1, 2});
  hash.add(n);
  return hash.finish();
}

// A simulated state store.
class store {
 public:
  void take(window& w) {
    w.seal();
    for (const auto number : w.take_removed()) {
      CHECK(slices_.erase(number) == 1);
      ++writes;
    }
    w.for_each_changed([&](const slice& s, std::span<const entry> entries) {
      slices_[s.number] = encode(s, entries);
      ++writes;
    });
  }
  [[nodiscard]] window restored(limits most) const {
    window w(most);
    for (const auto& [number, bytes] : slices_) {
      auto found = decode_slice(number, bytes);
      REQUIRE(found.ok());
      w.restore(found->about, found->entries);
    }
    return w;
  }
  [[nodiscard]] std::size_t size() const { return slices_.size(); }
  int writes = 0;

 private:
  std::map<std::uint64_t, std::string> slices_;
};

std::string hex(const identity& id) {
  std::string text;
  for (const auto word : {id.low, id.high})
    for (int shift = 0; shift < 64; shift += 8) {
      constexpr std::string_view digits = "0123456789ABCDEF";
      text.push_back(digits[word >> (shift + 4) & 15]);
      text.push_back(digits[word >> shift & 15]);
    }
  return text;
}

template <class Hash>
std::string sip_of_counting_bytes(std::size_t n) {
  Hash hash({0x0706050403020100, 0x0f0e0d0c0b0a0908});
  for (std::size_t at = 0; at < n; at += 8) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) word |= std::uint64_t{at + i} << (8 * i);
    hash.add(word);
  }
  hash.add(std::uint64_t{n} << 56);  // the final word of SipHash
  return hex(hash.finish());
}

}  // namespace

TEST_CASE("the hash is SipHash with 128 bits: the values are from OpenSSL") {
  CHECK(sip_of_counting_bytes<sip_hash<2, 4>>(0) == "A3817F04BA25A8E66DF67214C7550293");
  CHECK(sip_of_counting_bytes<sip_hash<2, 4>>(40) == "DF6A301E95C95DAD97AE0CC8C6913BD8");
  CHECK(sip_of_counting_bytes<cell_hash>(0) == "E77EBCB22788A5BEFD62DB6ADD303001");
  CHECK(sip_of_counting_bytes<cell_hash>(8) == "AA12FEE1D5E3DAB4724F16AB35F9C799");
  CHECK(sip_of_counting_bytes<cell_hash>(40) == "505720543EB9B413D50B3CFAD9EEF938");
}

TEST_CASE("different cells, and equal bytes divided differently, have different identities") {
  const auto of = [](const std::vector<pl::cell>& cells) {
    cell_hash hash({7, 8});
    for (const auto& c : cells) add_cell(hash, c);
    return hex(hash.finish());
  };
  const std::vector<std::string> all{of({pl::text_cell("ab"), pl::text_cell("c")}),
                                     of({pl::text_cell("a"), pl::text_cell("bc")}),
                                     of({pl::text_cell("abc"), pl::text_cell("")}),
                                     of({pl::bytes_cell("ab"), pl::bytes_cell("c")}),
                                     of({pl::text_cell(std::string_view("ab\0", 3)), pl::text_cell("c")}),
                                     of({pl::int_cell(1), pl::int_cell(2)}),
                                     of({pl::int_cell(2), pl::int_cell(1)}),
                                     of({pl::real_cell(1), pl::int_cell(2)}),
                                     of({pl::time_cell(1), pl::int_cell(2)}),
                                     of({pl::text_cell("0123456789abcdef"), pl::int_cell(0)}),
                                     of({pl::text_cell("0123456789abcde"), pl::int_cell(0)})};
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(all[i] != all[j]);
  CHECK(of({pl::text_cell("ab")}) == of({pl::text_cell("ab")}));
}

TEST_CASE("the first record is not a duplicate, a record at a later position is") {
  window w({60 * second, plenty});
  w.advance(second);
  CHECK_FALSE(w.seen_before(id_of(1), 10));
  CHECK(w.seen_before(id_of(1), 11));
  CHECK_FALSE(w.seen_before(id_of(2), 12));
  CHECK_FALSE(w.seen_before(id_of(1), 10));  // the same record, read again
  CHECK_FALSE(w.seen_before(id_of(1), 9));   // at an earlier position: now this record is the first
  CHECK(w.seen_before(id_of(1), 10));
}

TEST_CASE("an identity leaves the window by the stream's time, not by the record's own time") {
  window w({64 * second, plenty});
  w.advance(1000 * second);
  CHECK_FALSE(w.seen_before(id_of(1), 1));
  w.advance(10 * second);  // a late record does not advance the window
  CHECK_FALSE(w.seen_before(id_of(2), 2));
  w.advance(1064 * second);
  CHECK(w.seen_before(id_of(1), 3));
  CHECK(w.seen_before(id_of(2), 4));
  w.advance(1064 * second + 1);
  CHECK(w.size() == 0);
  CHECK_FALSE(w.seen_before(id_of(1), 5));
}

TEST_CASE("without a time only the number bounds the window; the first time applies to earlier identities") {
  window w({64 * second, 100});
  for (std::uint64_t i = 0; i < 150; ++i) CHECK_FALSE(w.seen_before(id_of(i), i));
  CHECK(w.size() == 100);
  CHECK(w.take_early() == 50);
  CHECK(w.take_early() == 0);
  CHECK(w.seen_before(id_of(51), 1001));
  CHECK_FALSE(w.seen_before(id_of(49), 1000));
  w.advance(5 * second);
  CHECK(w.size() == 51);
  w.advance(70 * second);
  CHECK(w.size() == 0);
}

TEST_CASE("extreme times do not overflow") {
  window w({10 * second, plenty});
  w.advance(std::numeric_limits<std::int64_t>::min() + 1);
  CHECK_FALSE(w.seen_before(id_of(1), 1));
  w.advance(std::numeric_limits<std::int64_t>::max());
  CHECK_FALSE(w.seen_before(id_of(1), 2));
  CHECK(w.seen_before(id_of(1), 3));
}

// Compares the window with a simple model: a list of all identities, searched linearly.
TEST_CASE("a window contains at least half and at most all of its maximum number of identities") {
  std::mt19937 random(5);
  for (const std::uint32_t most : {2U, 3U, 7U, 63U, 64U, 65U, 128U, 1000U}) {
    window w({3600 * second, most});
    std::deque<std::uint64_t> last;  // newest first
    for (std::uint64_t position = 0; position < 20'000; ++position) {
      const std::uint64_t n = random() % (2 * most + 1);
      w.advance(static_cast<std::int64_t>(position) * second / 100);
      const auto at = static_cast<std::size_t>(std::ranges::find(last, n) - last.begin());
      const bool known = w.seen_before(id_of(n), position);
      if (at < std::min<std::size_t>(most / 2, last.size())) REQUIRE(known);
      if (at == last.size()) REQUIRE_FALSE(known);
      REQUIRE(w.size() <= most);
      if (known) continue;
      if (at != last.size()) last.erase(last.begin() + static_cast<std::ptrdiff_t>(at));
      last.push_front(n);
      if (last.size() > most) last.pop_back();
    }
  }
}

TEST_CASE("a window that keeps advancing stays correct while tables are swapped and emptied") {
  std::mt19937 random(9);
  window w({10 * second, plenty});
  std::deque<std::pair<std::int64_t, std::uint64_t>> last;  // time, n
  for (std::uint64_t position = 0; position < 100'000; ++position) {
    // Time advances fast or slowly, sometimes with a gap.
    const auto now = static_cast<std::int64_t>(position) * second / (position / 10'000 % 2 == 0 ? 1000 : 10) +
                     static_cast<std::int64_t>(position / 20'000) * 100'000 * second;
    const std::uint64_t n = random() % 3000;
    w.advance(now);
    const auto clock = w.clock();
    const auto at = std::ranges::find_if(last, [&](const auto& e) { return e.second == n; });
    const bool known = w.seen_before(id_of(n), position);
    if (at != last.end() && clock - at->first <= 10 * second) REQUIRE(known);
    if (at == last.end() || clock - at->first > 10 * second + 10 * second / 64 + second) REQUIRE_FALSE(known);
    if (known) continue;
    if (at != last.end()) last.erase(at);
    last.emplace_front(clock, n);
    while (clock - last.back().first > 20 * second) last.pop_back();
  }
}

TEST_CASE("a restored window returns the same results as the original window") {
  std::mt19937 random(17);
  for (int round = 0; round < 30; ++round) {
    const limits most{static_cast<std::int64_t>(1 + random() % 100) * second, plenty};
    window alive(most);
    store kept;
    std::uint64_t position = 0;
    const auto feed = [&](window& w, std::uint64_t n, std::uint64_t at) {
      w.advance(static_cast<std::int64_t>(at) * second / 50);
      return w.seen_before(id_of(n), at);
    };
    for (int snapshots = 0; snapshots < 40; ++snapshots) {
      for (auto n = random() % 300; n > 0; --n) (void)feed(alive, random() % 500, position++);
      kept.take(alive);
    }
    CHECK(kept.size() == alive.slices());
    auto again = kept.restored(most);
    // The state contains whole slices, and may include identities of the oldest slice that have left the window.
    CHECK(again.size() >= alive.size());
    CHECK(again.clock() <= alive.clock());
    for (int i = 0; i < 500; ++i, ++position) {
      const std::uint64_t n = random() % 500;
      const bool expected = feed(alive, n, position), found = feed(again, n, position);
      CHECK(found >= expected);
      if (found != expected) break;  // from here on the windows have different contents
    }
  }
}

TEST_CASE("remove_from removes exactly the identities from the position on") {
  window w({3600 * second, plenty});
  store kept;
  for (std::uint64_t i = 0; i < 100; ++i) {
    w.advance(static_cast<std::int64_t>(i) * second);
    CHECK_FALSE(w.seen_before(id_of(i), i));
    if (i % 10 == 0) kept.take(w);
  }
  w.remove_from(55);
  CHECK(w.size() == 55);
  CHECK(w.clock() >= 54 * second);
  CHECK(w.clock() < 54 * second + 3600 * second / 64 + second);
  kept.take(w);
  auto again = kept.restored({3600 * second, plenty});
  for (auto* each : {&w, &again}) {
    CHECK(each->size() == 55);
    for (std::uint64_t i = 0; i < 100; ++i) CHECK(each->seen_before(id_of(i), 1000) == (i < 55));
  }
  window all({3600 * second, plenty});
  (void)all.seen_before(id_of(1), 1);
  all.remove_from(0);
  CHECK(all.size() == 0);
  CHECK_FALSE(all.seen_before(id_of(1), 1));
}

TEST_CASE("many snapshots result in few slices, each of which is written a few times") {
  window w({24 * 3600 * second, plenty});
  store kept;
  std::uint64_t n = 0;
  for (int snapshot = 0; snapshot < 20'000; ++snapshot) {  // every two seconds for eleven hours
    w.advance(snapshot * 2 * second);
    for (int i = 0; i < 3; ++i, ++n) CHECK_FALSE(w.seen_before(id_of(n), n));
    kept.take(w);
    REQUIRE(kept.size() == w.slices());
    REQUIRE(kept.size() < 250);
  }
  CHECK(kept.writes < 20'000 * 3);
  auto again = kept.restored({24 * 3600 * second, plenty});
  CHECK(again.size() == n);
  for (std::uint64_t i = 0; i < n; i += 7) CHECK(again.seen_before(id_of(i), n + 1));
}

TEST_CASE("slices are small enough for a Kafka record") {
  window w({3600 * second, plenty});
  w.advance(second);
  for (std::uint64_t i = 0; i < 200'000; ++i) (void)w.seen_before(id_of(i), i * 1000);
  w.seal();
  std::size_t largest = 0;
  w.for_each_changed(
      [&](const slice& s, std::span<const entry> entries) { largest = std::max(largest, encode(s, entries).size()); });
  CHECK(largest < 700'000);
}

TEST_CASE("decoding returns the encoded slice, and rejects damaged bytes") {
  slice about;
  about.number = 0x0102030405060708;
  about.level = 3;
  about.opened = -5;
  about.newest = 1'700'000'000 * second;
  const std::vector<entry> entries{{id_of(1), 100}, {id_of(2), 101}, {id_of(3), 99}, {id_of(4), ~std::uint64_t{0} - 1}};
  const auto bytes = encode(about, entries);
  const auto found = decode_slice(about.number, bytes);
  REQUIRE(found.ok());
  CHECK(found->about.level == 3);
  CHECK(found->about.opened == -5);
  CHECK(found->about.newest == about.newest);
  REQUIRE(found->entries.size() == entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) {
    CHECK(found->entries[i].id == entries[i].id);
    CHECK(found->entries[i].position == entries[i].position);
  }
  for (std::size_t n = 0; n < bytes.size(); ++n) CHECK_FALSE(decode_slice(1, bytes.substr(0, n)).ok());
  CHECK_FALSE(decode_slice(1, bytes + "x").ok());
  CHECK_FALSE(decode_slice(1, "\2" + bytes.substr(1)).ok());

  const stored_key sample{{5, 6}, 7, UINT32_MAX};
  const auto stored = encode(sample);
  REQUIRE(decode_key(stored).ok());
  CHECK(*decode_key(stored) == sample);
  for (std::size_t n = 0; n < stored.size(); ++n) CHECK_FALSE(decode_key(stored.substr(0, n)).ok());
  CHECK_FALSE(decode_key(stored + "x").ok());
  CHECK(slice_number(slice_name(about.number)) == about.number);
  CHECK_FALSE(slice_number("key"));
  CHECK(slice_name(255) < slice_name(256));
}
