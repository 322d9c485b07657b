// SPDX-License-Identifier: Apache-2.0
// Dead letters that the dead-letter sink rejects: they are made smaller, and in the end written to a local file.
#include "engine/local_letters.hpp"
#include "engine/shortened_letter.hpp"
#include "engine/testing/test_components.hpp"
#include "engine/testing/test_host.hpp"

#include <pipeline/plugin.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace pl;
using namespace pl::engine;
using namespace pl::engine::test;

namespace {

namespace fs = std::filesystem;

class scratch {
 public:
  scratch() {
    std::string path = (fs::temp_directory_path() / "letters_test.XXXXXX").string();
    REQUIRE(mkdtemp(path.data()) != nullptr);
    path_ = path;
  }
  scratch(const scratch&) = delete;
  scratch& operator=(const scratch&) = delete;
  ~scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// What the dead-letter sink accepts, how it rejects the rest, and the dead letters that it stored.
struct picky {
  enum class rejects { by_name_written, by_name_nothing_written, without_naming } how = rejects::by_name_written;
  std::function<bool(batch_view, row_index)> accepts;
  struct letter {
    std::string stream;
    std::uint64_t position;
    bool has_value;
    std::string reason, record;
  };
  std::vector<letter> stored;  // by the one writer; read after the run
};
picky* current = nullptr;  // options are text, so a test passes this beside them

std::string text_of(batch_view b, row_index row, std::string_view column) {
  const auto& c = b.at(*b.find(column), row);
  return is_null(c) ? std::string() : std::string(bytes_of(c));
}

class picky_dead final : public pl::sink {
 public:
  struct options {
    static option_table<options> table() { return {}; }
  };
  static pl::description describe() {
    return {.name = "picky_dead", .doc = "Rejects some dead letters.", .example = "plugin: picky_dead"};
  }
  picky_dead(const options&, pl::context ctx) : ctx_(ctx) {}
  pl::result<void> write(const pl::batch_list& batches) override {
    std::vector<picky::letter> accepted;
    std::uint64_t rejected = 0;
    for (auto b : batches)
      for (const auto row : b.selection()) {
        if (current->accepts(b, row)) {
          accepted.push_back({std::string(b.stream(row)), b.position(row), !is_null(b.at(*b.find("value"), row)),
                              text_of(b, row, "reason"), text_of(b, row, "record")});
          continue;
        }
        ++rejected;
        if (current->how != picky::rejects::without_naming) ctx_.reject(b, row, "too large for this sink");
      }
    if (rejected != 0 && current->how != picky::rejects::by_name_written) return pl::rejected("too large");
    current->stored.insert(current->stored.end(), accepted.begin(), accepted.end());
    return {};
  }

 private:
  pl::context ctx_;
};

const pl_plugin& picky_plugin() {
  static const pl_plugin plugin = pl::detail::make_plugin<picky_dead>("1.0.0");
  return plugin;
}

std::string yaml(const fs::path& state) {
  return "name: t\nhttp: {listen: off}\nstate_dir: '" + state.string() +
         "'\nsources:\n  in: {plugin: test_source, stage: s}\n"
         "transforms:\n  mid: {plugin: test_transform, from: in, stage: s}\n"
         "sinks:\n  out: {plugin: test_sink, from: mid, stage: s, batch: {delay: 1ms}}\n"
         "dead_letters: {plugin: picky_dead, batch: {delay: 1ms}}\n";
}

std::vector<std::string> lines_of(const fs::path& file) {
  std::ifstream in(file);
  std::vector<std::string> all;
  for (std::string line; std::getline(in, line);) all.push_back(line);
  return all;
}

bool shortened(batch_view b, row_index row) { return parse_shortened(text_of(b, row, "record")).has_value(); }
bool has_value(batch_view b, row_index row) { return !is_null(b.at(*b.find("value"), row)); }

struct outcome {
  picky sink;
  std::vector<std::string> local;
  std::uint64_t settled = 0;
  std::string failure;
};

outcome run(picky::rejects how, std::function<bool(batch_view, row_index)> accepts) {
  test_host h;
  h.add(picky_plugin());
  scratch state;
  outcome o;
  o.sink.how = how;
  o.sink.accepts = std::move(accepts);
  current = &o.sink;
  const auto s = new_stage("s");
  s->reject_in_apply = [](std::string_view text) { return text.ends_with("7"); };
  auto p = h.build(yaml(state.path()));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] {
    p->supervise();
    return p->ended();
  }));
  p->join();
  CHECK(s->stored.size() == 900);
  o.settled = s->settled_of("s/0");
  o.failure = p->failure();
  o.local = lines_of(local_letters_file(state.path(), "t"));
  current = nullptr;
  return o;
}

