// SPDX-License-Identifier: Apache-2.0
#include "../body.hpp"

#include "../record.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace http;
using texts = std::vector<std::string>;

namespace {

texts records_of(std::string_view body, form as, split_limits limits = {}) {
  std::vector<std::string_view> found;
  const auto problem = split(body, as, limits, found);
  CHECK_MESSAGE(!problem, problem->why);
  return {found.begin(), found.end()};
}

split_problem problem_of(std::string_view body, form as, split_limits limits = {}) {
  std::vector<std::string_view> found;
  auto problem = split(body, as, limits, found);
  REQUIRE(problem);
  CHECK(found.empty());
  return *problem;
}

}  // namespace

TEST_CASE("media types") {
  CHECK(form_of("application/json") == form::json);
  CHECK(form_of("Application/JSON; charset=utf-8") == form::json);
  CHECK(form_of("application/vnd.acme.reading+json") == form::json);
  CHECK(form_of("") == form::json);
  CHECK(form_of("application/x-ndjson") == form::ndjson);
  CHECK(form_of("text/plain;charset=utf-8") == form::raw);
  CHECK(form_of("application/octet-stream") == form::raw);
  CHECK(!form_of("application/x-www-form-urlencoded"));
  CHECK(!form_of("+json"));
}

TEST_CASE("a document is a record, and so is each element of an array, with its original bytes") {
  CHECK(records_of(" {\"a\" : 1.50}\n", form::json) == texts{"{\"a\" : 1.50}"});
  CHECK(records_of("[ {\"a\":1 } , [2,3], \"x\",1e400,null ]", form::json) ==
        texts{"{\"a\":1 }", "[2,3]", "\"x\"", "1e400", "null"});
  CHECK(records_of("[]", form::json).empty());
  CHECK(records_of("7", form::json) == texts{"7"});
}

TEST_CASE("NDJSON: one document per line, and empty lines are skipped") {
  CHECK(records_of("{\"a\":1}\n\r\n  \n[1,2]\r\n\"x\"", form::ndjson) == texts{"{\"a\":1}", "[1,2]", "\"x\""});
  CHECK(records_of("", form::ndjson).empty());
}

TEST_CASE("raw bytes are one record") {
  CHECK(records_of("\xFF\n{", form::raw) == texts{"\xFF\n{"});
  CHECK(problem_of("", form::raw).why == "the body is empty");
}

TEST_CASE("invalid JSON is reported with its place, and there are no records") {
  const auto p = problem_of("[{\"a\":1},\n {\"a\":}]", form::json);
  CHECK(p.record == 2);
  CHECK(p.line == 2);
  CHECK(p.column == 7);
  const auto q = problem_of("{\"a\":1}\n{\"b\":2}\n{\"c\":,}\n", form::ndjson);
  CHECK(q.record == 3);
  CHECK(q.line == 3);
  CHECK(q.column == 6);
  CHECK(problem_of("", form::json).why == "the payload is empty");
  CHECK(problem_of("{}{}", form::json).record == 1);
  CHECK(problem_of("[1,2", form::json).record == 3);
  CHECK(problem_of("[1],2", form::json).line == 1);
  CHECK(problem_of(std::string(300, '[') + std::string(300, ']'), form::json).why.find("nested") != std::string::npos);
}

TEST_CASE("without the check, invalid JSON is an unchanged record") {
  const split_limits all{.check = false};
  CHECK(records_of("[{\"a\":1},{", form::json, all) == texts{"[{\"a\":1},{"});
  CHECK(records_of("{'a':1}", form::json, all) == texts{"{'a':1}"});
  CHECK(records_of("{\"a\":1}\nnope\n", form::ndjson, all) == texts{"{\"a\":1}", "nope"});
  CHECK(records_of("[1,2]", form::json, all) == texts{"1", "2"});
}

TEST_CASE("max_records limits the number of records") {
  const split_limits two{.max_records = 2};
  CHECK(records_of("[1,2]", form::json, two).size() == 2);
  CHECK(problem_of("[1,2,3]", form::json, two).too_many);
  CHECK(problem_of("1\n2\n3", form::ndjson, two).too_many);
  CHECK(problem_of("[1,2,3]", form::json, {.max_records = 2, .check = false}).too_many);
}

TEST_CASE("a stored record is decoded, and invalid ones are rejected") {
  const record_start start(123, "/a/b", "::1", {{"tenant", "x"}, {"empty", ""}});
  const auto id = id_by_content("/a/b", "body");
  std::string text;
  start.append(text, id, 0, 1);
  text += "body";
  stored_record r;
  REQUIRE(decode(text, {}, r));
  CHECK(r.time_ns == 123);
  CHECK(r.path == "/a/b");
  CHECK(r.remote == "::1");
  CHECK(r.payload == "body");
  CHECK(r.id == id);
  CHECK(r.values == std::vector<named_value>{{"tenant", "x"}, {"empty", ""}});
  for (std::size_t n = 0; n < start.whole(); ++n) CHECK(!decode(text.substr(0, n), {}, r));
  CHECK(!decode("\2" + text.substr(1), {}, r));
}

TEST_CASE("ids") {
  CHECK(id_by_content("/a", "b") == id_by_content("/a", "b"));
  CHECK(id_by_content("/a", "b") != id_by_content("/ab", ""));
  CHECK(id_by_key("/a", "k", 0) == id_by_key("/a", "k", 0));
  CHECK(id_by_key("/a", "k", 0) != id_by_key("/a", "k", 1));
  CHECK(id_by_key("/a", "k", 0) != id_by_key("/b", "k", 0));
  CHECK(id_by_key("/a", "k", 11) != id_by_key("/a", "k1", 1));
  CHECK(hex(id_by_key("", "", 0)).size() == 32);
}
