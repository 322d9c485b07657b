// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace mqtt {

pl::option_table<source_options> source_options::table() {
  using pl::option;
  using o = source_options;
  return {
      option(&o::url, "url",
             "The broker: mqtt://host:1883 or mqtts://host:8883 (TLS); tcp:// and ssl:// mean the same. May hold "
             "user:password@.")
          .required()
          .secret()
          .example("mqtt://127.0.0.1:1883"),
      option(&o::topic, "topic",
             "Topic filter to subscribe to: + stands for one level, # for all that follow; $share/<group>/<filter> "
             "shares the messages with other hosts of the group.")
          .example("\"users/+/devices/+/telemetry\""),
      option(&o::topics, "topics", "Several filters, instead of 'topic'.")
          .example("[\"users/+/devices/+/telemetry\", \"sites/#\"]"),
      option(&o::qos, "qos",
             "The most that the broker delivers with. 0: may be lost on the way; 1: at least once; 2: once on this "
             "connection.")
          .range(0, 2),
      option(&o::segments, "segments",
             "Columns from the topic: {name} is one level of it, as text. Null where the topic has another form.")
          .example("users/{user_id}/devices/{device_id}/telemetry"),
      option(&o::retained, "retained",
             "What to do with messages that the broker has kept from before: take them, or skip them."),
      option(&o::version, "version", "Version of the protocol."),
      option(
          &o::client_id, "client_id",
          "Name of this client; {lane} stands for the lane's number. The broker keeps its messages under it while it "
          "is away. Default: made of pipeline, node, lane and a hash of host name and state directory, the same "
          "after a restart."),
      option(&o::user, "user", "Name under which to log in to the broker."),
      option(&o::password, "password", "Password of `user`.").secret().example("\"${MQTT_PASSWORD}\""),
      option(&o::max_in_flight, "max_in_flight",
             "MQTT 5: how many messages the broker may have on their way to us without an acknowledgement. With 3.1.1 "
             "the broker has a setting of its own.")
          .range(1, 65'535),
      option(&o::clean_session, "clean_session", "Whether the broker forgets what came for us while we were away."),
      option(&o::session_expiry, "session_expiry",
             "MQTT 5: how long the broker keeps our session when we are away; whole seconds.")
          .range(0, 4'294'967'294.0),
      option(&o::connect_timeout, "connect_timeout", "How long connecting may take.").range(2, 600),
      option(&o::keep_alive, "keep_alive",
             "After this long without traffic the broker is asked whether it is still there; whole seconds. 0: never.")
          .range(0, 65'535),
      option(&o::tls, "tls", "Certificates, for mqtts://.").example("{ca: /etc/ssl/broker-ca.pem}"),
      option(&o::spool, "spool", "The log on the local disk in which messages wait until the sinks have them.")};
}

connection_settings connection_of(const source_options& o, const pl::context& ctx) {
  connection_settings c;
  log_in(c, {o.url, o.user, o.password, o.tls});
  c.version = o.version;
  c.client_id = client_id_of(o.client_id, "lane", ctx);
  c.clean_session = o.clean_session;
  if (o.version == protocol::v5 && !o.clean_session) c.session_expiry = whole_seconds(o.session_expiry);
  c.keep_alive = whole_seconds(o.keep_alive);
  c.connect_timeout = o.connect_timeout;
  c.max_in_flight = o.max_in_flight;
  c.reconnects = false;
  return c;
}

namespace {

std::string_view without_share(std::string_view filter) {
  if (!filter.starts_with("$share/")) return filter;
  const auto slash = filter.find('/', 7);
  return slash == std::string_view::npos ? std::string_view() : filter.substr(slash + 1);
}

// Why text can't be a topic filter (MQTT 5, 4.7); empty where it can.
std::string filter_problem(std::string_view text) {
  const auto filter = without_share(text);
  if (filter.empty() || filter.size() > 65'535)
    return text.starts_with("$share/") ? "a shared subscription is $share/<group>/<filter>"
                                       : "a topic filter has 1 to 65,535 bytes";
  if (!pl::is_utf8(filter) || filter.find('\0') != std::string_view::npos) return "a topic filter is text, without NUL";
  for (std::size_t i = 0; i < filter.size(); ++i) {
    const bool alone = (i == 0 || filter[i - 1] == '/') && (i + 1 == filter.size() || filter[i + 1] == '/');
    if ((filter[i] == '+' || filter[i] == '#') && !alone)
      return std::string("'") + filter[i] + "' stands for a whole level: it has a / on both sides, or the end";
    if (filter[i] == '#' && i + 1 != filter.size()) return "'#' stands at the end of a filter only";
  }
  return {};
}

}  // namespace

std::vector<std::string> filters_of(const source_options& o) {
  if (o.topic && !o.topics.empty()) throw pl::invalid_options("topics", "give either 'topic' or 'topics', not both");
  auto all = o.topics;
  if (o.topic) all.push_back(*o.topic);
  if (all.empty()) throw pl::invalid_options("topic", "name the topic filter to subscribe to, or several as 'topics'");
  for (std::size_t i = 0; i < all.size(); ++i)
    if (const auto problem = filter_problem(all[i]); !problem.empty())
      throw pl::invalid_options(o.topic ? "topic" : "topics[" + std::to_string(i) + "]",
                                "'" + all[i] + "': " + problem);
  return all;
}

}  // namespace mqtt
