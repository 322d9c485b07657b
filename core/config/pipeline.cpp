// SPDX-License-Identifier: Apache-2.0
#include "config/pipeline.hpp"

#include <algorithm>

namespace pl::config {

std::string_view to_string(role r) {
  switch (r) {
    case role::source:
      return "source";
    case role::transform:
      return "transform";
    case role::sink:
      break;
  }
  return "sink";
}

std::string_view to_string(full_policy p) {
  switch (p) {
    case full_policy::block:
      return "block";
    case full_policy::drop_newest:
      return "drop_newest";
    case full_policy::drop_oldest:
      break;
  }
  return "drop_oldest";
}

bool equal_settings(const node& a, const node& b) {
  const auto same_input = [](const input& x, const input& y) { return x.node == y.node && x.port == y.port; };
  return a.role == b.role && a.name == b.name && a.plugin == b.plugin && a.lanes == b.lanes && a.writers == b.writers &&
         a.batch == b.batch && a.retry == b.retry && a.queue == b.queue && a.collapse == b.collapse &&
         a.when_letters_full == b.when_letters_full && a.delivery == b.delivery && a.on_failure == b.on_failure &&
         a.when_full == b.when_full &&
         std::equal(a.from.begin(), a.from.end(), b.from.begin(), b.from.end(), same_input);
}

std::vector<const node*> pipeline::nodes() const {
  std::vector<const node*> all;
  for (const auto* part : {&sources, &transforms, &sinks}) {
    for (const auto& n : *part) all.push_back(&n);
  }
  if (dead_letters) all.push_back(&*dead_letters);
  return all;
}

const node* pipeline::find(std::string_view node_name) const {
  for (const auto* part : {&sources, &transforms, &sinks}) {
    for (const auto& n : *part) {
      if (n.name == node_name) return &n;
    }
  }
  return dead_letters && dead_letters->name == node_name ? &*dead_letters : nullptr;
}

std::vector<const node*> pipeline::transforms_in_order() const {
  std::vector<const node*> ordered, waiting;
  for (const auto& t : transforms) waiting.push_back(&t);
  const auto is_waiting = [&](const input& in) {
    return std::any_of(waiting.begin(), waiting.end(), [&](const node* n) { return n->name == in.node; });
  };
  for (auto before = waiting.size() + 1; waiting.size() < before;) {
    before = waiting.size();
    const auto ready = std::find_if(waiting.begin(), waiting.end(), [&](const node* n) {
      return std::none_of(n->from.begin(), n->from.end(), is_waiting);
    });
    if (ready == waiting.end()) break;  // a cycle
    ordered.push_back(*ready);
    waiting.erase(ready);
  }
  return ordered;
}

}  // namespace pl::config
