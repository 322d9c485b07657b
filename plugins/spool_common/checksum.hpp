// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace spool {

// CRC-32C (Castagnoli, RFC 3720 B.4), continued from `before`.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0) noexcept;

// Calculations with the register of the CRC, without its inversion at the start and at the end. The register after some
// bytes is a linear function of the register before them and of the bytes (Williams 1993, "A painless guide to CRC").
namespace crc_register {

// Return the register after these bytes.
[[nodiscard]] std::uint32_t after(std::uint32_t before, std::string_view bytes) noexcept;
// Return the register after this number of zero bytes, in logarithmic time.
[[nodiscard]] std::uint32_t after_zeros(std::uint32_t before, std::uint64_t count) noexcept;
// The inverse of after_zeros.
[[nodiscard]] std::uint32_t before_zeros(std::uint32_t after, std::uint64_t count) noexcept;

}  // namespace crc_register

}  // namespace spool
