// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <mqtt_common/strings.hpp>

namespace mqtt {

pl::option_table<will_options> will_options::table() {
  return {
      pl::option(&will_options::topic, "topic", "Topic of the last will.").required().example("hosts/pipeline/status"),
      pl::option(&will_options::payload, "payload", "Payload of the last will."),
      pl::option(&will_options::qos, "qos", "QoS of the last will.").range(0, 2),
      pl::option(&will_options::retain, "retain", "Whether the broker retains the last will for later subscribers.")};
}

// NOLINTNEXTLINE(readability-function-size): a table of options
pl::option_table<options> options::table() {
  using pl::option;
  return {
      option(&options::url, "url",
             "URL of the broker: mqtt://host:1883 or mqtts://host:8883 (TLS); tcp:// and ssl:// are synonyms. May "
             "contain user:password@.")
          .required()
          .secret()
          .example("mqtt://127.0.0.1:1883"),
      option(
          &options::topic, "topic",
          "Topic of each row's message; {column} stands for the row's value. A row in which such a value is empty or "
          "null is rejected.")
          .required()
          .example("users/{user_id}/devices/{device_id}/alerts"),
      option(
          &options::ids, "unsafe_ids",
          "What to do with values that could reach another device's topic (with / + # $ %, control characters or "
          "invalid UTF-8), and with values of user properties that MQTT does not allow. escape: percent-encode them, "
          "so that a/b becomes a%2Fb; reject: send the row to the dead letters."),
      option(&options::qos, "qos",
             "QoS of the messages. 0: written to the network, may be lost; 1: acknowledged, at least once; 2: "
             "acknowledged in two steps, exactly once on this connection.")
          .range(0, 2),
      option(&options::retain, "retain",
             "Whether the broker retains the last message of each topic for later subscribers."),
      option(&options::payload, "payload",
             "Payload: text with {column}, for example \"{value}\" for one column. In a text that is JSON, values are "
             "escaped inside quotes and are JSON values elsewhere; {column:json} and {column:raw} choose otherwise. "
             "Default: the whole row as JSON.")
          .example("\"{message}\""),
      option(&options::version, "version", "MQTT protocol version."),
      option(&options::client_id, "client_id",
             "Client id; {writer} stands for the writer's number. Must be unique on the broker. Default: pipeline, "
             "node, writer and a hash of host name and state directory, which is the same after a restart."),
      option(&options::user, "user", "User name for the broker."),
      option(&options::password, "password", "Password of `user`.").secret().example("\"${MQTT_PASSWORD}\""),
      option(
          &options::max_in_flight, "max_in_flight",
          "Maximum number of unacknowledged messages. A broker with MQTT 5 can lower it. Default: 100, or 20 with qos "
          "2, since Mosquitto closes the connection at more (its max_inflight_messages).")
          .range(1, 65'000),
      option(&options::ack_timeout, "ack_timeout",
             "Time without an acknowledgement after which the connection is considered lost.")
          .range(0.1, 3'600),
      option(&options::connect_timeout, "connect_timeout", "Time-out for connecting.").range(2, 600),
      option(&options::keep_alive, "keep_alive",
             "Time without traffic after which a ping is sent to the broker; whole seconds. 0: never.")
          .range(0, 65'535),
      option(&options::clean_session, "clean_session",
             "Whether the broker discards the previous session at each connection. Must be true with qos 2."),
      option(&options::session_expiry, "session_expiry",
             "MQTT 5: how long the broker keeps the session after a disconnect; whole seconds.")
          .range(0, 4'294'967'294.0),
      option(&options::max_message, "max_message",
             "Maximum size of a message (topic and payload together); larger ones are rejected.")
          .range(1, 268'435'456),
      option(&options::max_disconnects, "max_disconnects",
             "A message is rejected if the broker closes the connection this many times in a row while the message is "
             "the only one in flight, so that it does not block the others. 0: never.")
          .range(0, 1'000),
      option(&options::tls, "tls", "TLS settings for mqtts://.").example("{ca: /etc/ssl/broker-ca.pem}"),
      option(&options::will, "will",
             "Last will: the message that the broker publishes if this client disconnects uncleanly.")
          .example("{topic: hosts/pipeline/status, payload: offline}"),
      option(&options::message_expiry, "message_expiry",
             "MQTT 5: how long the broker keeps a message for disconnected subscribers; whole seconds. 0: no limit.")
          .range(0, 4'294'967'294.0),
      option(&options::content_type, "content_type", "MQTT 5: content type of messages.").example("application/json"),
      option(&options::user_properties, "user_properties",
             "MQTT 5: user properties of each message: names and values; values may contain {column}. `unsafe_ids` "
             "applies to characters that MQTT does not allow in them (control characters, invalid UTF-8).")
          .example("{alert_id: \"{alert_id}\"}")};
}

namespace {

// Check the texts that are the same in each packet. Those of a row are checked when it is sent.
void check_strings(const options& o) {
  if (const auto problem = string_problem(o.content_type))
    throw pl::invalid_options("content_type", "the content type " + *problem);
  for (const auto& [name, value] : o.user_properties)
    if (const auto problem = string_problem(name))
      throw pl::invalid_options("user_properties", "the name " + shown(name) + " " + *problem);
  if (o.will && o.will->payload.size() > max_string_bytes)
    throw pl::invalid_options("will.payload", "the payload of a last will must have at most 65,535 bytes");
}

void check_together(const options& o) {
  if (o.qos == 2 && !o.clean_session)
    throw pl::invalid_options(
        "clean_session",
        "must be true with qos 2: the broker would drop a new message whose packet id it remembers from the previous "
        "session; set clean_session to true, or use qos 1");
  check_strings(o);
  if (o.version == protocol::v5) return;
  const auto only_5 = [](const char* option) {
    throw pl::invalid_options(option,
                              std::string("`") + option + "` requires MQTT 5; set `version: 5`, or omit the option");
  };
  if (o.message_expiry != 0ns) only_5("message_expiry");
  if (!o.content_type.empty()) only_5("content_type");
  if (!o.user_properties.empty()) only_5("user_properties");
  if (o.session_expiry != 0ns) only_5("session_expiry");
}

}  // namespace

connection_settings connection_of(const options& o, const pl::context& ctx) {
  check_together(o);
  connection_settings c;
  log_in(c, {o.url, o.user, o.password, o.tls});
  c.version = o.version;
  c.client_id = client_id_of(o.client_id, "writer", ctx);
  c.clean_session = o.clean_session;
  c.session_expiry = whole_seconds(o.session_expiry);
  c.keep_alive = whole_seconds(o.keep_alive);
  c.connect_timeout = o.connect_timeout;
  c.max_in_flight = o.max_in_flight.value_or(o.qos == 2 ? 20 : 100);
  if (o.will) {
    if (auto problem = topic_problem(o.will->topic)) throw pl::invalid_options("will.topic", *problem);
    c.will = will_message{o.will->topic, o.will->payload, o.will->qos, o.will->retain};
  }
  return c;
}

topic_template topic_of(const options& o) {
  auto t = topic_template::parse(o.topic, o.ids);
  if (!t.ok()) throw pl::invalid_options("topic", t.why().message);
  return std::move(*t);
}

pl::text_template text_of(const std::string& source, const std::string& option) {
  auto t = pl::text_template::parse(source);
  if (!t.ok()) throw pl::invalid_options(option, t.why().message);
  return std::move(*t);
}

pl::payload_template payload_of(const std::string& source) {
  auto t = pl::payload_template::parse(source);
  if (!t.ok()) throw pl::invalid_options("payload", t.why().message);
  return std::move(*t);
}

pl::text_template property_of(const std::string& source, const std::string& option) {
  auto t = text_of(source, option);
  for (const auto& piece : t.pieces())
    if (const auto problem = string_problem(piece.text); problem && !piece.is_column)
      throw pl::invalid_options(option, "the value " + *problem);
  return t;
}

}  // namespace mqtt
