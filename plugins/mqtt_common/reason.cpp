// SPDX-License-Identifier: Apache-2.0
#include "reason.hpp"

#include <pipeline/text.hpp>

namespace mqtt {
namespace {

std::string refusal_text_3(int code) {
  switch (code) {
    case 1:
      return "it does not support MQTT 3.1.1 (code 1); set `version: 5`";
    case 2:
      return "it rejects the client id (code 2); set `client_id`";
    case 3:
      return "it is temporarily unavailable (code 3)";
    case 4:
      return "bad user name or password (code 4); check `user` and `password`";
    case 5:
      return "not authorized (code 5); check `user` and `password`, and their rights on the broker";
    default:
      return "code " + std::to_string(code);
  }
}

std::string refusal_text_5(int code) {
  auto text = reason_text(code);
  switch (code) {
    case 0x84:
      return text + "; set `version: 3.1.1`";
    case 0x85:
      return text + "; set `client_id`";
    case 0x86:
    case 0x87:
      return text + "; check `user` and `password`, and their rights on the broker";
    default:
      return text;
  }
}

}  // namespace

std::string reason_text(int code) {
  const char* text = MQTTReasonCode_toString(static_cast<MQTTReasonCodes>(code));
  std::string hex = "0x";
  pl::append_hex(hex, static_cast<char>(code), pl::hex_case::upper);
  return (text != nullptr ? std::string(text) : std::string("unknown reason")) + " (" + hex + ")";
}

std::string refusal_text(protocol version, int code) {
  return version == protocol::v5 ? refusal_text_5(code) : refusal_text_3(code);
}

bool is_lasting_refusal(protocol version, int code) {
  if (version == protocol::v3_1_1) return code == 1 || code == 2 || code == 4 || code == 5;
  return (code >= 0x84 && code <= 0x87) || code == 0x8A || code == 0x8C;
}

bool is_about_a_message(MQTTReasonCodes code) {
  switch (code) {
    case MQTTREASONCODE_MALFORMED_PACKET:
    case MQTTREASONCODE_PROTOCOL_ERROR:
    case MQTTREASONCODE_NOT_AUTHORIZED:
    case MQTTREASONCODE_TOPIC_NAME_INVALID:
    case MQTTREASONCODE_PACKET_TOO_LARGE:
    case MQTTREASONCODE_PAYLOAD_FORMAT_INVALID:
    case MQTTREASONCODE_RETAIN_NOT_SUPPORTED:
    case MQTTREASONCODE_QOS_NOT_SUPPORTED:
      return true;
    default:
      return false;
  }
}

}  // namespace mqtt
