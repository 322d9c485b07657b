// SPDX-License-Identifier: Apache-2.0
// Which library an address belongs to, found out by a signal handler: from /proc/self/maps, without locks or memory.
#pragma once

#include "host/emergency_line.hpp"

#include <cstdint>
#include <span>

namespace pl::host {

// Append the file name of the library, without its folder.
void append_module(fixed_text& to, std::uint64_t address) noexcept;

// Append a line for each address: "#0 libx.so+0x1234", with the offset in the file.
void append_modules(fixed_text& to, std::span<const std::uint64_t> addresses) noexcept;

}  // namespace pl::host
