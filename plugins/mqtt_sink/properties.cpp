// SPDX-License-Identifier: Apache-2.0
#include "properties.hpp"

#include <mqtt_common/strings.hpp>

namespace mqtt {
namespace {

// Paho copies the text when the property is added.
MQTTLenString borrowed(const std::string& s) {
  return MQTTLenString{static_cast<int>(s.size()), const_cast<char*>(s.data())};
}

}  // namespace

publish_properties::publish_properties(const options& o) : options_(o) {
  for (const auto& [name, value] : o.user_properties)
    user_.emplace_back(name, property_of(value, "user_properties." + name));
}

std::optional<publish_properties::missing_column> publish_properties::bind(const pl_schema& schema) {
  for (auto& [name, value] : user_)
    if (const auto missing = value.bind(schema)) return missing_column{"user_properties." + name, *missing};
  return std::nullopt;
}

std::optional<std::string> publish_properties::fill(MQTTProperties& to, pl::batch_view b, pl::row_index row) {
  if (options_.version != protocol::v5) return std::nullopt;
  if (options_.message_expiry > 0ns) {
    MQTTProperty p{};
    p.identifier = MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL;
    p.value.integer4 = static_cast<unsigned>(whole_seconds(options_.message_expiry).count());
    MQTTProperties_add(&to, &p);
  }
  if (!options_.content_type.empty()) {
    MQTTProperty p{};
    p.identifier = MQTTPROPERTY_CODE_CONTENT_TYPE;
    p.value.data = borrowed(options_.content_type);
    MQTTProperties_add(&to, &p);
  }
  for (auto& [name, value] : user_) {
    if (auto problem = render(name, value, b, row)) return problem;
    MQTTProperty p{};
    p.identifier = MQTTPROPERTY_CODE_USER_PROPERTY;
    p.value.data = borrowed(name);
    p.value.value = borrowed(text_);
    MQTTProperties_add(&to, &p);
  }
  return std::nullopt;
}

// Render a value into text_. The schema may differ from that of the batch before.
std::optional<std::string> publish_properties::render(const std::string& name, pl::text_template& value,
                                                      pl::batch_view b, pl::row_index row) {
  (void)value.bind(b.schema());
  text_.clear();
  value.render(text_, b, row);
  auto problem = string_problem(text_);
  if (!problem) return std::nullopt;
  const auto reason = [&](const std::string& hint) {
    return "the user property '" + name + "' is " + shown(text_) + ": it " + *problem + hint;
  };
  if (options_.ids == unsafe_ids::reject) return reason(" (unsafe_ids: escape would encode it)");
  text_.clear();
  value.render(text_, b, row, append_allowed);
  problem = string_problem(text_);
  return problem ? std::optional(reason({})) : std::nullopt;
}

}  // namespace mqtt
