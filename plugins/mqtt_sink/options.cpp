// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace mqtt {

pl::option_table<will_options> will_options::table() {
  return {
      pl::option(&will_options::topic, "topic", "Topic of the last will.").required().example("hosts/pipeline/status"),
      pl::option(&will_options::payload, "payload", "What it says."),
      pl::option(&will_options::qos, "qos", "Its quality of service.").range(0, 2),
      pl::option(&will_options::retain, "retain", "Whether the broker keeps it for those who subscribe later.")};
}

pl::option_table<options> options::table() {
  using pl::option;
  return {
      option(&options::url, "url",
             "The broker: mqtt://host:1883 or mqtts://host:8883 (TLS); tcp:// and ssl:// mean the same. May hold "
             "user:password@.")
          .required()
          .secret()
          .example("mqtt://127.0.0.1:1883"),
      option(
          &options::topic, "topic",
          "Topic of each row's message; {column} stands for the row's value. A row whose value is empty or null has no "
          "topic and is rejected.")
          .required()
          .example("users/{user_id}/devices/{device_id}/alerts"),
      option(&options::ids, "unsafe_ids",
             "What to do with values that could reach another device's topic (with / + # $ %, control characters or "
             "invalid UTF-8). escape: percent-encode them, so that a/b becomes a%2Fb; reject: send the row to the dead "
             "letters."),
      option(&options::qos, "qos",
             "0: handed to the network, may be lost; 1: acknowledged, at least once; 2: acknowledged in two steps, "
             "exactly "
             "once on this connection.")
          .range(0, 2),
      option(&options::retain, "retain",
             "Whether the broker keeps the last message of each topic for those who subscribe later."),
      option(
          &options::payload, "payload",
          "The message: text with {column}, e.g. \"{value}\" for one column as it is. Default: the whole row as JSON.")
          .example("\"{message}\""),
      option(&options::version, "version", "Version of the protocol."),
      option(&options::client_id, "client_id",
             "Name of this client; {writer} stands for the writer's number. Must be unique on the broker. Default: "
             "made of "
             "pipeline, node, writer and a hash of host name and state directory, the same after a restart."),
      option(&options::user, "user", "Name under which to log in to the broker."),
      option(&options::password, "password", "Password of `user`.").secret().example("\"${MQTT_PASSWORD}\""),
      option(
          &options::max_in_flight, "max_in_flight",
          "Messages that may be on their way without an acknowledgement. A broker with MQTT 5 can lower it. Default: "
          "100, and 20 with qos 2, since Mosquitto hangs up at more (its max_inflight_messages).")
          .range(1, 65'000),
      option(&options::ack_timeout, "ack_timeout",
             "How long to wait for the next acknowledgement before the connection counts as lost.")
          .range(0.1, 3'600),
      option(&options::connect_timeout, "connect_timeout", "How long connecting may take.").range(2, 600),
      option(&options::keep_alive, "keep_alive",
             "After this long without traffic the broker is asked whether it is still there; whole seconds. 0: never.")
          .range(0, 65'535),
      option(&options::clean_session, "clean_session",
             "Whether the broker forgets the session of the connection before. Must be true with qos 2."),
      option(&options::session_expiry, "session_expiry",
             "MQTT 5: how long the broker keeps the session after the connection is gone; whole seconds.")
          .range(0, 4'294'967'294.0),
      option(&options::max_message, "max_message", "Larger messages (topic and payload together) are rejected.")
          .range(1, 268'435'456),
      option(&options::max_disconnects, "max_disconnects",
             "A message at which the broker closes the connection this many times in a row, when it is the only one on "
             "its "
             "way, is rejected, so that it doesn't hold up all others. 0: never.")
          .range(0, 1'000),
      option(&options::tls, "tls", "Certificates, for mqtts://.").example("{ca: /etc/ssl/broker-ca.pem}"),
      option(&options::will, "will", "What the broker publishes when this client is gone without a goodbye.")
          .example("{topic: hosts/pipeline/status, payload: offline}"),
      option(&options::message_expiry, "message_expiry",
             "MQTT 5: how long the broker keeps a message for subscribers that are away; whole seconds. 0: for ever.")
          .range(0, 4'294'967'294.0),
      option(&options::content_type, "content_type", "MQTT 5: the message's content type.").example("application/json"),
      option(&options::user_properties, "user_properties",
             "MQTT 5: names and values that go with each message; values may have {column}.")
          .example("{alert_id: \"{alert_id}\"}")};
}

namespace {

void check_together(const options& o) {
  if (o.qos == 2 && !o.clean_session)
    throw pl::invalid_options(
        "clean_session",
        "with qos 2 the session must be clean: a message number that the broker remembers "
        "from before would make it drop a new message; leave clean_session at true, or use qos 1");
  if (o.version == protocol::v5) return;
  const auto only_5 = [](const char* option) {
    throw pl::invalid_options(option, std::string("`") + option + "` needs MQTT 5; set `version: 5`, or leave it out");
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

}  // namespace mqtt
