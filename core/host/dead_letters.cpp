// SPDX-License-Identifier: Apache-2.0
// dead-letters list, dead-letters show: what was rejected, and why.
#include "host/letter_places.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/verbs.hpp"

#include <pipeline/json.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <utility>

namespace pl::host {

namespace fs = std::filesystem;

std::optional<letter_filter> filter_of(const letter_arguments& given) {
  letter_filter filter{given.pipeline, given.node, given.reason, given.stream, {}};
  if (given.since.empty()) return filter;
  filter.since = parse_time(given.since);
  if (filter.since) return filter;
  say_error(fmt::format("--since {} is no time; write e.g. 2026-11-24 or 2026-11-24T18:10:23Z", shown(given.since)));
  return std::nullopt;
}

std::optional<std::vector<letter_place>> places_of(const arguments& args) {
  std::vector<letter_place> places;
  auto configurations = args;
  configurations.configs.clear();
  for (const auto& name : args.letters.from)
    if (const auto kind = fs::path(name).extension(); kind == ".yaml" || kind == ".yml")
      configurations.configs.push_back(name);
    else
      places.push_back({{}, {fs::path(name)}});
  if (configurations.configs.empty()) return places;
  const auto loaded = load(configurations);
  print_problems(loaded.problems);
  if (!loaded.ok()) return std::nullopt;
  for (const auto& p : loaded.pipelines) {
    const auto paths = letter_files(p);
    if (!paths.ok()) return say_error(paths.why().message), std::nullopt;
    letter_place place{p.name, {}};
    for (const auto& path : *paths)
      for (auto& file : with_rotated(path)) place.files.push_back(std::move(file));
    places.push_back(std::move(place));
  }
  return places;
}

namespace {

// A file that was there when it was listed may have been rotated away since: then under another name, beside the others.
void follow_rotation(std::vector<fs::path>& files, std::size_t at) {
  std::error_code ignored;
  if (fs::exists(files[at], ignored)) return;
  for (auto& file : with_rotated(files[at]))
    if (std::ranges::count(files, file) == 0) files.push_back(std::move(file));
  if (at + 1 < files.size()) files.erase(files.begin() + static_cast<std::ptrdiff_t>(at));
}

bool each_letter_in(const fs::path& file, const std::string& pipeline, const letter_filter& filter,
                    const std::function<void(const letter& l, std::string_view line)>& take) {
  std::uint64_t strange = 0;
  const auto read = each_line(file, [&](std::string_view line) {
    const auto l = parse_letter(line);
    if (!l)
      ++strange;
    else if ((pipeline.empty() || l->pipeline == pipeline) && filter.fits(*l))
      take(*l, line);
  });
  if (!read.ok()) return say_error(read.why().message), false;
  if (strange != 0)
    fmt::print(stderr, "{}: {} {} no dead {}\n", file.string(), strange, strange == 1 ? "line is" : "lines are",
               strange == 1 ? "letter" : "letters");
  return true;
}

}  // namespace

bool each_letter(const std::vector<letter_place>& places, const letter_filter& filter,
                 const std::function<void(const letter& l, std::string_view line)>& take) {
  for (auto place : places)
    for (std::size_t i = 0; i < place.files.size(); ++i) {
      follow_rotation(place.files, i);
      if (!each_letter_in(place.files[i], place.pipeline, filter, take)) return false;
    }
  return true;
}

namespace {

struct group {
  std::uint64_t count = 0;
  std::string first, last;
  std::int64_t first_ns = 0, last_ns = 0;

  void add(const letter& l) {
    const auto at = l.time_ns.value_or(0);
    if (count == 0 || at < first_ns) first = l.time, first_ns = at;
    if (count == 0 || at > last_ns) last = l.time, last_ns = at;
    ++count;
  }
};
using groups = std::map<std::pair<std::string, std::string>, group>;  // of node and reason
using row = std::pair<std::pair<std::string, std::string>, group>;

// To the second: that is what fits into a table.
std::string short_time(const std::string& time) { return shown(time.size() > 20 ? time.substr(0, 19) + "Z" : time); }

std::vector<row> most_frequent_first(const groups& all) {
  std::vector<row> rows(all.begin(), all.end());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const row& a, const row& b) { return a.second.count > b.second.count; });
  return rows;
}

void print_table(const std::vector<row>& rows) {
  std::size_t widest = 4;
  for (const auto& [of, g] : rows) widest = std::max(widest, of.first.size());
  fmt::print("{:>8}  {:<20}  {:<20}  {:<{}}  {}\n", "COUNT", "FIRST", "LAST", "NODE", widest, "REASON");
  for (const auto& [of, g] : rows)
    fmt::print("{:>8}  {:<20}  {:<20}  {:<{}}  {}\n", g.count, short_time(g.first), short_time(g.last), shown(of.first),
               widest, shown(of.second));
}

