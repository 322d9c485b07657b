// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace kafka {

namespace {

constexpr std::array owned_properties{
    owned_property{"bootstrap.servers", "use the option 'brokers'"},
    owned_property{"metadata.broker.list", "use the option 'brokers'"},
    owned_property{"compression.codec", "use the option 'compression'"},
    owned_property{"compression.type", "use the option 'compression'"},
    owned_property{"message.timeout.ms", "use the option 'delivery_timeout'"},
    owned_property{"delivery.timeout.ms", "use the option 'delivery_timeout'"},
    owned_property{"transaction.timeout.ms", "use the option 'transaction_timeout'"},
    owned_property{"transactional.id", "with 'delivery: exactly_once' the sink sets one for each stream"},
    owned_property{"isolation.level", "the sink sets it for reading positions"},
    owned_property{"delivery.report.only.error", "the sink requires a report for each record"},
};

std::string milliseconds(std::chrono::nanoseconds d) {
  return std::to_string(std::chrono::ceil<std::chrono::milliseconds>(d).count());
}

std::string_view name_of(codec c) {
  for (const auto& [name, value] : choices(codec{}))
    if (value == c) return name;
  return "none";
}

void set_common(properties& to, const sink_options& options, pl::context ctx) {
  to.set("bootstrap.servers", options.brokers);
  to.set("client.id", "pipeline-host-" + std::string(ctx.pipeline()) + "." + std::string(ctx.node()));
  to.set("socket.keepalive.enable", "true");
  to.set("reconnect.backoff.max.ms", "2000");
}

// Apply the user's settings over the plugin's. They were checked in the constructor of the sink.
conf_ptr with_given(properties& to, const sink_options& options, pl::context ctx) {
  (void)set_security(to, options.tls, options.sasl, options.properties, ctx);
  (void)to.set_all(options.properties, owned_properties);
  return to.copy();
}

}  // namespace

bool check_connection(const sink_options& options, pl::context ctx) {
  const bool well = check_brokers(ctx, options.brokers);
  properties given(ctx);
  const bool secured = set_security(given, options.tls, options.sasl, options.properties, ctx);
  return given.set_all(options.properties, owned_properties) && secured && well;
}

conf_ptr producer_conf(const sink_options& options, pl::context ctx, const std::string& transactional_id) {
  const bool exact = !transactional_id.empty();
  properties to(ctx);
  set_common(to, options, ctx);
  to.set("enable.idempotence", "true");
  to.set("compression.codec", name_of(options.compression));
  to.set("partitioner", "murmur2_random");  // like Java clients: a key has the same partition for every producer
  to.set("linger.ms", "5");
  to.set("queue.buffering.max.messages", "1000000");
  constexpr std::uint64_t least = 4096, most = 2'000'000;
  to.set("queue.buffering.max.kbytes", std::to_string(std::clamp(ctx.memory_limit() / 1024, least, most)));
  to.set("message.timeout.ms", milliseconds(exact ? std::min(options.delivery_timeout, options.transaction_timeout)
                                                  : options.delivery_timeout));
  if (exact) {
    to.set("transactional.id", transactional_id);
    to.set("transaction.timeout.ms", milliseconds(options.transaction_timeout));
  }
  return with_given(to, options, ctx);
}

conf_ptr reader_conf(const sink_options& options, pl::context ctx) {
  properties to(ctx);
  set_common(to, options, ctx);
  to.set("isolation.level", "read_committed");
  to.set("enable.partition.eof", "true");
  to.set("fetch.wait.max.ms", "10");  // the end of a partition is detected when a fetch returns
  to.set("check.crcs", "true");
  return with_given(to, options, ctx);
}

conf_ptr observer_conf(const sink_options& options, pl::context ctx) {
  properties to(ctx);
  set_common(to, options, ctx);
  to.set("isolation.level", "read_uncommitted");
  return with_given(to, options, ctx);
}

}  // namespace kafka