constexpr auto ways = {picky::rejects::by_name_written, picky::rejects::by_name_nothing_written,
                       picky::rejects::without_naming};

}  // namespace

TEST_CASE("a dead letter that its sink rejects is written with less content, and the pipeline continues") {
  for (const auto how : ways) {
    const auto cut = run(how, shortened);
    CHECK(cut.failure.empty());
    CHECK(cut.settled == 1000);
    CHECK(cut.local.empty());
    REQUIRE(cut.sink.stored.size() == 100);
    for (const auto& l : cut.sink.stored) {
      CHECK(l.stream == "s/0");
      CHECK(l.position % 10 == 7);
      CHECK(l.has_value);
      CHECK(l.reason.starts_with("the test rejects it; shortened"));
      CHECK(l.reason.find("too large") != std::string::npos);
    }
  }
}

TEST_CASE("a dead letter that is still rejected is written without its value, whose length and hash it has") {
  for (const auto how : ways) {
    const auto bare = run(how, [](batch_view b, row_index row) { return !has_value(b, row); });
    CHECK(bare.failure.empty());
    CHECK(bare.settled == 1000);
    REQUIRE(bare.sink.stored.size() == 100);
    for (const auto& l : bare.sink.stored) {
      const auto value = l.stream + ":" + std::to_string(l.position);
      const auto parts = parse_shortened(l.record);
      REQUIRE(parts.has_value());
      REQUIRE(parts->size() == 1);
      CHECK(parts->front().name == "value");
      CHECK(parts->front().bytes == value.size());
      CHECK(parts->front().sha256 == sha256_of(value));
      CHECK(l.reason.find(parts->front().sha256) != std::string::npos);
    }
  }
}

TEST_CASE(
    "a dead letter that its sink rejects in any form is in the local file, complete, and the pipeline continues") {
  for (const auto how : ways) {
    const auto local = run(how, [](batch_view, row_index) { return false; });
    CHECK(local.failure.empty());
    CHECK(local.settled == 1000);
    CHECK(local.sink.stored.empty());
    REQUIRE(local.local.size() == 100);
    for (std::size_t i = 0; i < 100; ++i) {
      const auto position = std::to_string(i * 10 + 7);
      CHECK(local.local[i].find(R"("position":)" + position + ",") != std::string::npos);
      CHECK(local.local[i].find(R"("value":"s/0:)" + position + '"') != std::string::npos);
      CHECK(local.local[i].find(R"("reason":"the test rejects it")") != std::string::npos);
    }
  }
}

TEST_CASE("the pipeline stops only if the local file cannot be written either") {
  test_host h;
  h.add(picky_plugin());
  scratch state;
  picky none;
  none.accepts = [](batch_view, row_index) { return false; };
  current = &none;
  fs::create_directories(local_letters_file(state.path(), "t"));  // a folder in its place
  const auto s = new_stage("s");
  s->reject_in_apply = [](std::string_view text) { return text == "s/0:500"; };
  auto p = h.build(yaml(state.path()));
  REQUIRE_MESSAGE(p, h.problems);
  p->start();
  REQUIRE(eventually([&] {
    p->supervise();
    return p->ended();
  }));
  p->join();
  CHECK(p->failure().find("cannot write") != std::string::npos);
  CHECK(s->settled_of("s/0") <= 500);
  current = nullptr;
}

TEST_CASE("what is missing in a shortened dead letter is read back from its column `record`") {
  const std::vector<missing_part> parts{missing("value", std::string(800'000, 'x')), missing("headers", "[]")};
  CHECK(parts.front().sha256.size() == 64);
  CHECK(sha256_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const auto read = parse_shortened(shortened_record(parts));
  REQUIRE(read.has_value());
  REQUIRE(read->size() == 2);
  CHECK(read->front().name == "value");
  CHECK(read->front().bytes == 800'000);
  CHECK(read->back().sha256 == sha256_of("[]"));
  CHECK_FALSE(parse_shortened(R"({"a":1,"$kinds":{"a":"int"}})").has_value());
  CHECK_FALSE(parse_shortened("not JSON").has_value());
}
