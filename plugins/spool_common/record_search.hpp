// SPDX-License-Identifier: Apache-2.0
// Finds the next intact record after damage. A record's checksum includes its number, so the search computes, for each
// offset at which a record could begin, the number that the record would need. It costs the same for any length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace spool {

class record_search {
 public:
  // bytes: from the first damaged byte to the end of the file's records. expected: the number of the record that should
  // begin there; below: the numbers of the file's records are below.
  record_search(std::string_view bytes, std::uint64_t expected, std::uint64_t below);

  struct found {
    std::size_t at;  // offset in the bytes
    std::uint64_t number;
  };
  // Return the first record that is intact beyond doubt: after it, the bytes end or the next record follows, or it is
  // the record after the expected one.
  [[nodiscard]] std::optional<found> first() const;

 private:
  [[nodiscard]] std::optional<std::uint64_t> number_at(std::size_t at) const;
  [[nodiscard]] std::uint32_t register_at(std::size_t at) const;
  [[nodiscard]] std::uint32_t register_over(std::size_t begin, std::size_t end) const;

  std::string_view bytes_;
  std::uint64_t expected_, below_;
  std::vector<std::uint32_t> samples_;  // the register at each multiple of the sample distance
};

}  // namespace spool