void print_ndjson(const std::vector<row>& rows) {
  for (const auto& [of, g] : rows) {
    std::string line = "{\"node\":";
    append_json_string(line, of.first);
    line += ",\"reason\":";
    append_json_string(line, of.second);
    line += fmt::format(",\"count\":{},\"first\":", g.count);
    append_json_string(line, g.first);
    line += ",\"last\":";
    append_json_string(line, g.last);
    fmt::print("{}}}\n", line);
  }
}

void print_one(const letter& l, std::string_view line, bool ndjson) {
  if (ndjson)
    fmt::print("{}\n", line);
  else
    fmt::print("{}  {}  {}  {}  {}\n", shown(l.time), shown(l.node), l.stream.empty() ? "-" : shown(l.stream),
               l.position ? std::to_string(*l.position) : "-", shown(l.reason));
}

// As hexdump -C does.
void print_hex(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size(); at += 16) {
    const auto part = bytes.substr(at, 16);
    std::string hex, text;
    for (std::size_t i = 0; i < 16; ++i) {
      const auto c = static_cast<unsigned char>(i < part.size() ? part[i] : ' ');
      hex += i < part.size() ? fmt::format("{:02x} ", c) : "   ";
      if (i == 7) hex += ' ';
      if (i < part.size()) text += c >= 0x20 && c < 0x7F ? static_cast<char>(c) : '.';
    }
    fmt::print("  {:08x}  {} {}\n", at, hex, text);
  }
}

void print_field(std::string_view name, std::string_view text) {
  if (!text.empty()) fmt::print("{:<10}{}\n", name, shown(text));
}

void print_bytes(std::string_view name, const std::optional<std::string>& bytes) {
  if (!bytes) return;
  const bool text = is_utf8(*bytes) && bytes->find('\0') == std::string::npos;
  fmt::print("{:<10}{} bytes{}\n", name, bytes->size(), text ? "" : ", not UTF-8 text");
  if (bytes->empty()) return;
  if (!text) return print_hex(*bytes);
  fmt::print("{}{}", shown(*bytes, true), bytes->ends_with('\n') ? "" : "\n");
}

void print_letter(const letter& l) {
  print_field("time", l.time);
  print_field("pipeline", l.pipeline);
  print_field("node", l.node);
  print_field("reason", l.reason);
  print_field("stream", l.stream);
  if (l.position) print_field("position", std::to_string(*l.position));
  if (l.topic) print_field("topic", *l.topic);
  print_field("headers", l.headers);
  print_bytes("key", l.key);
  print_bytes("value", l.value);
  if (!l.has_original())
    fmt::print("{:<10}the rejected row; its original wasn't there\n{}\n", "record", shown(l.record));
}

}  // namespace

int list_dead_letters(const arguments& args) {
  const auto filter = filter_of(args.letters);
  const auto places = filter ? places_of(args) : std::nullopt;
  if (!places) return exit_usage;
  const bool ndjson = args.letters.format == "ndjson";
  groups all;
  std::uint64_t found = 0;
  const bool read = each_letter(*places, *filter, [&](const letter& l, std::string_view line) {
    ++found;
    if (args.letters.each)
      print_one(l, line, ndjson);
    else
      all[{l.node, l.reason}].add(l);
  });
  if (!read) return exit_usage;
  if (found == 0)
    fmt::print(stderr, "no dead letters\n");
  else if (!args.letters.each)
    ndjson ? print_ndjson(most_frequent_first(all)) : print_table(most_frequent_first(all));
  return exit_ok;
}

int show_dead_letter(const arguments& args) {
  const auto& text = args.letters.position;
  std::uint64_t position = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), position);
  if (error != std::errc{} || end != text.data() + text.size())
    return say_error(fmt::format("position '{}' is no number", shown(text))), exit_usage;
  const auto filter = filter_of(args.letters);
  const auto places = filter ? places_of(args) : std::nullopt;
  if (!places) return exit_usage;
  std::uint64_t found = 0;
  const bool read = each_letter(*places, *filter, [&](const letter& l, std::string_view) {
    if (l.position != position) return;
    if (found++ != 0) fmt::print("\n");
    print_letter(l);
  });
  if (!read) return exit_usage;
  if (found != 0) return exit_ok;
  say_error(fmt::format("no dead letter for position {} of {}; `dead-letters list --each` names those that are there",
                        position, shown(args.letters.stream)));
  return exit_failed;
}

}  // namespace pl::host
