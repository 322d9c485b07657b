// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pipeline/abi.h>

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace pl::engine {

// Interned schemas: equal names, in the same order, are the same pointer for as long as the pool lives. Any thread.
class schema_pool {
 public:
  const pl_schema* intern(const pl_str* names, std::uint32_t n);

 private:
  struct entry {
    std::vector<pl_str> names;
    pl_schema schema{};
  };
  std::mutex mutex_;
  std::map<std::vector<std::string>, entry> entries_;  // nodes never move
};

}  // namespace pl::engine
