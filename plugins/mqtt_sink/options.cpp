// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace mqtt {

pl::option_table<tls_options> tls_options::table() {
  return {
      pl::option(&tls_options::ca, "ca",
                 "PEM file of the authorities that may have signed the broker's certificate. Default: the system's.")
          .example("/etc/ssl/broker-ca.pem"),
      pl::option(&tls_options::cert, "cert",
                 "PEM file of the client's own certificate, where the broker asks for one."),
      pl::option(&tls_options::key, "key", "PEM file of the key of `cert`, if it isn't in the same file."),
      pl::option(&tls_options::key_password, "key_password", "Password of `key`.").secret(),
      pl::option(
          &tls_options::verify, "verify",
          "Whether the broker must prove that it is the host in `url`. Without it, anybody in between can read and "
          "change everything.")};
}

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

// The same on each start of this pipeline on this machine, another on any other machine.
std::string default_client_id(const pl::context& ctx) {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  std::error_code ignored;
  const auto place =
      std::string(host.data()) + ":" + std::filesystem::absolute(std::string(ctx.state_dir()), ignored).string();
  std::uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a: must not change with the standard library
  for (const char c : place) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  std::string id(ctx.pipeline());
  id.append("-").append(ctx.node()).append("-").append(std::to_string(ctx.lane())).append("-");
  for (int i = 0; i < 8; ++i, hash >>= 4U) id.push_back("0123456789abcdef"[hash & 15U]);
  return id;
}

std::string expand_client_id(const std::string& source, const pl::context& ctx) {
  if (source.empty()) return default_client_id(ctx);
  auto parsed = pl::text_template::parse(source);
  if (!parsed.ok()) throw pl::invalid_options("client_id", parsed.why().message);
  std::string id;
  bool numbered = false;
  for (const auto& piece : parsed->pieces()) {
    if (piece.is_column && piece.text != "writer")
      throw pl::invalid_options("client_id", "unknown name {" + piece.text + "} in the client id; there is {writer}");
    id += piece.is_column ? std::to_string(ctx.lane()) : piece.text;
    numbered |= piece.is_column;
  }
  if (ctx.lanes() > 1 && !numbered)
    throw pl::invalid_options("client_id", "with " + std::to_string(ctx.lanes()) +
                                               " writers each needs an id of its own; put {writer} into it");
  if (!pl::is_utf8(id) || id.size() > 65'535 || id.find('\0') != std::string::npos)
    throw pl::invalid_options("client_id", "a client id is at most 65,535 bytes of text");
  return id;
}

void check_together(const options& o, const broker_url& url) {
  if (o.tls && !url.tls)
    throw pl::invalid_options("tls",
                              "`tls` is set, but the URL asks for a connection without it; write mqtts:// in `url`");
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

std::chrono::seconds whole_seconds(std::chrono::nanoseconds d) { return std::chrono::ceil<std::chrono::seconds>(d); }

connection_settings connection_of(const options& o, const pl::context& ctx) {
  auto url = parse_broker_url(o.url);
  if (!url.ok()) throw pl::invalid_options("url", url.why().message);
  check_together(o, *url);
  connection_settings c;
  if (!o.user.empty() && !url->user.empty())
    throw pl::invalid_options("user", "the user stands in `url` and in `user`; leave one out");
  c.user = o.user.empty() ? url->user : o.user;
  c.password = o.password.empty() ? url->password : o.password;
  if (!c.password.empty() && c.user.empty()) throw pl::invalid_options("password", "a password needs a `user`");
  c.url = std::move(*url);
  c.version = o.version;
  c.client_id = expand_client_id(o.client_id, ctx);
  c.clean_session = o.clean_session;
  c.session_expiry = whole_seconds(o.session_expiry);
  c.keep_alive = whole_seconds(o.keep_alive);
  c.connect_timeout = o.connect_timeout;
  c.max_in_flight = o.max_in_flight.value_or(o.qos == 2 ? 20 : 100);
  if (o.tls) c.tls = {o.tls->ca, o.tls->cert, o.tls->key, o.tls->key_password, o.tls->verify};
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
