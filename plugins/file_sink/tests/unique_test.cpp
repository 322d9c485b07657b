// SPDX-License-Identifier: Apache-2.0
// Tests of unique_by: rows that are already in the file are not written again.
#include "../line_keys.hpp"

#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using pl::testing::list;
using pl::testing::read_file;
using pl::testing::temp_dir;
using pl::testing::write_file;

namespace {

const pl_component& file_sink() {
  static const pl_plugin* plugin = [] {
    std::string error;
    const auto* p = pl::testing::load_plugin(std::string(std::getenv("PIPELINE_PLUGIN_DIR")) + "/file_sink.so", error);
    REQUIRE_MESSAGE(p != nullptr, error);
    return p;
  }();
  return *pl::testing::find_component(*plugin, "file_sink");
}

// A sink with unique_by: [stream, position], started.
class unique_sink {
 public:
  explicit unique_sink(const std::string& path, pl::testing::config_fields more = {})
      : sink_(host_, file_sink(), options(path, std::move(more))) {
    REQUIRE(sink_.create() == PL_OK);
    REQUIRE(sink_.start() == PL_OK);
  }
  pl_status write(std::string_view stream, const std::vector<std::int64_t>& positions) {
    std::vector<pl::cell> streams(positions.size(), pl::text_cell(stream)), at,
        text(positions.size(), pl::text_cell("x"));
    for (const auto p : positions) at.push_back(pl::int_cell(p));
    auto b = host_.make_batch({{"stream", streams}, {"position", at}, {"value", text}});
    return sink_.write(b.get());
  }
  pl_status write(const std::vector<std::pair<std::string, std::vector<pl::cell>>>& columns) {
    auto b = host_.make_batch(columns);
    return sink_.write(b.get());
  }
  [[nodiscard]] double repeated() const { return host_.sum("file_sink_repeated_total"); }
  [[nodiscard]] pl::testing::fake_host& host() { return host_; }
  [[nodiscard]] std::string logged() const {
    std::string all;
    for (const auto& l : host_.logs()) all += l.message + "\n";
    return all;
  }

 private:
  static pl::testing::config_fields options(const std::string& path, pl::testing::config_fields more) {
    pl::testing::config_fields all{{"path", path}, {"unique_by", list({"stream", "position"})}, {"fsync", "never"}};
    for (auto& m : more) all.push_back(std::move(m));
    return all;
  }
  pl::testing::fake_host host_;
  pl::testing::instance sink_;
};

std::string row(std::string_view stream, std::int64_t position) {
  return "{\"stream\":\"" + std::string(stream) + "\",\"position\":" + std::to_string(position) + ",\"value\":\"x\"}\n";
}

// Count how often each line occurs in the files of a folder.
std::map<std::string, int> lines_in(const fs::path& folder) {
  std::map<std::string, int> lines;
  for (const auto& e : fs::directory_iterator(folder)) {
    std::istringstream in(read_file(e.path().string()));
    for (std::string line; std::getline(in, line);) ++lines[line + "\n"];
  }
  return lines;
}

bool all_once(const std::map<std::string, int>& lines) {
  return std::all_of(lines.begin(), lines.end(), [](const auto& l) { return l.second == 1; });
}

}  // namespace

TEST_CASE("siphash: the authors' test vectors") {
  pl::files::line_key secret;
  for (unsigned i = 0; i < 8; ++i) {
    secret.low |= std::uint64_t{i} << 8 * i;
    secret.high |= std::uint64_t{i + 8} << 8 * i;
  }
  std::string bytes;
  CHECK(pl::files::siphash(bytes, secret) == pl::files::line_key{0xe6a825ba047f81a3ULL, 0x930255c71472f66dULL});
  for (int i = 0; i < 15; ++i) bytes.push_back(static_cast<char>(i));
  CHECK(pl::files::siphash(bytes, secret) == pl::files::line_key{0x11a8b03399e99354ULL, 0xd9c3cf970fec087eULL});
}

