// SPDX-License-Identifier: Apache-2.0
// The verbs `dead-letters list` and `dead-letters show`.
#include "host/dead_letter_store.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/verbs.hpp"

#include <pipeline/json.hpp>
#include <pipeline/text.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <utility>

namespace pl::host {

namespace {

struct group {
  std::uint64_t count = 0;
  std::string first, last;
  std::int64_t first_ns = 0, last_ns = 0;

  void add(const dead_letter& l) {
    const auto at = l.time_ns.value_or(0);
    if (count == 0 || at < first_ns) first = l.time, first_ns = at;
    if (count == 0 || at > last_ns) last = l.time, last_ns = at;
    count += l.records();
  }
};
using groups = std::map<std::pair<std::string, std::string>, group>;  // of node and reason
using row = std::pair<std::pair<std::string, std::string>, group>;

// Return the time without fractions of a second, to fit into the table.
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

// Also text that a device has sent goes to a terminal: escape what controls it, which means the same in JSON.
void print_json(std::string_view json) {
  std::string line;
  append_json_for_terminal(line, json);
  fmt::print("{}\n", line);
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
    print_json(line + "}");
  }
}

void print_one(const dead_letter& l, std::string_view line, bool ndjson) {
  if (ndjson)
    print_json(line);
  else
    fmt::print("{}  {}  {}  {}  {}\n", shown(l.time), shown(l.node), l.stream.empty() ? "-" : shown(l.stream),
               l.position ? std::to_string(*l.position) : "-",
               l.collapsed ? fmt::format("{} records: {}", l.collapsed->records, shown(l.reason)) : shown(l.reason));
}

// Print bytes in the format of hexdump -C.
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

void print_dead_letter(const dead_letter& l) {
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
  if (l.shortened)
    for (const auto& part : *l.shortened)
      fmt::print("{:<10}{} of {} bytes (sha256 {}){}\n", "missing", shown(part.name), part.bytes, shown(part.sha256),
                 part.name == "record" ? ": the rejected row" : "");
  if (l.collapsed)
    fmt::print("{:<10}{} without their originals, at positions {}\n", "records", l.collapsed->records,
               l.collapsed->positions.empty() ? "that are unknown" : shown(l.collapsed->positions));
  if (!l.record.empty())
    fmt::print("{:<10}the rejected row{}\n{}\n", "record",
               l.has_original() ? "" : "; the original record is not available", shown(l.record));
}

}  // namespace

int list_dead_letters(const arguments& args) {
  const auto filter = filter_of(args.dead_letters);
  const auto places = filter ? places_of(args) : std::nullopt;
  if (!places) return exit_usage;
  const bool ndjson = args.dead_letters.format == "ndjson";
  groups all;
  std::uint64_t found = 0;
  const bool read = each_dead_letter(*places, *filter, [&](const dead_letter& l, std::string_view line) {
    ++found;
    if (args.dead_letters.each)
      print_one(l, line, ndjson);
    else
      all[{l.node, l.reason}].add(l);
  });
  if (!read) return exit_usage;
  if (found == 0)
    fmt::print(stderr, "no dead letters\n");
  else if (!args.dead_letters.each)
    ndjson ? print_ndjson(most_frequent_first(all)) : print_table(most_frequent_first(all));
  return exit_ok;
}

int show_dead_letter(const arguments& args) {
  const auto& text = args.dead_letters.position;
  std::uint64_t position = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), position);
  if (error != std::errc{} || end != text.data() + text.size())
    return print_error(fmt::format("position '{}' is not a number", shown(text))), exit_usage;
  const auto filter = filter_of(args.dead_letters);
  const auto places = filter ? places_of(args) : std::nullopt;
  if (!places) return exit_usage;
  std::uint64_t found = 0;
  const bool read = each_dead_letter(*places, *filter, [&](const dead_letter& l, std::string_view) {
    if (l.position != position && !(l.collapsed && includes(*l.collapsed, position))) return;
    if (found++ != 0) fmt::print("\n");
    print_dead_letter(l);
  });
  if (!read) return exit_usage;
  if (found != 0) return exit_ok;
  print_error(fmt::format("no dead letter for position {} of {}; `dead-letters list --each` lists the dead letters",
                          position, shown(args.dead_letters.stream)));
  return exit_failed;
}

}  // namespace pl::host
