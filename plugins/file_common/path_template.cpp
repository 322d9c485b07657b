// SPDX-License-Identifier: Apache-2.0
#include <pipeline/text_template.hpp>

#include <file_common/path_template.hpp>

#include <string>

namespace pl::files {

namespace {

void append_name(std::string& path, std::string_view name) {
  for (const char c : name) path.push_back(c == '/' || c == '\0' ? '_' : c);
}

}  // namespace

result<std::filesystem::path> expand_path(std::string_view path, const path_names& names) {
  const auto parsed = text_template::parse(std::string(path));
  if (!parsed.ok()) return fatal(parsed.why().message);
  std::string text;
  for (const auto& piece : parsed->pieces()) {
    if (!piece.is_column)
      text += piece.text;
    else if (piece.text == "pipeline")
      append_name(text, names.pipeline);
    else if (piece.text == "node")
      append_name(text, names.node);
    else if (piece.text == "writer")
      text += std::to_string(names.writer);
    else
      return fatal("unknown name {" + piece.text + "} in the path; there are {pipeline}, {node} and {writer}");
  }
  if (text.empty() || text.back() == '/')
    return fatal("'" + text + "' is not a file name; an example: out/{pipeline}.ndjson");
  return std::filesystem::path(text);
}

}  // namespace pl::files
