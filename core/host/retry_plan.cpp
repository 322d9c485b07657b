// SPDX-License-Identifier: Apache-2.0
#include "host/retry_plan.hpp"

#include "engine/shortened_letter.hpp"
#include "engine/stored_row.hpp"
#include "host/dead_letter_row.hpp"
#include "host/side_run.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace pl::host {

namespace {

std::string place_of(const retry_item& item) {
  return item.stream + '\0' + (item.position ? std::to_string(*item.position) : std::string());
}

// Return a digest of the original record. Different records may have the same stream and position: a file was replaced,
// a topic was created again, or the state directory of a source was deleted.
std::string content_of(const dead_letter& l) {
  std::string all;
  const auto add = [&](std::string_view bytes) {
    all += std::to_string(bytes.size());
    all += ':';
    all += bytes;
  };
  for (const auto* part : {&l.topic, &l.key, &l.value}) *part ? add(**part) : void(all += '-');
  add(l.headers);
  if (l.record_time_ns) all += std::to_string(*l.record_time_ns);
  return engine::sha256_of(all);
}

// Assign each record without a place one that no other record of the group has.
void name_places(std::vector<retry_item>& items) {
  std::uint64_t next = 0;
  for (const auto& item : items)
    if (item.stream == nameless_stream) next = std::max(next, item.position.value_or(0) + 1);
  for (auto& item : items)
    if (item.stream.empty()) item.stream = nameless_stream, item.position = next++;
}

bool earlier(const retry_item& a, const retry_item& b) {
  const auto place = [](const retry_item& i) { return std::tuple(i.stream, !i.position, i.position.value_or(0)); };
  return place(a) < place(b);
}

// A run finds the item of a new dead letter by the row at a sink, and elsewhere by the place only: the dead letters of
// nodes behind a transform have other rows. Return groups in which each of these occurs once. Copies of a row share a run:
// their dead letters are interchangeable.
std::vector<retry_group> without_ambiguity(retry_group group) {
  const bool by_row = group.what == retried::row && group.at_sink;
  std::vector<retry_group> rounds;
  std::vector<std::map<std::string, std::string>> taken;  // names, and the content of the record
  for (auto& item : group.items) {
    const auto name = by_row ? item.identity : place_of(item);
    const auto fits = [&](std::map<std::string, std::string>& names) {
      const auto [at, is_new] = names.try_emplace(name, item.content);
      return is_new || (by_row && at->second == item.content);
    };
    std::size_t round = 0;
    while (round < rounds.size() && !fits(taken[round])) ++round;
    if (round == rounds.size()) {
      rounds.push_back({group.what, group.node, group.at_sink, {}});
      taken.push_back({{name, item.content}});
    }
    rounds[round].items.push_back(std::move(item));
  }
  return rounds;
}

}  // namespace

std::uint64_t retry_group::letters() const {
  std::uint64_t n = 0;
  for (const auto& item : items) n += item.lines.size();
  return n;
}

bool retry_planner::is_sink(const std::string& name) const {
  const auto* n = p_.find(name);
  return n != nullptr && n->role == config::role::sink;
}

// Return the node that the dead letter's record must pass; empty: it is not selected.
std::string retry_planner::target_of(const dead_letter& l) const {
  if (sinks_.empty()) return l.node;
  if (std::ranges::count(sinks_, l.node) != 0) return l.node;
  if (node_.empty()) return {};
  const auto* n = p_.find(l.node);
  return n != nullptr && n->role == config::role::transform ? l.node : sinks_.front();
}

void retry_planner::add(const dead_letter& l, std::string_view line, std::string_view whole) {
  const auto target = target_of(l);
  if (target.empty()) return;
  const auto* node = p_.find(target);
  if (node == nullptr && node_.empty()) {
    ++plan_.of_unknown_nodes[l.node];
    return;
  }
  const bool known = node != nullptr && node->role != config::role::source;
  retry_item item{l.stream, l.position, {}, {}, {}, std::string(whole)};
  if (const auto row = known ? row_of(l) : std::nullopt) {
    item.identity = row_identity(l, *row);
    item.content = content_of(l);
    auto key = item.identity + item.content + std::to_string(engine::copy_number(l.record));
    return place({target, retried::row}, std::move(key), std::move(item), line);
  }
  if (!l.has_original() && whole.empty()) {
    if (l.collapsed)
      plan_.collapsed += l.collapsed->records;
    else
      ++plan_.without_original;
    return;
  }
  if (item.stream.empty() || !item.position) item.stream.clear(), item.position.reset();
  const auto complete = whole.empty() ? std::nullopt : parse_dead_letter(whole);
  auto key = place_of(item) + '\0' + content_of(complete ? *complete : l);
  place({target, retried::record}, std::move(key), std::move(item), line);
}

// Dead letters of the same row are one item: a record that is read again after a crash is refused again. Equal rows of one
// record are several: each has a number.
void retry_planner::place(group_key where, std::string key, retry_item item, std::string_view line) {
  if (item.stream.empty()) key += std::to_string(nameless_++);
  const auto at = items_[std::move(where)].try_emplace(std::move(key), std::move(item)).first;
  at->second.lines.emplace_back(line);
}

// A record that is retried from one transform passes the transforms behind it, too.
void retry_planner::merge_downstream() {
  for (auto& [upper, from] : items_) {
    if (upper.second != retried::record || is_sink(upper.first)) continue;
    for (auto& [lower, to] : items_) {
      if (lower.second != retried::record || is_sink(lower.first) || !leads_to(p_, upper.first, lower.first)) continue;
      std::erase_if(to, [&from = from](auto& entry) {  // clang 14 captures no structured bindings
        const auto same = from.find(entry.first);
        if (same == from.end()) return false;
        auto& lines = same->second.lines;
        std::ranges::move(entry.second.lines, std::back_inserter(lines));
        return true;
      });
    }
  }
}

retry_plan retry_planner::finish() {
  merge_downstream();
  for (auto& [key, items] : items_) {
    retry_group group{key.second, key.first, is_sink(key.first), {}};
    for (auto& [known, item] : items) group.items.push_back(std::move(item));
    if (group.items.empty()) continue;
    if (group.what == retried::record) name_places(group.items);
    std::ranges::stable_sort(group.items, earlier);
    std::ranges::move(without_ambiguity(std::move(group)), std::back_inserter(plan_.groups));
  }
  return std::move(plan_);
}

}  // namespace pl::host
