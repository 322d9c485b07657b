// SPDX-License-Identifier: Apache-2.0
#include "engine/schema_pool.hpp"

#include <pipeline/result.hpp>

namespace pl::engine {

const pl_schema* schema_pool::intern(const pl_str* names, std::uint32_t n) {
  std::vector<std::string> key;
  key.reserve(n);
  for (std::uint32_t i = 0; i < n; ++i) key.emplace_back(view(names[i]));
  std::scoped_lock lock(mutex_);
  const auto [at, fresh] = entries_.try_emplace(std::move(key));
  auto& e = at->second;
  if (fresh) {
    for (const auto& name : at->first) e.names.push_back(borrow(name));
    e.schema = {n, e.names.data()};
    schemas_.insert(&e.schema);
  }
  return &e.schema;
}

bool schema_pool::has(const pl_schema* schema) {
  std::scoped_lock lock(mutex_);
  return schemas_.contains(schema);
}

}  // namespace pl::engine
