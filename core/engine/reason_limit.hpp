// SPDX-License-Identifier: Apache-2.0
// Limits how many originals of rejected records are stored for one reason in a period, so that a flood of records that
// cannot be processed does not fill the disk. Any thread.
#pragma once

#include "config/pipeline.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace pl::engine {

// Return the reason without its numbers and quoted texts, which come from the record.
[[nodiscard]] std::string kind_of_reason(std::string_view reason);

class reason_limit {
 public:
  void set(const config::collapse_settings& to);
  // Return whether the original of a record that this node rejects is stored, and count it if so.
  [[nodiscard]] bool admit(std::string_view node, std::string_view reason, std::int64_t now_ns);
  // Return whether this is the first time in the period that originals for this reason are not stored.
  [[nodiscard]] bool is_first_excess(std::string_view node, std::string_view reason);
  // Return what the reasons have in common that share a limit; empty: the reasons beyond the number of limits.
  [[nodiscard]] std::string group_of(std::string_view node, std::string_view reason) const;
  [[nodiscard]] config::collapse_settings settings() const;

 private:
  struct used {
    std::uint64_t originals = 0;
    bool exceeded = false;
  };
  used& of(std::string_view node, std::string_view reason);

  mutable std::mutex mutex_;
  config::collapse_settings settings_;
  std::int64_t begin_ns_ = 0;                      // of the period
  std::map<std::string, used, std::less<>> used_;  // by node and kind of reason
};

}  // namespace pl::engine
