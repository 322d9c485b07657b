// SPDX-License-Identifier: Apache-2.0
// For sinks that prepare the next write while they wait for their server: "next_write/1" in next_write.h.
#pragma once

#include <pipeline/component.hpp>
#include <pipeline/extension.hpp>
#include <pipeline/next_write.h>

#include <cstdint>

namespace pl {

class next_write {
 public:
  next_write() = default;
  explicit next_write(const pl_host* host) noexcept
      : host_(host),
        table_(complete_table<pl_host_next_write>(host->extension(host->ctx, borrow(PL_EXT_NEXT_WRITE)))) {}

  // In write. Return the batches of the write that follows this one; none: it is not due, or the host does not report it.
  // They may be read until this write returns, and in the write that follows if `peeked` returns true there.
  [[nodiscard]] batch_list peek() const noexcept {
    std::uint32_t n = 0;
    pl_batch* const* const batches = table_.peek == nullptr ? nullptr : table_.peek(host_->ctx, &n);
    return {batches, n};
  }
  // In write. Return whether these batches are those that the write before this one has peeked at. If not, discard what was
  // prepared for them. The host may call `write` without batches only for that.
  [[nodiscard]] bool peeked() const noexcept { return table_.peeked != nullptr && table_.peeked(host_->ctx) != 0; }

 private:
  const pl_host* host_ = nullptr;
  pl_host_next_write table_{};
};

}  // namespace pl
