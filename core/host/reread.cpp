// SPDX-License-Identifier: Apache-2.0
#include "host/reread.hpp"

#include "engine/stored_row.hpp"
#include "host/dead_letter_row.hpp"
#include "host/original_sink.hpp"
#include "host/side_run.hpp"

#include <pipeline/json_members.hpp>

#include <file_common/each_line.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace pl::host {

namespace fs = std::filesystem;
using engine::instance;

namespace {

constexpr std::string_view sink_node_name = "originals";
constexpr std::uint64_t widest_gap = 1000;  // positions that are closer are read together

using windows = instance::window_list;
using letters_of = std::map<std::uint64_t, std::vector<shortened_letter*>>;  // by position

// Return a pipeline that only writes the source's records to a file.
config::pipeline reading_only(config::pipeline p, const std::string& source, const fs::path& work) {
  const auto from = *std::ranges::find(p.sources, source, &config::node::name);
  const auto to = [&](std::string name, std::string_view plugin, const fs::path& file) {
    config::node n;
    n.role = config::role::sink;
    n.name = std::move(name);
    n.plugin = plugin;
    n.where = n.plugin_where = p.where;
    set_options(n, {text_option("path", without_braces(file))});
    return n;
  };
  p.sources = {from};
  p.sources.front().lanes = p.lanes = 1;
  p.transforms.clear();
  p.sinks = {to(std::string(sink_node_name), original_sink_name, work / "originals.ndjson")};
  p.sinks.front().from.push_back({source, {}, p.where});
  p.dead_letters = to("dead_letters", "file_sink", work / "rejected.ndjson");
  p.delivery = config::delivery::at_least_once;
  p.state_dir = (work / "state").string();
  return p;
}

// Return the rounds in which the records of the dead letters are read: each has at most one window of each stream.
std::vector<windows> rounds_of(const std::map<std::string, letters_of>& wanted, const windows& available) {
  std::vector<windows> rounds;
  for (const auto& [stream, letters] : wanted) {
    const auto has = std::ranges::find(available, stream, &windows::value_type::stream);
    std::size_t round = 0;
    std::optional<std::uint64_t> last;
    for (const auto& [position, those] : letters) {
      const bool there = has != available.end() && position >= has->oldest && position < has->newest;
      for (auto* l : those)
        l->why_not = has == available.end() ? "the source has no stream '" + stream + "'"
                     : !there ? fmt::format("the source has the positions {} to {} only", has->oldest, has->newest)
                              : "the source has no record at this position";
      if (!there) continue;
      if (last && position - *last <= widest_gap) {
        rounds[round - 1].back().next = position + 1;
      } else {
        if (round == rounds.size()) rounds.emplace_back();
        auto window = *has;
        window.first = position;
        window.next = position + 1;
        rounds[round++].push_back(std::move(window));
      }
      last = position;
    }
  }
  return rounds;
}

void take(const std::map<std::string, letters_of>& wanted, std::string_view record) {
  std::string stream;
  std::uint64_t position = 0;
  (void)each_json_member(record, [&](std::string_view key, std::string_view value) {
    if (key == "\"stream\"") stream = json_text(value).value_or(std::string());
    if (key == "\"position\"") position = std::stoull(std::string(value));
  });
  const auto of_stream = wanted.find(stream);
  if (of_stream == wanted.end()) return;
  const auto at = of_stream->second.find(position);
  if (at == of_stream->second.end()) return;
  for (auto* l : at->second) {
    auto whole = completed(*l, record);
    l->why_not = whole.ok() ? std::string() : whole.why().message;
    if (whole.ok()) l->whole = *std::move(whole);
  }
}

// Read one round. Return why nothing could be read.
result<void> read_round(const config::pipeline& settings, const windows* chosen, windows& available,
                        const fs::path& work, session& s, signals& incoming) {
  config::diagnostics problems;
  auto p = engine::pipeline::build(settings, s.services(), s.plugins(), problems);
  print_problems(problems);
  if (!p) return fatal("the source cannot be set up");
  if (chosen == nullptr) {
    auto found = p->windows({PL_BOUND_POSITION, 0, 0}, {PL_BOUND_NOW, 0, 0});
    if (!found.ok()) return found.why();
    available = *std::move(found);
    return {};
  }
  std::error_code ignored;
  fs::remove(work / "originals.ndjson", ignored);
  if (auto selected = p->select(*chosen); !selected.ok()) return selected.why();
  return run_through(*p, incoming, s).code == exit_ok ? result<void>{} : fatal("reading the source failed");
}

}  // namespace

result<std::string> completed(const shortened_letter& of, std::string_view record) {
  std::map<std::string, std::string, std::less<>> parts;  // of the original record, as JSON
  (void)each_json_member(record, [&](std::string_view key, std::string_view value) {
    if (key != "\"stream\"" && key != "\"position\"") parts.emplace(json_text(key).value_or(std::string()), value);
  });
  for (const auto& part : *of.letter.shortened) {
    if (part.name == "record") continue;
    const auto found = parts.find(part.name);
    const auto bytes = found == parts.end()     ? std::string()
                       : part.name == "headers" ? found->second
                                                : engine::bytes_from_json(found->second);
    if (bytes.size() != part.bytes || engine::sha256_of(bytes) != part.sha256)
      return fatal(fmt::format("the source has another record at this position: its {} has {} bytes and another hash",
                               part.name, bytes.size()));
  }
  std::string whole;
  const auto append = [&](std::string_view key, std::string_view value) {
    whole += whole.empty() ? "{" : ",";
    whole.append(key).append(":").append(value);
  };
  const bool read = each_json_member(of.line, [&](std::string_view key, std::string_view value) {
    constexpr std::array<std::string_view, 6> replaced{"topic", "key", "value", "headers", "record_time", "record"};
    if (std::ranges::find(replaced, json_text(key).value_or(std::string())) == replaced.end()) append(key, value);
  });
  for (const auto& [name, value] : parts) append('"' + name + '"', value);
  if (!read) return fatal("the dead letter is not valid JSON");
  return whole + "}";
}

void reread_originals(const config::pipeline& p, const std::string& source, std::vector<shortened_letter>& of,
                      session& s, signals& incoming) {
  std::map<std::string, letters_of> wanted;
  for (auto& l : of) {
    if (l.letter.stream.empty() || !l.letter.position)
      l.why_not = "it has no stream and position";
    else
      wanted[l.letter.stream][*l.letter.position].push_back(&l);
  }
  const auto fail_rest = [&](const std::string& why) {
    for (auto& l : of)
      if (l.whole.empty()) l.why_not = why;
  };
  auto work = work_folder::make(fs::temp_directory_path() / "pipeline-reread");
  if (!work.ok()) return fail_rest(work.why().message);
  s.plugins().add_linked(original_sink_plugin());
  const auto& folder = (*work)->path();
  const auto settings = reading_only(p, source, folder);
  windows available;
  if (const auto found = read_round(settings, nullptr, available, folder, s, incoming); !found.ok())
    return fail_rest("source '" + source + "' cannot be read again: " + found.why().message);
  for (const auto& round : rounds_of(wanted, available)) {
    const auto done = read_round(settings, &round, available, folder, s, incoming);
    if (!done.ok()) return fail_rest(done.why().message);
    const auto read = files::each_line(folder / "originals.ndjson", [&](std::string_view line) { take(wanted, line); });
    if (!read.ok()) return fail_rest(read.why().message);
  }
}

}  // namespace pl::host
