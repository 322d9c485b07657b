// SPDX-License-Identifier: Apache-2.0
// The records of a request in the spool: what they share is stored in the first and the last one.
#include "../record.hpp"
#include "running.hpp"

#include <pipeline/text.hpp>

#include <spool_common/segment.hpp>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

namespace fs = std::filesystem;
using namespace http::testing;

namespace {

using texts = std::vector<std::string>;

const config_fields options{{"path", "/devices/{device_id}"},
                            {"headers", pl::testing::object({{"tenant", "X-Tenant"}})}};

std::string request_of(int first, int records, const std::string& device) {
  std::string lines;
  for (int i = 0; i < records; ++i) lines += std::to_string(first + i) + "\n";
  return post(lines, "Content-Type: application/x-ndjson\r\nX-Tenant: acme\r\nIdempotency-Key: k\r\n",
              "/devices/" + device);
}

// Return a row without its time as text: value, device, tenant, topic, id.
std::string text_of(row r) {
  return r["value"] + " " + r["device_id"] + " " + r["tenant"] + " " + r["topic"] + " " + r["remote"] + " " + r["id"];
}

std::string id_of(const std::string& path, std::size_t place) { return http::hex(http::id_by_key(path, "k", place)); }

texts expected(int first, int records, const std::string& device, int from = 0) {
  texts all;
  for (int i = from; i < records; ++i)
    all.push_back(std::to_string(first + i) + " " + device + " acme /devices/" + device + " 127.0.0.1 " +
                  id_of("/devices/" + device, static_cast<std::size_t>(i)));
  return all;
}

texts row_texts(running& s) {
  texts all;
  for (auto& r : s.rows()) all.push_back(text_of(r));
  return all;
}

std::vector<fs::path> spool_files(const std::string& state) {
  std::vector<fs::path> all;
  for (const auto& e : fs::recursive_directory_iterator(state))
    if (e.path().extension() == ".spool") all.push_back(e.path());
  std::ranges::sort(all);
  return all;
}

// Stop the source, change the files of its spool, and start it again.
void restart(
    running& s, const std::function<void()>& change = [] {}) {
  REQUIRE(s.source->stop() == PL_OK);
  s.source.reset();
  change();
  s.start(options);
}

// Return the offset of each record in a file of the spool.
std::vector<std::size_t> offsets_in(std::string_view bytes) {
  std::vector<std::size_t> all;
  for (std::size_t at = spool::segment_header; at + spool::record_header <= bytes.size();) {
    std::uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at, sizeof length);
    all.push_back(at);
    at += spool::record_header + length;
  }
  return all;
}

// Flip a bit in the last byte of each of these records.
void damage(const std::string& state, const std::vector<std::size_t>& records) {
  const auto file = spool_files(state).front();
  auto bytes = pl::testing::read_file(file);
  auto ends = offsets_in(bytes);
  ends.push_back(bytes.size());
  for (const auto n : records) bytes[ends[n + 1] - 1] = static_cast<char>(bytes[ends[n + 1] - 1] ^ 1);
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

bool logged(running& s, std::string_view text) {
  const auto& logs = s.host.logs();
  return std::ranges::any_of(logs, [&](const auto& l) { return l.message.find(text) != std::string::npos; });
}

}  // namespace

