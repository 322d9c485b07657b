// SPDX-License-Identifier: Apache-2.0
// librdkafka's configuration properties, as given in a map in the configuration file.
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

// A property that a component sets itself, and the reason or the option to use instead.
struct owned_property {
  std::string_view name;
  std::string_view why;  // "use the option 'group'"
};

[[nodiscard]] std::string property_text(const pl::scalar& value);

// Return the property names that this librdkafka version supports (for consumers and producers).
[[nodiscard]] std::vector<std::string> known_properties();

// A librdkafka configuration under construction. Reports every error of the user under properties.<name>.
class properties {
 public:
  explicit properties(pl::context ctx);

  // Set a property of the plugin. An invalid one is a programming error and throws std::logic_error.
  void set(std::string_view name, std::string_view value);
  // Set a property that some librdkafka versions lack. Return false if this version lacks it.
  bool try_set(std::string_view name, std::string_view value);
  // Set the user's properties, which override the plugin's. Return false if an error was reported.
  [[nodiscard]] bool set_all(const property_map& given, std::span<const owned_property> owned);

  [[nodiscard]] std::string get(std::string_view name) const;  // empty if unset
  [[nodiscard]] conf_ptr copy() const { return conf_ptr(rd_kafka_conf_dup(conf_.get())); }

 private:
  [[nodiscard]] bool set_one(const std::string& name, const pl::scalar& value, std::span<const owned_property> owned);

  pl::context ctx_;
  conf_ptr conf_;
};

// Validate the option 'brokers' (a comma-separated list of host:port) and report errors. Return true if it is valid.
[[nodiscard]] bool check_brokers(pl::context ctx, std::string_view brokers);
// Return why `topic` is not a valid topic name; empty if it is valid.
[[nodiscard]] std::string topic_name_fault(std::string_view topic);

}  // namespace kafka