TEST_CASE("keys: equal values have the same key in any notation, and different values have different keys") {
  pl::files::line_key_reader reader({{"a", false}, {"b", false}});
  const auto key = [&](std::string_view line) { return reader.read(line); };
  const auto one = key(R"({"a":"x","b":1})");
  REQUIRE(one);
  CHECK(key(R"( { "b" : 1 , "other" : {"a":"y","b":[2]} , "a" : "\u0078" } )") == one);
  CHECK(key(R"({"a":"x","b":1,"a":"x"})") == one);
  for (const auto* other :
       {R"({"a":"x","b":"1"})", R"({"a":"x","b":1.0})", R"({"a":"x","b":true})", R"({"a":1,"b":"x"})",
        R"({"a":["x"],"b":1})", R"({"a":{"x":1},"b":1})", R"({"a":"","b":1})"}) {
    CAPTURE(other);
    REQUIRE(key(other));
    CHECK(key(other) != one);
  }
  CHECK(key(R"({"a":["1",2],"b":1})") != key(R"({"a":["12"],"b":1})"));
  CHECK(key(R"({"a":{"b":null},"b":[]})") == key(R"({"b":[],"a":{ "b" : null }})"));
  for (const auto* none : {R"({"a":"x"})", R"({"a":"x","b":null})", R"({"a":null,"b":null})", "", "{", "x", "[1]", "5",
                           R"(["a","x","b",1])", R"({"a":"x","b":1} trailing)", R"({"a":"x","b":1)"}) {
    CAPTURE(none);
    CHECK_FALSE(key(none));
  }
  // Numbers beyond the range of a double, in other columns and in the key.
  CHECK(key(R"({"a":"x","extra":{"y":[1e400,-1e400,)" + std::string(400, '9') + R"(]},"b":1})") == one);
  CHECK(key(R"({"a":1e400,"b":1})"));
  CHECK(key(R"({"a":1e400,"b":1})") != key(R"({"a":1e401,"b":1})"));
  const std::string deep(200'000, '[');
  CHECK(key(R"({"a":"x","other":)" + deep + std::string(200'000, ']') + R"(,"b":1})") == one);
  CHECK_FALSE(key(deep));
  CHECK_FALSE(key("{\"a\":" + deep));
}

TEST_CASE("repeated rows are dropped: in one write, in the next, and after a restart") {
  temp_dir dir;
  {
    unique_sink sink(dir / "out.ndjson");
    REQUIRE(sink.write("s/0", {1, 2, 1}) == PL_OK);
    REQUIRE(sink.write("s/0", {2, 3}) == PL_OK);
    REQUIRE(sink.write("s/0", {3, 2, 1}) == PL_OK);
    REQUIRE(sink.write("s/1", {3}) == PL_OK);
    CHECK(sink.repeated() == 5);
    CHECK(sink.host().sum("file_sink_bytes_total") == static_cast<double>(read_file(dir / "out.ndjson").size()));
  }
  unique_sink again(dir / "out.ndjson");
  REQUIRE(again.write("s/0", {1, 2, 3, 4}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s/0", 1) + row("s/0", 2) + row("s/0", 3) + row("s/1", 3) + row("s/0", 4));
  CHECK(again.repeated() == 3);
}

TEST_CASE("rows without a value in one of the columns are always written, with a warning if the column is missing") {
  temp_dir dir;
  unique_sink sink(dir / "out.ndjson");
  for (int i = 0; i < 2; ++i) {
    REQUIRE(sink.write({{"stream", {pl::text_cell("s")}}, {"position", {pl::null_cell()}}}) == PL_OK);
    REQUIRE(sink.write({{"stream", {pl::null_cell()}}, {"position", {pl::null_cell()}}}) == PL_OK);
  }
  CHECK(sink.logged().empty());
  for (int i = 0; i < 2; ++i) REQUIRE(sink.write({{"strem", {pl::text_cell("s")}}}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") ==
        "{\"stream\":\"s\"}\n{}\n{\"stream\":\"s\"}\n{}\n{\"strem\":\"s\"}\n{\"strem\":\"s\"}\n");
  CHECK(sink.repeated() == 0);
  CHECK(sink.logged().find("the input has no column 'stream', so rows cannot be identified; its columns are: strem") !=
        std::string::npos);
}

TEST_CASE("lines that are not JSON, and a torn last line, are ignored") {
  temp_dir dir;
  write_file(dir / "out.ndjson",
             "hello\n" + row("s", 1) + "{\"stream\":\"s\",\"position\":2\n" + row("s", 3).substr(0, 20));
  unique_sink sink(dir / "out.ndjson");
  REQUIRE(sink.write("s", {1, 2, 3}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") ==
        "hello\n" + row("s", 1) + "{\"stream\":\"s\",\"position\":2\n" + row("s", 2) + row("s", 3));
}

TEST_CASE("a row whose line was torn by another writer is written") {
  temp_dir dir;
  unique_sink sink(dir / "out.ndjson");
  REQUIRE(sink.write("s", {1}) == PL_OK);
  write_file(dir / "out.ndjson", row("s", 2).substr(0, 30), true);
  REQUIRE(sink.write("s", {1, 2}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s", 1) + row("s", 2));
}

TEST_CASE("two instances that share a file see each other's lines") {
  temp_dir dir;
  unique_sink first(dir / "out.ndjson"), second(dir / "out.ndjson");
  REQUIRE(first.write("s", {1, 2}) == PL_OK);
  REQUIRE(second.write("s", {2, 3}) == PL_OK);
  REQUIRE(first.write("s", {3, 4, 1}) == PL_OK);
  REQUIRE(second.write("s", {1, 2, 3, 4}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s", 1) + row("s", 2) + row("s", 3) + row("s", 4));
  CHECK(first.repeated() + second.repeated() == 7);
}

TEST_CASE("rows in rotated files are found, also after a rotation by another writer and after a restart") {
  temp_dir dir;
  const pl::testing::config_fields rotate{{"rotate", pl::testing::object({{"max_size", 100}})}};
  {
    unique_sink first(dir / "out.ndjson", rotate), second(dir / "out.ndjson", rotate);
    for (std::int64_t p = 0; p < 30; ++p) {
      REQUIRE(first.write("s", {p, p + 1}) == PL_OK);
      if (p % 7 == 0) REQUIRE(second.write("s", {p, p / 2, 0}) == PL_OK);
    }
    REQUIRE(second.write("s", {0, 7, 29, 30}) == PL_OK);
  }
  unique_sink again(dir / "out.ndjson", rotate);
  for (std::int64_t p = 0; p < 31; ++p) REQUIRE(again.write("s", {p}) == PL_OK);
  CHECK(again.repeated() == 31);
  const auto lines = lines_in(dir.path());
  CHECK(lines.size() == 31);
  CHECK(all_once(lines));
  CHECK(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()) > 10);
}

TEST_CASE("rows of a deleted file are written again") {
  temp_dir dir;
  const pl::testing::config_fields rotate{{"rotate", pl::testing::object({{"max_size", 50}, {"max_files", 2}})}};
  unique_sink sink(dir / "out.ndjson", rotate);
  for (const std::int64_t p : {1, 2, 3, 4}) REQUIRE(sink.write("s", {p}) == PL_OK);  // one line per file; 1 is deleted
  REQUIRE(sink.write("s", {2, 3, 4}) == PL_OK);
  CHECK(sink.repeated() == 3);
  REQUIRE(sink.write("s", {1}) == PL_OK);
  CHECK(sink.repeated() == 3);
  CHECK(lines_in(dir.path()) == std::map<std::string, int>{{row("s", 1), 1}, {row("s", 3), 1}, {row("s", 4), 1}});
}

TEST_CASE("after a file is replaced, only the lines of the new file count") {
  temp_dir dir;
  unique_sink sink(dir / "out.ndjson");
  REQUIRE(sink.write("s", {1, 2, 3}) == PL_OK);
  write_file(dir / "new", row("s", 2));  // as `dead-letters retry` does: rewritten without the retried lines
  fs::rename(dir / "new", dir / "out.ndjson");
  REQUIRE(sink.write("s", {1, 2}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s", 2) + row("s", 1));

  fs::resize_file(dir / "out.ndjson", row("s", 2).size());  // truncated by another program
  REQUIRE(sink.write("s", {1, 2}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s", 2) + row("s", 1));

  fs::remove(dir / "out.ndjson");
  REQUIRE(sink.write("s", {1, 2}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s", 1) + row("s", 2));
}

TEST_CASE("a file that logrotate has renamed still counts") {
  temp_dir dir;
  unique_sink sink(dir / "out.ndjson");
  REQUIRE(sink.write("s", {1}) == PL_OK);
  write_file(dir / "out.ndjson", row("s", 2), true);
  fs::rename(dir / "out.ndjson", dir / "out.ndjson.1");
  REQUIRE(sink.write("s", {1, 2, 3}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s", 3));
}

TEST_CASE("after a failed write, all missing rows are written") {
  temp_dir dir;
  unique_sink sink(dir / "out.ndjson");
  REQUIRE(sink.write("s", {1}) == PL_OK);
  auto* old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit limit{row("s", 1).size() * 2 + 5, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  CHECK(sink.write("s", {1, 2, 3}) == PL_RETRY);
  CHECK(sink.write("s", {1, 2, 3}) == PL_RETRY);
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  CHECK(read_file(dir / "out.ndjson") == row("s", 1));
  CHECK(sink.repeated() == 0);
  REQUIRE(sink.write("s", {1, 2, 3}) == PL_OK);
  CHECK(read_file(dir / "out.ndjson") == row("s", 1) + row("s", 2) + row("s", 3));
  CHECK(sink.repeated() == 1);
}

TEST_CASE("processes that write the same rows to one file, rotate it and are killed store each row once") {
  temp_dir dir;
  constexpr std::int64_t rows = 1500;
  std::vector<pid_t> children;
  const auto work = [&](int number) {
    unique_sink sink(dir / "out.ndjson", {{"rotate", pl::testing::object({{"max_size", 4096}})}});
    for (std::int64_t p = 0; p < rows; p += 3)
      while (sink.write("s", {(p + number) % rows, (p + 1) % rows, (p + 2) % rows, p}) != PL_OK) {
      }
  };
  for (int c = 0; c < 3; ++c) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      work(c);
      ::_exit(0);
    }
    children.push_back(child);
  }
  while (!fs::exists(dir / "out.ndjson")) ::usleep(100);
  ::usleep(20'000);
  ::kill(children.back(), SIGKILL);
  for (const auto child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
  }
  work(0);
  const auto lines = lines_in(dir.path());
  CHECK(lines.size() == rows);
  CHECK(all_once(lines));
}

TEST_CASE("a million lines are read in bounded time and memory") {
  temp_dir dir;
  constexpr std::int64_t rows = 1'000'000;
  {
    std::ofstream out(dir / "out.ndjson");
    for (std::int64_t p = 0; p < rows; ++p)
      out << R"({"time":"2026-11-24T18:10:23.5Z","pipeline":"iot","node":"parsed","reason":"'temperature' is not a number",)"
          << R"("stream":"s","position":)" << p << R"(,"value":"{\"device_id\":\"d\",\"temperature\":\"hot\"}"})"
          << '\n';
  }
  rusage before{};
  ::getrusage(RUSAGE_SELF, &before);
  unique_sink sink(dir / "out.ndjson");
  const auto began = std::chrono::steady_clock::now();
  REQUIRE(sink.write("s", {0, rows / 2, rows - 1, rows}) == PL_OK);
  const auto took = std::chrono::steady_clock::now() - began;
  rusage after{};
  ::getrusage(RUSAGE_SELF, &after);
  MESSAGE(rows << " lines (" << (fs::file_size(dir / "out.ndjson") >> 20U) << " MiB) read in " << took / 1ms << " ms, "
               << (after.ru_maxrss - before.ru_maxrss) / 1024 << " MiB more memory");
  CHECK(sink.repeated() == 3);
  CHECK(took < 240s);
  const auto next = std::chrono::steady_clock::now();
  REQUIRE(sink.write("s", {rows, rows + 1}) == PL_OK);
  CHECK(std::chrono::steady_clock::now() - next < took / 2);  // not read again
}

TEST_CASE("missing columns are reported before the first write, and invalid names are rejected") {
  temp_dir dir;
  pl::testing::fake_host host;
  pl::testing::instance sink(host, file_sink(), {{"path", dir / "out"}, {"unique_by", list({"stream", "positon"})}});
  REQUIRE(sink.create() == PL_OK);
  const auto* columns =
      static_cast<const pl_ext_columns*>(file_sink().extension(sink.self(), pl::borrow(PL_EXT_COLUMNS)));
  REQUIRE(columns != nullptr);
  const auto b = host.make_batch({{"stream", {}}, {"position", {}}});
  const pl_schema* out = nullptr;
  CHECK(pl::testing::ask_columns(*columns, sink.self(), &b.get().schema(), 0, out) == PL_FATAL);
  CHECK(host.error_text() ==
        "unique_by[1]: the input has no column 'positon', so rows cannot be identified; its columns are: stream, "
        "position");

  const auto refused = [&](const pl::testing::config_value& names) {
    pl::testing::fake_host other;
    pl::testing::instance bad(other, file_sink(), {{"path", dir / "out"}, {"unique_by", names}});
    CHECK(bad.create() == PL_FATAL);
    return other.error_text();
  };
  CHECK(refused(list({"a", ""})) == "unique_by[1]: the name of a column is empty");
  CHECK(refused(list({"a", "b", "a"})) == "unique_by[2]: 'a' occurs twice");
}

TEST_CASE("an optional column: no value counts as a value") {
  temp_dir dir;
  pl::testing::fake_host host;
  pl::testing::instance sink(
      host, file_sink(),
      {{"path", dir / "out"}, {"unique_by", list({"position"})}, {"unique_by_optional", list({"record"})}});
  REQUIRE(sink.create() == PL_OK);
  REQUIRE(sink.start() == PL_OK);
  using pl::int_cell;
  using pl::json_cell;
  const auto b = host.make_batch(
      {{"position",
        {int_cell(1), int_cell(1), int_cell(1), int_cell(1), int_cell(2), pl::null_cell(), pl::null_cell()}},
       {"record",
        {pl::null_cell(), json_cell("{\"a\":1}"), json_cell("{\"a\":2}"), json_cell("{\"a\":1}"), pl::null_cell(),
         pl::null_cell(), pl::null_cell()}}});
  for (int again = 0; again < 2; ++again) REQUIRE(sink.write(b.get()) == PL_OK);
  CHECK(pl::testing::read_file(dir / "out") ==
        "{\"position\":1}\n{\"position\":1,\"record\":{\"a\":1}}\n{\"position\":1,\"record\":{\"a\":2}}\n"
        "{\"position\":2}\n{}\n{}\n{}\n{}\n");
  const auto other = host.make_batch({{"position", {int_cell(2)}}});  // without the column
  REQUIRE(sink.write(other.get()) == PL_OK);
  CHECK(pl::testing::read_file(dir / "out").ends_with("{}\n"));
  CHECK(host.logs().size() <= 1);  // what was read, no warning
}

TEST_CASE("conformance with unique_by") {
  temp_dir dir;
  for (const auto& p : pl::testing::check_life(
           file_sink(), {{"path", dir / "out"}, {"fsync", "never"}, {"unique_by", list({"stream", "position"})}}))
    FAIL_CHECK(p);
}
