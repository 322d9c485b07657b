// SPDX-License-Identifier: Apache-2.0
// Why a TLS connection doesn't come about: Paho only says that it failed.
#pragma once

#include <chrono>
#include <string>

namespace mqtt {

struct broker_url;
struct tls_settings;

// Shakes hands with the broker once more, and says what is wrong and what to do; empty where nothing is.
[[nodiscard]] std::string tls_fault(const broker_url& url, const tls_settings& with, std::chrono::milliseconds timeout);

}  // namespace mqtt
