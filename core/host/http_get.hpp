// SPDX-License-Identifier: Apache-2.0
// A GET request to the monitoring endpoint of another host on this machine. Any thread.
#pragma once

#include <pipeline/result.hpp>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace pl::host {

// Return the body of a response with status 200. Fail if nothing listens there, or anything else answers.
[[nodiscard]] result<std::string> http_get(const std::string& host, std::uint16_t port, std::string_view path,
                                           std::chrono::milliseconds timeout);

}  // namespace pl::host
