// SPDX-License-Identifier: Apache-2.0
// Breadth-first search through all states of a model, so that the trace to a violation is a shortest one. It keeps
// a 64-bit fingerprint, the successors and the first predecessor of each state. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace model {

// The result of a search.
struct findings {
  std::size_t states = 0;
  std::string violation;           // the violation that was found; empty: none
  std::vector<std::string> trace;  // the steps to the violation, as text
  std::size_t finished = 0, stuck = 0;
  bool too_large = false;  // the limit of states was reached
};

// Maps the fingerprint of a state to its index.
class fingerprint_table {
 public:
  fingerprint_table() : slots_(std::size_t{1} << 16, slot{0, 0}) {}
  // Return the index of a fingerprint, and whether it is new; a new one gets the index `fresh`.
  std::pair<std::uint32_t, bool> find_or_add(std::uint64_t print, std::uint32_t fresh) {
    if (2 * used_ > slots_.size()) grow();
    auto& s = place(slots_, print);
    if (s.print == print) return {s.index, false};
    s = {print, fresh};
    ++used_;
    return {fresh, true};
  }

 private:
  struct slot {
    std::uint64_t print;  // 0: free
    std::uint32_t index;
  };
  static slot& place(std::vector<slot>& in, std::uint64_t print) {
    auto at = print & (in.size() - 1);
    while (in[at].print != 0 && in[at].print != print) at = (at + 1) & (in.size() - 1);
    return in[at];
  }
  void grow() {
    std::vector<slot> bigger(slots_.size() * 2, slot{0, 0});
    for (const auto& s : slots_)
      if (s.print != 0) place(bigger, s.print) = s;
    slots_ = std::move(bigger);
  }
  std::vector<slot> slots_;
  std::size_t used_ = 0;
};

template <class State>
std::uint64_t fingerprint(const State& s) {
  static_assert(sizeof(State) % sizeof(std::uint64_t) == 0);
  std::uint64_t h = 0x9E3779B97F4A7C15ULL;
  for (std::size_t at = 0; at < sizeof s; at += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, reinterpret_cast<const char*>(&s) + at, sizeof word);
    h = (h ^ word) * 0xD6E8FEB86659FD93ULL;
    h ^= h >> 32U;
  }
  h *= 0xD6E8FEB86659FD93ULL;
  h ^= h >> 29U;
  return h == 0 ? 1 : h;
}

// A model has: `state` (bytes, without gaps); first(); steps(state, take(state, words)); tidy(state), which resets
// values that no longer matter; same(state), which returns one representative of all states that differ only in names;
// violation(state), which describes a violated property, or null; finished(state).
template <class Model>
class search {
 public:
  using state = typename Model::state;
  search(const Model& of, std::size_t at_most) : model_(of), at_most_(at_most) {}

  findings run() {
    std::vector<state> level{model_.same(model_.tidy(model_.first()))};
    add(level.front(), no_parent);
    bool found = false;
    for (std::uint32_t number = 0; !level.empty() && !found && !out_.too_large;) {
      std::vector<state> next;
      for (const auto& from : level) {
        if (const char* why = model_.violation(from)) {
          out_.violation = why;
          out_.trace = path_to(number);
          found = true;
          break;
        }
        if (model_.finished(from)) finished_.push_back(number);
        expand(from, number++, next);
      }
      level = std::move(next);
      out_.too_large = parents_.size() > at_most_;
    }
    out_.states = parents_.size();
    out_.finished = finished_.size();
    if (!found && !out_.too_large) look_for_stuck();
    return std::move(out_);
  }

 private:
  static constexpr std::uint32_t no_parent = UINT32_MAX;

  std::pair<std::uint32_t, bool> add(const state& s, std::uint32_t parent) {
    const auto found = table_.find_or_add(fingerprint(s), static_cast<std::uint32_t>(parents_.size()));
    if (found.second) parents_.push_back(parent);
    return found;
  }
  void expand(const state& from, std::uint32_t number, std::vector<state>& next) {
    begins_.push_back(targets_.size());
    model_.steps(from, [&](const state& to, auto&&) {
      const auto same = model_.same(model_.tidy(to));
      const auto [index, fresh] = add(same, number);
      targets_.push_back(index);
      if (fresh) next.push_back(same);
    });
  }
  // Return the steps to a state. Compute the states on the path again, so that names remain those of the first state.
  std::vector<std::string> path_to(std::uint32_t last) {
    std::vector<std::uint32_t> way;
    for (auto at = last; at != no_parent; at = parents_[at]) way.push_back(at);
    std::vector<std::string> words;
    auto now = model_.tidy(model_.first());
    for (auto step = way.rbegin() + 1; step < way.rend(); ++step) {
      bool gone = false;
      state next{};
      model_.steps(now, [&](const state& to, auto&& text) {
        if (gone) return;
        next = model_.tidy(to);
        if (table_.find_or_add(fingerprint(model_.same(next)), 0).first != *step) return;
        gone = true;
        words.push_back(text());
      });
      now = next;
    }
    return words;
  }
  // Find states from which no finished state can be reached.
  void look_for_stuck() {
    const auto n = parents_.size();
    begins_.push_back(targets_.size());
    std::vector<std::size_t> first(n + 1, 0);
    for (const auto t : targets_) ++first[t + 1];
    for (std::size_t i = 0; i < n; ++i) first[i + 1] += first[i];
    std::vector<std::uint32_t> from(targets_.size());
    auto place = first;
    for (std::uint32_t i = 0; i < n; ++i)
      for (auto e = begins_[i]; e < begins_[i + 1]; ++e) from[place[targets_[e]]++] = i;
    std::vector<bool> can(n, false);
    auto todo = finished_;
    for (const auto i : todo) can[i] = true;
    while (!todo.empty()) {
      const auto at = todo.back();
      todo.pop_back();
      for (auto e = first[at]; e < first[at + 1]; ++e)
        if (!can[from[e]]) can[from[e]] = true, todo.push_back(from[e]);
    }
    const auto bad = std::find(can.begin(), can.end(), false);
    out_.stuck = static_cast<std::size_t>(std::count(can.begin(), can.end(), false));
    if (bad == can.end()) return;
    out_.violation = "the run can no longer finish";
    out_.trace = path_to(static_cast<std::uint32_t>(bad - can.begin()));
  }

  const Model& model_;
  std::size_t at_most_;
  fingerprint_table table_;
  std::vector<std::uint32_t> parents_, targets_, finished_;
  std::vector<std::size_t> begins_;
  findings out_;
};

}  // namespace model
