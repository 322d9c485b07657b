// SPDX-License-Identifier: Apache-2.0
// Reads the extension tables of abi.h, which begin with their `size` and grow at their end.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pl {

// Return a copy of a table that the other side offers, in the layout of this build. The fields beyond the table's own
// `size` are zero and are not read, because an older table ends there. Null: all fields are zero, `size` included.
template <class Table>
[[nodiscard]] Table complete_table(const void* offered) noexcept {
  Table whole{};
  if (offered == nullptr) return whole;
  std::uint32_t size = 0;
  std::memcpy(&size, offered, sizeof size);
  std::memcpy(&whole, offered, std::min<std::size_t>(size, sizeof whole));
  return whole;
}

}  // namespace pl
