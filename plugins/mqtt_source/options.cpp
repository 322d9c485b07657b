// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "filters.hpp"

namespace mqtt {

pl::option_table<source_options> source_options::table() {
  using pl::option;
  using o = source_options;
  return {
      option(&o::url, "url",
             "URL of the broker: mqtt://host:1883 or mqtts://host:8883 (TLS); tcp:// and ssl:// are synonyms. May "
             "contain user:password@.")
          .required()
          .secret()
          .example("mqtt://127.0.0.1:1883"),
      option(&o::topic, "topic",
             "Topic filter to subscribe to: + matches one level, # matches all remaining levels; "
             "$share/<group>/<filter> distributes the messages over the lanes and hosts of the group; several lanes "
             "require it.")
          .example("\"users/+/devices/+/telemetry\""),
      option(&o::topics, "topics", "List of topic filters, in place of 'topic'.")
          .example("[\"users/+/devices/+/telemetry\", \"sites/#\"]"),
      option(&o::qos, "qos",
             "Maximum QoS of the subscription. 0: messages may be lost; 1: at least once; 2: exactly once on this "
             "connection.")
          .range(0, 2),
      option(&o::segments, "segments",
             "Columns from the topic: {name} is one topic level, as text. Null if the topic does not match.")
          .example("users/{user_id}/devices/{device_id}/telemetry"),
      option(&o::retained, "retained", "What to do with retained messages: take or skip them."),
      option(&o::version, "version", "MQTT protocol version."),
      option(&o::client_id, "client_id",
             "Client id; {lane} stands for the lane's number. The broker stores the session under this id. Default: "
             "pipeline, node, lane and a hash of host name and state directory, which is the same after a restart."),
      option(&o::user, "user", "User name for the broker."),
      option(&o::password, "password", "Password of `user`.").secret().example("\"${MQTT_PASSWORD}\""),
      option(&o::max_in_flight, "max_in_flight",
             "MQTT 5: maximum number of unacknowledged messages from the broker (receive maximum). With 3.1.1, "
             "configure the limit in the broker.")
          .range(1, 65'535),
      option(&o::clean_session, "clean_session",
             "Whether the broker discards the previous session, with its queued messages, at each connection."),
      option(&o::session_expiry, "session_expiry",
             "MQTT 5: how long the broker keeps the session after a disconnect; whole seconds.")
          .range(0, 4'294'967'294.0),
      option(&o::connect_timeout, "connect_timeout", "Time-out for connecting.").range(2, 600),
      option(&o::keep_alive, "keep_alive",
             "Time without traffic after which a ping is sent to the broker; whole seconds. 0: never.")
          .range(0, 65'535),
      option(&o::tls, "tls", "TLS settings for mqtts://.").example("{ca: /etc/ssl/broker-ca.pem}"),
      option(&o::spool, "spool", "Log on the local disk that stores messages until the sinks have them.")};
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

std::string option_of(const source_options& o, std::size_t filter) {
  return o.topic ? "topic" : "topics[" + std::to_string(filter) + "]";
}

// Reject filters with which messages are stored twice, and warn of those with which they may be.
void check_together(const source_options& o, const std::vector<std::string>& filters, const pl::context& ctx) {
  for (std::size_t i = 0; i < filters.size(); ++i) {
    if (ctx.lanes() > 1 && split(filters[i]).group.empty())
      throw pl::invalid_options(option_of(o, i), "with " + std::to_string(ctx.lanes()) + " lanes each message of '" +
                                                     filters[i] +
                                                     "' would be stored once for each lane; distribute them with "
                                                     "'$share/<group>/" +
                                                     filters[i] + "', or set `lanes: 1`");
    for (std::size_t j = 0; j < i; ++j) {
      const auto pair = compare(filters[j], filters[i]);
      if (pair.how == relation::redundant) throw pl::invalid_options(option_of(o, i), pair.problem);
      if (pair.how == relation::overlapping) ctx.option_warning(option_of(o, i), pair.problem);
    }
  }
}

}  // namespace

std::vector<std::string> filters_of(const source_options& o, const pl::context& ctx) {
  if (o.topic && !o.topics.empty()) throw pl::invalid_options("topics", "set either 'topic' or 'topics', not both");
  auto all = o.topics;
  if (o.topic) all.push_back(*o.topic);
  if (all.empty())
    throw pl::invalid_options("topic", "set the topic filter to subscribe to, or a list of filters in 'topics'");
  for (std::size_t i = 0; i < all.size(); ++i)
    if (const auto problem = filter_problem(all[i]); !problem.empty())
      throw pl::invalid_options(option_of(o, i), "'" + all[i] + "': " + problem);
  check_together(o, all, ctx);
  return all;
}

}  // namespace mqtt
