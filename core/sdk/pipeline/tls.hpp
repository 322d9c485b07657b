// SPDX-License-Identifier: Apache-2.0
// Which TLS the servers and clients of plugins speak: version 1.2 or newer.
#pragma once

namespace pl {

// The cipher suites for TLS 1.2, in OpenSSL's notation: only those with forward secrecy and authenticated encryption, so
// neither RSA key exchange nor CBC with SHA-1. All suites of TLS 1.3 have both.
inline constexpr const char* tls_1_2_ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM";

}  // namespace pl
