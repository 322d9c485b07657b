// SPDX-License-Identifier: Apache-2.0
// The verb `alerts` lists the open alerts: those of the running host, or those in the stored state.
#include "host/dead_letter.hpp"
#include "host/http_get.hpp"
#include "host/session.hpp"
#include "host/side_run.hpp"
#include "host/verbs.hpp"

#include <pipeline/json_members.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace pl::host {

using namespace std::chrono_literals;

namespace {

using members = std::vector<std::pair<std::string, std::string>>;  // names and values, text without quotes

std::string text_of(std::string_view json) { return json_text(json).value_or(std::string(json)); }

members members_of(std::string_view object) {
  members all;
  const bool whole = each_json_member(
      object, [&](std::string_view key, std::string_view value) { all.emplace_back(text_of(key), text_of(value)); });
  return whole ? all : members{};
}

std::string member(const members& of, std::string_view name) {
  const auto at = std::ranges::find(of, name, &members::value_type::first);
  return at == of.end() ? std::string() : at->second;
}

// What is known about the open alerts of the configured pipelines.
struct findings {
  std::map<std::string, engine::alert_list> alerts;  // by pipeline
  std::vector<std::string> problems;
};

// ----------------------------------------------------------------------------------------------------- running host ---

// Add the response of a running host (run.cpp). Return false if it is not one.
bool read_response(std::string_view body, const std::set<std::string>& wanted, findings& to) {
  const auto response = members_of(body);
  const bool pipelines = each_json_element(member(response, "pipelines"), [&](std::string_view name) {
    if (wanted.contains(text_of(name))) to.alerts[text_of(name)];
  });
  // Keep the text of each alert, so that no number changes.
  const bool alerts = each_json_element(member(response, "alerts"), [&](std::string_view json) {
    if (const auto p = member(members_of(json), "pipeline"); wanted.contains(p)) to.alerts[p].emplace_back(json);
  });
  const bool problems = each_json_element(member(response, "problems"),
                                          [&](std::string_view text) { to.problems.push_back(text_of(text)); });
  return pipelines && alerts && problems;
}

// Return where a running host of this configuration would listen; nothing if it does not.
std::optional<std::pair<std::string, std::uint16_t>> endpoint_of(const config::pipeline& p) {
  if (!p.http.enabled || p.http.port == 0) return std::nullopt;
  const auto& host = p.http.host;
  return std::pair(host == "0.0.0.0" ? "127.0.0.1" : host == "::" ? "::1" : host, p.http.port);
}

// Return the source of the response, for the user; empty: no host runs one of the pipelines.
std::string ask_running_host(const config::pipeline& first, const std::set<std::string>& wanted, findings& to) {
  const auto at = endpoint_of(first);
  if (!at) return {};
  const auto body = http_get(at->first, at->second, "/alerts", 5s);
  if (!body.ok() || !read_response(*body, wanted, to) || to.alerts.empty()) return {};
  return fmt::format("the running host at {}:{}", at->first, at->second);
}

// ----------------------------------------------------------------------------------------------------- stored state ---

// Return false if the configuration has errors.
bool read_stored_state(const config::pipeline& settings, session& s, findings& to) {
  config::diagnostics problems;
  auto p = engine::pipeline::build(settings, s.services(), s.plugins(), problems);
  print_problems(problems);
  if (!p) return false;
  auto stored = p->stored_alerts();
  auto& alerts = to.alerts[settings.name];
  if (stored.ok())
    alerts = *std::move(stored);
  else
    to.problems.push_back(settings.name + ": " + stored.why().message);
  return true;
}

// ------------------------------------------------------------------------------------------------------------ output ---

struct table_row {
  std::array<std::string, 7> cells;  // pipeline, severity, rule, subject, since, value, id
};

// Describe the subject by the members that have no other meaning: "user_id u, device_id d7".
std::string subject_of(const members& alert) {
  static const std::set<std::string, std::less<>> others{"pipeline", "node",      "id",      "rule",   "state",
                                                         "severity", "metric",    "value",   "labels", "since",
                                                         "time",     "threshold", "message", "stream", "position"};
  std::string subject;
  for (const auto& [name, value] : alert)
    if (!others.contains(name)) subject += (subject.empty() ? "" : ", ") + name + " " + value;
  return subject;
}

table_row row_for(std::string_view json) {
  const auto alert = members_of(json);
  auto rule = member(alert, "rule");
  if (member(alert, "state") == "flapping") rule += " (flapping)";
  return {{member(alert, "pipeline"), member(alert, "severity"), rule, subject_of(alert), member(alert, "since"),
           member(alert, "value"), member(alert, "id")}};
}

void print_table(const std::vector<std::string>& alerts) {
  std::vector<table_row> rows{{{"PIPELINE", "SEVERITY", "RULE", "DEVICE", "SINCE", "VALUE", "ID"}}};
  for (const auto& json : alerts) rows.push_back(row_for(json));
  std::array<std::size_t, 7> widest{};
  for (auto& row : rows)
    for (std::size_t c = 0; c < widest.size(); ++c) {
      row.cells[c] = row.cells[c].empty() ? "-" : shown(row.cells[c]);
      widest[c] = std::max(widest[c], row.cells[c].size());
    }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < widest.size(); ++c)
      line += c + 1 == widest.size() ? row.cells[c] : fmt::format("{:<{}}  ", row.cells[c], widest[c]);
    fmt::print("{}\n", line);
  }
}

