// SPDX-License-Identifier: Apache-2.0
// librdkafka's configuration properties, as a map in the configuration file.
#pragma once

#include <pipeline/context.hpp>
#include <pipeline/options.hpp>

#include <kafka_common/handles.hpp>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kafka {

using property_map = std::map<std::string, pl::scalar>;

// A property that a component sets itself, and what to use in its place.
struct owned_property {
  std::string_view name;
  std::string_view why;  // "use the option 'group'"
};

[[nodiscard]] std::string property_text(const pl::scalar& value);

// Names that this librdkafka knows (of consumers and producers).
[[nodiscard]] std::vector<std::string> known_properties();

// A configuration under construction. Mistakes of the user are reported at properties.<name>, all of them.
class properties {
 public:
  explicit properties(pl::context ctx);

  // A property of our own choosing; a wrong one is a mistake in our code and throws std::logic_error.
  void set(std::string_view name, std::string_view value);
  // One that not every librdkafka has. False: it doesn't.
  bool try_set(std::string_view name, std::string_view value);
  // The user's, over ours. False: something was wrong, and has been reported.
  [[nodiscard]] bool set_all(const property_map& given, std::span<const owned_property> owned);

  [[nodiscard]] std::string get(std::string_view name) const;  // empty where unset
  [[nodiscard]] conf_ptr copy() const { return conf_ptr(rd_kafka_conf_dup(conf_.get())); }

 private:
  [[nodiscard]] bool set_one(const std::string& name, const pl::scalar& value, std::span<const owned_property> owned);

  pl::context ctx_;
  conf_ptr conf_;
};

// Reports what is wrong with the option 'brokers' (a list of host:port, separated by commas). True: nothing.
[[nodiscard]] bool check_brokers(pl::context ctx, std::string_view brokers);
// Why `topic` can't be a topic's name; empty: it can.
[[nodiscard]] std::string topic_name_fault(std::string_view topic);

}  // namespace kafka
