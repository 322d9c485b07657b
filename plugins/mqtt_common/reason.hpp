// SPDX-License-Identifier: Apache-2.0
// Texts and classification of return and reason codes. Pure functions; thread-safe.
#pragma once

#include "connection_settings.hpp"

#include <MQTTAsync.h>

#include <string>

namespace mqtt {

// Return the text of an MQTT 5 reason code.
[[nodiscard]] std::string reason_text(int code);
// Return why a connection was rejected, and the remedy.
[[nodiscard]] std::string refusal_text(protocol version, int code);
// Return whether the broker will reject every attempt with the same settings.
[[nodiscard]] bool is_lasting_refusal(protocol version, int code);
// Return whether the broker closed the connection because of a message. Other reasons (shutting down, taken over, ...)
// are unrelated to the messages.
[[nodiscard]] bool is_about_a_message(MQTTReasonCodes code);

}  // namespace mqtt