void print_json(const std::vector<std::string>& alerts) {
  std::string text = "[";
  for (const auto& json : alerts) {
    text += text.size() == 1 ? "\n" : ",\n";
    append_json_for_terminal(text, json);
  }
  fmt::print("{}\n", text + (alerts.empty() ? "]" : "\n]"));
}

// The longest open alert first, for each pipeline; alerts with the same time in a fixed order.
std::vector<std::string> in_order(const findings& found) {
  std::vector<std::string> all;
  for (const auto& [pipeline, alerts] : found.alerts) {
    std::vector<std::pair<std::string, std::string>> by_since;
    for (const auto& json : alerts) by_since.emplace_back(row_for(json).cells[4], json);
    std::ranges::sort(by_since);
    for (auto& [since, json] : by_since) all.push_back(std::move(json));
  }
  return all;
}

}  // namespace

int list_alerts(const arguments& args) {
  auto loaded = load(args);
  print_problems(loaded.problems);
  if (!loaded.ok()) return exit_usage;
  if (!args.alerts.pipeline.empty()) {
    const auto chosen = choose_pipeline(loaded, args.alerts.pipeline);
    if (!chosen.ok()) return print_error(chosen.why().message), exit_usage;
    std::erase_if(loaded.pipelines, [&](const auto& p) { return p.name != args.alerts.pipeline; });
  }
  std::set<std::string> wanted;
  for (const auto& p : loaded.pipelines) wanted.insert(p.name);
  findings found;
  const auto from = args.alerts.stored ? std::string() : ask_running_host(loaded.pipelines.front(), wanted, found);
  if (!from.empty()) fmt::print(stderr, "from {}\n", from);

  auto log = log_options(args, loaded);
  if (!args.log_level) log.level = telemetry::log_level::warn;
  session s(args, log);
  for (const auto& p : loaded.pipelines) {
    if (found.alerts.contains(p.name)) continue;
    fmt::print(stderr, "{}: {}from the stored state\n", p.name,
               args.alerts.stored ? ""
               : from.empty()     ? "no host responds; "
                                  : "no host responds for this pipeline; ");
    if (!read_stored_state(p, s, found)) return exit_usage;
  }
  const auto alerts = in_order(found);
  if (args.alerts.json)
    print_json(alerts);
  else if (!alerts.empty())
    print_table(alerts);
  else
    fmt::print(stderr, "no open alerts\n");
  for (const auto& problem : found.problems) print_error(problem);
  return found.problems.empty() ? exit_ok : exit_failed;
}

}  // namespace pl::host