TEST_CASE("a request's path and headers take the room of two copies, whatever its number of records") {
  // The request of 15.7 KB (gzip) that made 132 MB of spool: 10,000 records and a path of 13.5 KB.
  const std::string path(13'500, 'p');
  const http::record_start start(0, path, "127.0.0.1", {{"tenant", "acme"}});
  CHECK(start.whole() * 10'000 > 135'000'000);
  CHECK(start.total(10'000) == 2 * start.whole() + 9'998 * 25);
  CHECK(start.total(10'000) < 300'000);
  for (const std::size_t count : {1U, 2U, 3U, 50U}) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
      const auto before = text.size();
      start.append(text, http::id_by_key("/p", "k", i), i, count);
      CHECK(text.size() - before == start.size(i, count));
    }
    CHECK(text.size() == start.total(count));
  }
}

TEST_CASE("the parts of a request are decoded with the start of a whole record") {
  const http::record_start start(17, "/devices/d", "::1", {{"tenant", "acme"}, {"", ""}});
  const std::string payload("\xFF\0x", 3);
  std::string first, part;
  start.append(first, http::id_by_key("/p", "k", 0), 0, 9);
  start.append(part, http::id_by_key("/p", "k", 3), 3, 9);
  CHECK(http::start_of(first + payload).size == first.size());
  CHECK(http::start_of(first + payload).back == 0);
  CHECK(http::start_of(part + payload).back == 3);
  CHECK(http::start_of(part + payload).ahead == 5);
  http::stored_record found;
  REQUIRE(http::decode(part + payload, first, found));
  CHECK(found.time_ns == 17);
  CHECK(http::hex(found.id) == http::hex(http::id_by_key("/p", "k", 3)));
  CHECK(found.path == "/devices/d");
  CHECK(found.remote == "::1");
  CHECK(found.values == std::vector<http::named_value>{{"tenant", "acme"}, {"", ""}});
  // Cut at any byte, neither is accepted with other content.
  for (std::size_t size = 0; size < first.size(); ++size) {
    CHECK(http::start_of(first.substr(0, size)).size == 0);
    CHECK_FALSE(http::decode(first.substr(0, size), {}, found));
    CHECK_FALSE(http::decode(part, first.substr(0, size), found));
  }
  for (std::size_t size = 0; size < part.size(); ++size) CHECK_FALSE(http::decode(part.substr(0, size), first, found));
}

TEST_CASE("the records of a request have its path and headers, in whatever batches they are read") {
  running s(options);
  CHECK(s.ask(request_of(0, 5, "a")).status == 200);
  CHECK(s.ask(request_of(5, 1, "b")).status == 200);
  CHECK(s.ask(request_of(6, 2, "c")).status == 200);
  CHECK(s.ask(request_of(8, 4, "d")).status == 200);
  auto all = expected(0, 5, "a");
  for (const auto& more : {expected(5, 1, "b"), expected(6, 2, "c"), expected(8, 4, "d")})
    all.insert(all.end(), more.begin(), more.end());
  CHECK(row_texts(s) == all);
  for (std::uint32_t rows = 1; rows <= all.size(); ++rows) {
    CAPTURE(rows);
    restart(s);
    texts found;
    pl::batch b;
    while (s.source->poll(b, rows, 1 << 20, 0ns) == PL_OK) {
      const auto view = b.get();
      for (const auto r : view.selection()) {
        row one;
        for (pl::column_index c = 0; c < view.columns(); ++c)
          if (!pl::is_null(view.at(c, r))) one[std::string(view.name(c))] = pl::bytes_of(view.at(c, r));
        found.push_back(text_of(one));
      }
      b = {};
    }
    CHECK(found == all);
  }
}

TEST_CASE("the rows of a request share the memory of its path and headers, which count for each row") {
  running s(options);
  const std::string device(250, 'd');
  CHECK(s.ask(request_of(0, 1000, device)).status == 200);
  pl::batch b;
  REQUIRE(s.source->poll(b, 1000, 1 << 20, 0ns) == PL_OK);
  const auto view = b.get();
  REQUIRE(view.rows() == 1000);
  for (const auto* name : {"topic", "remote", "device_id", "tenant"}) {
    CAPTURE(name);
    const auto c = *view.find(name);
    CHECK(pl::bytes_of(view.at(c, 0)).data() == pl::bytes_of(view.at(c, 998)).data());
  }
  restart(s);
  REQUIRE(s.source->poll(b, 1000, 20'000, 0ns) == PL_OK);
  CHECK(b.get().rows() > 50);
  CHECK(b.get().rows() < 100);
}

TEST_CASE("reading continues in the middle of a request, and its file is kept until all of its records are settled") {
  running s({options[0], options[1], {"spool", pl::testing::object({{"max_bytes", pl::byte_size{4 << 20}}})}});
  CHECK(s.ask(request_of(0, 10, "a")).status == 200);
  const auto first = spool_files(s.state).front();
  const auto settle = [&](std::uint64_t next) { s.source->settle(s.host.assigned_streams().front(), 0, next); };
  // Records of other requests begin a new file after 1 MiB.
  const auto filler = post("\"" + std::string(150'000, 'x') + "\"", "", "/devices/f");
  for (int i = 0; i < 20 && spool_files(s.state).size() < 2; ++i) CHECK(s.ask(filler).status == 200);
  const auto all = s.rows().size();
  settle(4);
  CHECK(spool_files(s.state).size() == 2);
  restart(s);
  auto rows = row_texts(s);
  REQUIRE(rows.size() == all - 4);
  rows.resize(6);
  CHECK(rows == expected(0, 10, "a", 4));
  CHECK_FALSE(logged(s, "LOST"));
  settle(9);
  CHECK(fs::exists(first));
  settle(all);
  CHECK_FALSE(fs::exists(first));
}

TEST_CASE("a damaged record of a request costs this record, also if it is the first") {
  for (const std::size_t victim : {0U, 3U, 6U, 9U})
    for (const std::uint64_t settled : {0U, 4U}) {
      CAPTURE(victim);
      CAPTURE(settled);
      running s(options);
      CHECK(s.ask(request_of(0, 10, "a")).status == 200);
      CHECK(s.rows().size() == 10);
      s.source->settle(s.host.assigned_streams().front(), 0, settled);
      restart(s, [&] { damage(s.state, {victim}); });
      auto left = expected(0, 10, "a", static_cast<int>(settled));
      if (victim >= settled) left.erase(left.begin() + static_cast<std::ptrdiff_t>(victim - settled));
      CHECK(row_texts(s) == left);
      CHECK(logged(s, "LOST: record " + std::to_string(victim) + " cannot be read") == (victim >= settled));
    }
}

TEST_CASE("records whose path and headers are damaged in both copies are reported, counted and kept aside") {
  running s(options);
  CHECK(s.ask(request_of(0, 10, "a")).status == 200);
  CHECK(s.ask(request_of(10, 3, "b")).status == 200);
  restart(s, [&] { damage(s.state, {0, 9}); });
  CHECK(row_texts(s) == expected(10, 3, "b"));
  CHECK(logged(s, "LOST: records 1 to 8 (8 records) cannot be delivered"));
  (void)s.rows();  // a poll, which counts
  CHECK(s.host.sum("spool_damaged_total") == 10);
  const auto aside = spool_files(s.state).front().parent_path() / "incomplete.1.damaged";
  const auto bytes = pl::testing::read_file(aside);
  for (int i = 1; i <= 8; ++i) CHECK(bytes.find(std::to_string(i) + "\n") != std::string::npos);
}

TEST_CASE("after a crash in the middle of a request, the records that were written are complete") {
  running s(options);
  CHECK(s.ask(request_of(0, 10, "a")).status == 200);
  REQUIRE(s.source->stop() == PL_OK);
  s.source.reset();
  const auto file = spool_files(s.state).front();
  const auto whole = pl::testing::read_file(file);
  const auto at = offsets_in(whole);
  for (const std::size_t records : {0U, 1U, 2U, 5U, 9U}) {
    CAPTURE(records);
    std::ofstream(file, std::ios::binary | std::ios::trunc) << whole.substr(0, at[records] + 5);
    fs::remove(file.parent_path() / "settled");  // a killed process has not stored the end of the log
    s.start(options);
    CHECK(s.ask(request_of(20, 3, "b")).status == 200);
    auto left = expected(0, 10, "a");
    left.resize(records);
    for (auto& more : expected(20, 3, "b")) left.push_back(more);
    CHECK(row_texts(s) == left);
    CHECK_FALSE(logged(s, "LOST"));
    REQUIRE(s.source->stop() == PL_OK);
    s.source.reset();
  }
}

TEST_CASE("an adopted spool is read from the middle of a request, beside the source's own") {
  running s(options);
  CHECK(s.ask(request_of(0, 6, "a")).status == 200);
  CHECK(s.rows().size() == 6);
  s.source->settle(s.host.assigned_streams().front(), 0, 2);
  restart(s, [&] {
    const auto folder = spool_files(s.state).front().parent_path();
    fs::rename(folder, folder.parent_path() / "1");  // as `spools adopt` does
  });
  CHECK(s.ask(request_of(6, 4, "b")).status == 200);
  auto all = expected(0, 6, "a", 2);
  for (auto& more : expected(6, 4, "b")) all.push_back(more);
  auto found = row_texts(s);
  std::ranges::sort(all);
  std::ranges::sort(found);
  CHECK(found == all);
}

TEST_CASE("a spool that an earlier version wrote is read: each record had the path and headers") {
  // Written by the version before: a request of four records with a key and a header, and one of raw bytes.
  const auto bytes = pl::from_hex(
      "504c53504f4f4c31000000000000000048000000dff6181801bf876bc31599ec18221de7af6886a20c18110fe4673b1b4e0e"
      "0009012f646576696365732f64253230313132372e302e302e3106040074656e616e7461636d657b2261223a317d48000000"
      "f097ea0701bf876bc31599ec18ffca3228ece532868def7fba3734fc740e0009012f646576696365732f6425323031313237"
      "2e302e302e3106040074656e616e7461636d657b2261223a327d4800000087da19ef01bf876bc31599ec18c35c195585306f"
      "33b18a6a96578ee3e80e0009012f646576696365732f64253230313132372e302e302e3106040074656e616e7461636d657b"
      "2261223a337d4800000099d597b401bf876bc31599ec18740f78659dc7012d80d6b9a4e7e4efed0e0009012f646576696365"
      "732f64253230313132372e302e302e3106040074656e616e7461636d657b2261223a347d34000000e3c4070c01f1bd8fc515"
      "99ec18c239020fecbadaf0d6c737b1aa565f780b0009002f646576696365732f64323132372e302e302e31726177");
  REQUIRE(bytes);
  running s(options);
  restart(s, [&] {
    const auto file = spool_files(s.state).front();
    std::ofstream(file, std::ios::binary | std::ios::trunc) << *bytes;
    fs::remove(file.parent_path() / "settled");
  });
  auto rows = s.rows();
  REQUIRE(rows.size() == 5);
  for (int i = 0; i < 4; ++i) {
    auto& r = rows[static_cast<std::size_t>(i)];
    CHECK(r["value"] == "{\"a\":" + std::to_string(i + 1) + "}");
    CHECK(r["device_id"] == "d 1");
    CHECK(r["tenant"] == "acme");
    CHECK(r["id"] == http::hex(http::id_by_key("/devices/d%201", "k1", static_cast<std::size_t>(i))));
  }
  CHECK(rows[0]["id"] == "221de7af6886a20c18110fe4673b1b4e");
  CHECK(rows[4]["value"] == "raw");
  CHECK(rows[4]["topic"] == "/devices/d2");
  CHECK(!rows[4].contains("tenant"));
  CHECK_FALSE(logged(s, "LOST"));
  // New records follow the old ones.
  CHECK(s.ask(request_of(0, 4, "n")).status == 200);
  CHECK(row_texts(s) == expected(0, 4, "n"));
}
