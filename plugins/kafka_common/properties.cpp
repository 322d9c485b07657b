// SPDX-License-Identifier: Apache-2.0
#include <pipeline/host_port.hpp>
#include <pipeline/text.hpp>

#include <kafka_common/properties.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace kafka {

std::string property_text(const pl::scalar& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* real = std::get_if<double>(&value)) {
    std::array<char, 32> text;
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), *real).ptr};
  }
  return {};
}

// A dump of a configuration omits aliases such as linger.ms. The table that librdkafka prints has them, one per row:
// "name | C/P | range | ...".
std::vector<std::string> known_properties() {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* memory = open_memstream(&text, &size);
  if (memory == nullptr) return {};
  rd_kafka_conf_properties_show(memory);
  std::fclose(memory);
  std::istringstream table(std::string(text, size));
  std::free(text);
  std::vector<std::string> names;
  for (std::string line; std::getline(table, line);) {
    const auto name = line.substr(0, line.find(' '));
    const bool is_row = line.find('|') != std::string::npos && !name.empty() && name != "Property" && name[0] != '-';
    if (is_row) names.push_back(name);
  }
  return names;
}

properties::properties(pl::context ctx) : ctx_(ctx), conf_(rd_kafka_conf_new()) {}

void properties::set(std::string_view name, std::string_view value) {
  if (!try_set(name, value)) throw std::logic_error("librdkafka rejects '" + std::string(name) + "'");
}

bool properties::try_set(std::string_view name, std::string_view value) {
  return rd_kafka_conf_set(conf_.get(), std::string(name).c_str(), std::string(value).c_str(), nullptr, 0) ==
         RD_KAFKA_CONF_OK;
}

bool properties::set_all(const property_map& given, std::span<const owned_property> owned) {
  bool all_well = true;
  for (const auto& [name, value] : given) all_well = set_one(name, value, owned) && all_well;
  return all_well;
}

bool properties::set_one(const std::string& name, const pl::scalar& value, std::span<const owned_property> owned) {
  const auto where = "properties." + name;
  const auto own = std::find_if(owned.begin(), owned.end(), [&](const auto& o) { return o.name == name; });
  if (own != owned.end()) {
    ctx_.option_error(where, "'" + name + "' cannot be set: " + std::string(own->why));
    return false;
  }
  std::array<char, 512> why{};
  const auto outcome =
      rd_kafka_conf_set(conf_.get(), name.c_str(), property_text(value).c_str(), why.data(), why.size());
  if (outcome == RD_KAFKA_CONF_OK) return true;
  if (outcome == RD_KAFKA_CONF_UNKNOWN)
    ctx_.option_error(where, "librdkafka " + std::string(rd_kafka_version_str()) + " has no property '" + name + "'" +
                                 pl::did_you_mean(name, known_properties(), "; "));
  else
    ctx_.option_error(where, "librdkafka rejects the value: " + std::string(why.data()));
  return false;
}

std::string properties::get(std::string_view name) const {
  std::array<char, 4096> value{};
  auto size = value.size();
  if (rd_kafka_conf_get(conf_.get(), std::string(name).c_str(), value.data(), &size) != RD_KAFKA_CONF_OK) return {};
  return {value.data()};
}

namespace {

// Return the error in one "host:port", "[::1]:9092" or "PLAINTEXT://host:port"; empty if it is valid.
std::string broker_fault(std::string_view broker) {
  const auto named = "'" + std::string(broker) + "'";
  if (const auto scheme = broker.find("://"); scheme != std::string_view::npos) broker.remove_prefix(scheme + 3);
  const auto colon = broker.rfind(':');
  if (broker.empty() || colon == 0) return named + " has no host name; use host:port";
  if (colon == std::string_view::npos || broker.back() == ']') return {};  // librdkafka's default port: 9092
  if (pl::parse_port(broker.substr(colon + 1)).value_or(0) == 0)
    return "the port of " + named + " is not a number between 1 and 65535";
  return {};
}

}  // namespace

bool check_brokers(pl::context ctx, std::string_view brokers) {
  bool all_well = true;
  for (std::size_t from = 0; from <= brokers.size();) {
    const auto comma = std::min(brokers.find(',', from), brokers.size());
    const auto broker = pl::trim(brokers.substr(from, comma - from), " ");
    const auto fault = broker.empty() ? std::string("an address is empty; use host:port, or host:port,host:port")
                                      : broker_fault(broker);
    if (!fault.empty()) ctx.option_error("brokers", fault);
    all_well = all_well && fault.empty();
    from = comma + 1;
  }
  return all_well;
}

std::string topic_name_fault(std::string_view topic) {
  constexpr std::size_t longest = 249;  // Kafka's own limit
  if (topic.empty()) return "the topic name is empty";
  if (topic.size() > longest) return "the topic name is longer than 249 characters, Kafka's limit";
  if (topic == "." || topic == "..") return "'" + std::string(topic) + "' is not a valid topic name in Kafka";
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  const auto odd = std::find_if_not(topic.begin(), topic.end(), allowed);
  if (odd == topic.end()) return {};
  return "'" + std::string(topic) +
         "' is not a valid topic name: Kafka allows letters, digits, '.', '_' and '-', not '" + std::string(1, *odd) +
         "'";
}

}  // namespace kafka
