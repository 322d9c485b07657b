// SPDX-License-Identifier: Apache-2.0
// The changes of transforms' state that one write stores, as statements and, if there are many, as rows for COPY: the
// text of a statement with a megabyte of state is several times as large, and the server would have to parse it.
#pragma once

#include "byte_buffer.hpp"
#include "positions.hpp"

#include <pipeline/batch.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace timescale {

class state_rows {
 public:
  state_rows() = default;
  // Only the last change of each key is written. The batches must outlive this object.
  state_rows(const position_tables& where, const pl::batch_list& batches);

  // Return statements for the transaction, which come before the COPY.
  [[nodiscard]] std::vector<std::string> statements() const;
  // Return the statement for the rows; empty: none are copied.
  [[nodiscard]] std::string copy_sql() const;
  [[nodiscard]] std::size_t copied() const noexcept { return copies_ ? kept_ : 0; }
  // Append the row of index `i`, below copied().
  void append(byte_buffer& to, std::size_t i) const;

 private:
  struct change {
    std::string_view source, stream, node, key, value;
    bool erase;
  };
  [[nodiscard]] std::string insert_sql() const;
  [[nodiscard]] std::string delete_sql(std::size_t first, std::size_t end) const;
  [[nodiscard]] std::size_t end_of_group(std::size_t first) const;

  const position_tables* where_ = nullptr;
  std::vector<change> changes_;  // the kept ones, then the erased ones; each in the order of keys
  std::size_t kept_ = 0;
  bool copies_ = false;
};

}  // namespace timescale
