// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <file_common/path_template.hpp>

#include <string>

namespace {

std::string expanded(std::string_view path) {
  const auto to = pl::files::expand_path(path, {"a/b", "sink", 3});
  return to.ok() ? to->string() : "! " + to.why().message;
}

}  // namespace

TEST_CASE("a name is always one part of the path") {
  CHECK(expanded("out/{pipeline}.{node}.{writer}.ndjson") == "out/a_b.sink.3.ndjson");
  CHECK(expanded("plain.ndjson") == "plain.ndjson");
}

TEST_CASE("a path without a file name is rejected with the reason") {
  CHECK(expanded("{pipelin}") == "! unknown name {pipelin} in the path; there are {pipeline}, {node} and {writer}");
  CHECK(expanded("folder/") == "! 'folder/' is not a file name; an example: out/{pipeline}.ndjson");
  CHECK(expanded("").starts_with("! '' is not a file name"));
  CHECK(expanded("{").starts_with("! "));
}
