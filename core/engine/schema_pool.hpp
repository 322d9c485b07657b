// SPDX-License-Identifier: Apache-2.0
// Interns the schemas of a process. Thread-safe.
#pragma once

#include <pipeline/abi.h>

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

namespace pl::engine {

// Interns column names: equal names in the same order have the same schema pointer as long as the pool lives.
class schema_pool {
 public:
  const pl_schema* intern(const pl_str* names, std::uint32_t n);
  // Return whether a schema is from this pool. Only its address is used.
  [[nodiscard]] bool has(const pl_schema* schema);

 private:
  struct entry {
    std::vector<pl_str> names;
    pl_schema schema{};
  };
  std::mutex mutex_;
  std::map<std::vector<std::string>, entry> entries_;  // entries never move
  std::unordered_set<const pl_schema*> schemas_;
};

}  // namespace pl::engine
