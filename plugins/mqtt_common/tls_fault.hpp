// SPDX-License-Identifier: Apache-2.0
// Diagnosis of a failed TLS connection: Paho reports only that it failed.
#pragma once

#include <chrono>
#include <string>

namespace mqtt {

struct broker_url;
struct tls_settings;

// Repeat the TLS handshake and return the fault and its remedy; empty if there is none.
[[nodiscard]] std::string tls_fault(const broker_url& url, const tls_settings& with, std::chrono::milliseconds timeout);

}  // namespace mqtt
