// SPDX-License-Identifier: Apache-2.0
#include "config/load.hpp"

#include "config/file_text.hpp"
#include "config/graph.hpp"
#include "config/interpolate.hpp"
#include "config/sets.hpp"
#include "config/text.hpp"
#include "config/yaml.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>
#include <utility>

namespace pl::config {

namespace {

constexpr auto npos = std::string_view::npos;

// Read at most max_file_bytes + 1 bytes, so that the caller can detect an oversized file. A pipe is read only if a
// program writes to it, and for a limited time: `<(command)` works, and a FIFO without a writer does not block.
std::optional<std::string> read_bounded(const std::string& path, std::string& why) {
  if (auto text = read_file_text(path, max_file_bytes + 1, why)) return text;
  return std::nullopt;
}

std::string similar_file(const std::string& path) {
  const std::filesystem::path wanted(path);
  const auto directory = wanted.has_parent_path() ? wanted.parent_path() : std::filesystem::path(".");
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(directory, error);
  for (; !error && entry != std::filesystem::directory_iterator() && names.size() < 1000; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  const auto found = nearest_name(wanted.filename().string(), names);
  if (!found) return {};
  const auto better = wanted.has_parent_path() ? (directory / *found).string() : std::string(*found);
  return fmt::format("did you mean '{}'?", printable(better));
}

std::optional<std::string> read_text(const std::string& path, diagnostics& problems) {
  std::string why;
  auto text = read_bounded(path, why);
  if (text) return text;
  const auto where = location(std::make_shared<source_text>(source_text::origin::file, path, ""));
  if (why == "is a directory") {
    problems.error(where, why, "name a file in it");
  } else {
    problems.error(where, "can't read the file: " + why, similar_file(path));
  }
  return std::nullopt;
}

std::size_t find_control(std::string_view text) {
  const auto* found = std::find_if(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7F;
  });
  return found == text.end() ? npos : static_cast<std::size_t>(found - text.begin());
}

bool is_text(const std::shared_ptr<source_text>& source, diagnostics& problems) {
  const auto text = source->text();
  if (text.size() > max_file_bytes) {
    problems.error(location(source), fmt::format("the file is larger than {} MiB", max_file_bytes >> 20U));
  } else if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    problems.error(location(source), "the file is UTF-16", "save it as UTF-8");
  } else if (text.find('\0') != npos) {
    problems.error(location(source), "the file is not text: it contains NUL bytes");
  } else if (const auto at = find_invalid_utf8(text); at != npos) {
    problems.error(location(source, at, 1), "this is not valid UTF-8", "save the file as UTF-8");
  } else if (const auto control = find_control(text); control != npos) {
    problems.error(location(source, control, 1), "a control character",
                   "remove it, or write it as an escape in quotes");
  } else {
    return true;
  }
  return false;
}

// Return the file's text without a byte order mark; null if it cannot be read or is not text, which is reported.
std::shared_ptr<source_text> read_source(const file_arg& file, diagnostics& problems) {
  auto text = file.text;
  if (!text) text = read_text(file.name, problems);
  if (!text) return nullptr;
  if (text->starts_with("\xEF\xBB\xBF")) text->erase(0, 3);
  auto source = std::make_shared<source_text>(source_text::origin::file, file.name, std::move(*text));
  return is_text(source, problems) ? source : nullptr;
}

class loader {
 public:
  loader(const environment& env, load_result& result) : env_(env), problems_(result.problems), result_(result) {}

  void read(const file_arg& file) {
    const auto source = read_source(file, problems_);
    if (!source) return;
    const auto errors_before = problems_.errors();
    const auto before = documents_.size();
    for (auto& document : parse_yaml(source, 0, problems_)) take(std::move(document), source);
    if (documents_.size() == before && problems_.errors() == errors_before) {
      problems_.error(location(source), "the file contains no pipeline: it is empty or has only comments",
                      "write at least name, sources and sinks");
    }
  }

  void build(std::span<const std::string> sets) {
    apply_sets(documents_, sets, problems_);
    for (auto& document : documents_) {
      interpolate(document, env_, problems_);
      result_.pipelines.push_back(build_pipeline(document, problems_));
    }
    check_names();
  }

 private:
  void take(value document, const std::shared_ptr<source_text>& source) {
    if (document.is_map()) {
      documents_.push_back(std::move(document));
    } else if (!document.broken) {
      problems_.error(document.where ? document.where : location(source),
                      fmt::format("a pipeline must be a map, got {}", document.is_list() ? "a list" : "a single value"),
                      "begin with 'name: ...'");
    }
  }

  void check_names() {
    const auto& all = result_.pipelines;
    for (auto p = all.begin(); p != all.end(); ++p) {
      const auto first = std::find_if(all.begin(), p, [&](const pipeline& other) { return other.name == p->name; });
      if (first == p || p->name.empty()) continue;
      problems_
          .error(p->where, fmt::format("another pipeline is named '{}'", printable(p->name)),
                 "give each pipeline a unique name")
          .note(first->where, "first used here");
    }
  }

  const environment& env_;
  diagnostics& problems_;
  load_result& result_;
  std::vector<value> documents_;
};

}  // namespace

environment process_environment() {
  environment env;
  env.variable = [](std::string_view name) -> std::optional<std::string> {
    const auto* found = std::getenv(std::string(name).c_str());
    return found == nullptr ? std::nullopt : std::optional<std::string>(found);
  };
  env.read_file = [](const std::string& path, std::string& why) -> std::optional<std::string> {
    auto text = read_bounded(path, why);
    if (text && text->size() > max_file_bytes) {
      why = "too large";
      return std::nullopt;
    }
    return text;
  };
  return env;
}

std::vector<value> load_documents(const file_arg& file, diagnostics& problems) {
  const auto source = read_source(file, problems);
  return source ? parse_yaml(source, 0, problems) : std::vector<value>();
}

load_result load(std::span<const file_arg> files, std::span<const std::string> sets, const environment& env) {
  load_result result;
  loader l(env, result);
  for (const auto& file : files) l.read(file);
  l.build(sets);
  return result;
}

bool read_secrets_again(pipeline& p, const environment& env) {
  bool changed = false;
  for (auto* list : {&p.sources, &p.transforms, &p.sinks})
    for (auto& n : *list) changed = read_files_again(n.options, env) || changed;
  if (p.dead_letters) changed = read_files_again(p.dead_letters->options, env) || changed;
  return changed;
}

}  // namespace pl::config
