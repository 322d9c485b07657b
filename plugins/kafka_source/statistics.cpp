// SPDX-License-Identifier: Apache-2.0
#include "statistics.hpp"

#include <rapidjson/document.h>

#include <algorithm>

namespace kafka {

namespace {

using value = rapidjson::Value;

std::int64_t integer(const value& object, const char* name, std::int64_t otherwise) {
  const auto found = object.FindMember(name);
  return found != object.MemberEnd() && found->value.IsInt64() ? found->value.GetInt64() : otherwise;
}

const value* member(const value& object, const char* name) {
  const auto found = object.FindMember(name);
  return found != object.MemberEnd() && found->value.IsObject() ? &found->value : nullptr;
}

void add_broker(const value& broker, statistics& to) {
  const auto state = broker.FindMember("state");
  if (state != broker.MemberEnd() && state->value.IsString() && std::string_view(state->value.GetString()) == "UP")
    ++to.connected_brokers;
  if (const auto* rtt = member(broker, "rtt"))
    to.slowest_round_trip = std::max(to.slowest_round_trip, static_cast<double>(integer(*rtt, "avg", 0)) / 1e6);
}

void add_topic(const std::string& topic, const value& partitions, statistics& to) {
  for (const auto& [id, p] : partitions.GetObject()) {
    const auto number = p.IsObject() ? integer(p, "partition", -1) : -1;
    if (number < 0) continue;  // -1: librdkafka's internal partition for unassigned messages
    to.partitions.push_back({topic, static_cast<std::int32_t>(number),
                             static_cast<std::int32_t>(integer(p, "leader", -1)), integer(p, "consumer_lag", -1)});
    // All partitions forward to one queue (see fetch_queue.hpp), and each reports the size of the whole queue.
    to.queued_messages = std::max(to.queued_messages, integer(p, "fetchq_cnt", 0));
    to.queued_bytes = std::max(to.queued_bytes, integer(p, "fetchq_size", 0));
  }
}

}  // namespace

std::optional<statistics> parse_statistics(std::string_view json) {
  rapidjson::Document document;
  document.Parse(json.data(), json.size());
  if (document.HasParseError() || !document.IsObject()) return std::nullopt;
  statistics found;
  found.received_bytes = integer(document, "rx_bytes", 0);
  if (const auto* brokers = member(document, "brokers"))
    for (const auto& [name, broker] : brokers->GetObject())
      if (broker.IsObject()) add_broker(broker, found);
  if (const auto* topics = member(document, "topics"))
    for (const auto& [name, topic] : topics->GetObject())
      if (const auto* partitions = topic.IsObject() ? member(topic, "partitions") : nullptr)
        add_topic(name.GetString(), *partitions, found);
  return found;
}

}  // namespace kafka
