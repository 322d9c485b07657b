// SPDX-License-Identifier: Apache-2.0
// Diagnosis of a failed TCP connection: Paho reports only that it failed.
#pragma once

#include <chrono>
#include <string>

namespace mqtt {

struct broker_url;

// Connect again and return the reason for the failure; empty if the connection succeeds. Blocks for at most `timeout`
// for each of the host's addresses.
[[nodiscard]] std::string tcp_fault(const broker_url& url, std::chrono::milliseconds timeout);

}  // namespace mqtt
