// SPDX-License-Identifier: Apache-2.0
// For transforms with state whose output depends on it: "reread/1" in reread.h.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/extension.hpp>
#include <pipeline/reread.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace pl {

class reread {
 public:
  reread() = default;
  explicit reread(const pl_host* host) noexcept
      : host_(host), table_(complete_table<pl_host_reread>(host->extension(host->ctx, borrow(PL_EXT_REREAD)))) {}

  // In restored. Return the position below which the output of the records that follow is discarded, because it was
  // delivered before. std::nullopt: the host does not know it.
  [[nodiscard]] std::optional<std::uint64_t> delivered(std::string_view stream) const noexcept {
    if (table_.delivered == nullptr) return std::nullopt;
    return table_.delivered(host_->ctx, borrow(stream));
  }

 private:
  const pl_host* host_ = nullptr;
  pl_host_reread table_{};
};

}  // namespace pl
