// SPDX-License-Identifier: Apache-2.0
#include "config/describe.hpp"
#include "config/host_options.hpp"
#include "config/option_table.hpp"
#include "config/option_text.hpp"
#include "config/scalars.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pl::config {

namespace {

// A minimal JSON writer for the schema. Members keep the order in which they were added.
class json {
 public:
  static json literal(std::string text) { return json(type::literal, std::move(text)); }
  static json text(std::string_view s) { return literal(quote(s)); }
  static json boolean(bool b) { return literal(b ? "true" : "false"); }
  static json object() { return json(type::object, {}); }
  static json array() { return json(type::array, {}); }
  static json strings(const std::vector<std::string_view>& list) {
    auto result = array();
    for (const auto s : list) result.push(text(s));
    return result;
  }

  json& set(std::string key, json what) & {
    keys_.push_back(std::move(key));
    children_.push_back(std::move(what));
    return *this;
  }
  json&& set(std::string key, json what) && { return std::move(set(std::move(key), std::move(what))); }
  json& push(json what) {
    children_.push_back(std::move(what));
    return *this;
  }
  [[nodiscard]] bool empty() const { return children_.empty(); }

  void write(std::string& out, std::size_t depth = 0) const {
    if (type_ == type::literal) {
      out += literal_;
      return;
    }
    const bool map = type_ == type::object;
    out += map ? '{' : '[';
    for (std::size_t i = 0; i < children_.size(); ++i) {
      out += (i == 0 ? "\n" : ",\n") + std::string(2 * depth + 2, ' ');
      if (map) out += quote(keys_[i]) + ": ";
      children_[i].write(out, depth + 1);
    }
    if (!children_.empty()) out += '\n' + std::string(2 * depth, ' ');
    out += map ? '}' : ']';
  }

 private:
  enum class type : std::uint8_t { literal, object, array };

  json(type t, std::string literal) : type_(t), literal_(std::move(literal)) {}

  static std::string quote(std::string_view s) {
    std::string out = "\"";
    for (const char c : s) {
      if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      } else {
        out += c;
      }
    }
    return out + '"';
  }

  type type_;
  std::string literal_;
  std::vector<std::string> keys_;
  std::vector<json> children_;
};

constexpr std::string_view reference = R"(\$\{)";  // the value of a variable can have any type

json type_of(std::string_view name) { return json::object().set("type", json::text(name)); }

json any_of(json first, json second) {
  auto both = json::array();
  both.push(std::move(first)).push(std::move(second));
  return json::object().set("anyOf", std::move(both));
}

json pattern(std::string_view regex) {
  return type_of("string").set("pattern", json::text(fmt::format("^({})$|{}", regex, reference)));
}

json ranged(std::string_view type, const pl_option& option) {
  auto schema = type_of(type);
  const bool left_out = std::fpclassify(option.min) == FP_ZERO && std::fpclassify(option.max) == FP_ZERO;
  if (left_out) return schema;
  if (std::isfinite(option.min)) schema.set("minimum", json::literal(fmt::format("{}", option.min)));
  if (std::isfinite(option.max)) schema.set("maximum", json::literal(fmt::format("{}", option.max)));
  return schema;
}

json object_schema(std::span<const pl_option> table);

json scalar_text() { return json::object().set("type", json::strings({"string", "number", "boolean"})); }

json list_schema(const pl_option& option);
json map_schema(const pl_option& option);

// YAML reads the word null as no value.
json choice_schema(const std::vector<std::string_view>& words) {
  auto choice = json::object().set("enum", json::strings(words));
  if (std::find(words.begin(), words.end(), "null") != words.end())
    return any_of(std::move(choice), any_of(type_of("null"), pattern("$^")));
  return any_of(std::move(choice), pattern("$^"));
}

json value_schema(const pl_option& option) {
  switch (option.kind) {
    case PL_OPT_TEXT:
      return scalar_text();
    case PL_OPT_BOOL:
      return any_of(type_of("boolean"), pattern("true|false"));
    case PL_OPT_INT:
      return any_of(ranged("integer", option), pattern("-?[0-9]+"));
    case PL_OPT_FLOAT:
      return any_of(ranged("number", option), pattern("-?[0-9.]+([eE][-+]?[0-9]+)?"));
    case PL_OPT_DURATION:
      return any_of(json::object().set("const", json::literal("0")),
                    pattern(R"(0|([0-9]+(\.[0-9]+)?(d|h|m|s|ms|us|µs|ns))+)"));
    case PL_OPT_SIZE:
      return any_of(ranged("integer", option), pattern(R"([0-9]+(\.[0-9]+)?([kKMGT]?B|[KMGT]iB)?)"));
    case PL_OPT_CHOICE:
      return choice_schema(split_choices(view(option.allowed)));
    case PL_OPT_LIST:
      return list_schema(option);
    case PL_OPT_MAP:
      return map_schema(option);
    case PL_OPT_OBJECT:
      return object_schema(fields_of(option));
    default:
      return json::object().set("type", json::strings({"string", "number", "boolean", "null"}));
  }
}

json list_schema(const pl_option& option) {
  auto list = type_of("array").set("items", value_schema(element_of(option)));
  return option.element == PL_OPT_TEXT ? any_of(std::move(list), scalar_text()) : list;
}

json map_schema(const pl_option& option) {
  return type_of("object").set("additionalProperties", value_schema(element_of(option)));
}

// Return the default as JSON, except for maps and lists.
std::optional<json> default_json(const pl_option& option) {
  const auto def = view(option.def);
  if (def.empty() || (option.flags & PL_SECRET) != 0) return std::nullopt;
  switch (option.kind) {
    case PL_OPT_BOOL:
    case PL_OPT_INT:
      return parse_bool(def) || parse_int(def) ? json::literal(std::string(def)) : json::text(def);
    case PL_OPT_FLOAT: {
      const auto number = parse_float(def);
      return number ? json::literal(fmt::format("{}", *number)) : json::text(def);
    }
    case PL_OPT_TEXT:
    case PL_OPT_CHOICE:
    case PL_OPT_DURATION:
    case PL_OPT_SIZE:
      return json::text(def);
    default:
      return std::nullopt;
  }
}

json option_schema(const pl_option& option) {
  auto schema = value_schema(option);
  if (option.doc.n != 0) schema.set("description", json::text(view(option.doc)));
  if (auto def = default_json(option)) schema.set("default", std::move(*def));
  if ((option.flags & PL_DEPRECATED) != 0) schema.set("deprecated", json::boolean(true));
  return schema;
}

void add_properties(std::span<const pl_option> table, json& properties, json& required) {
  for (const auto& option : table) {
    properties.set(std::string(view(option.key)), option_schema(option));
    if ((option.flags & PL_REQUIRED) != 0) required.push(json::text(view(option.key)));
  }
}

json object_of(std::span<const pl_option> first, std::span<const pl_option> second) {
  auto properties = json::object(), required = json::array();
  add_properties(first, properties, required);
  add_properties(second, properties, required);
  auto schema = type_of("object").set("properties", std::move(properties));
  if (!required.empty()) schema.set("required", std::move(required));
  return schema.set("additionalProperties", json::boolean(false));
}

json object_schema(std::span<const pl_option> table) { return object_of(table, {}); }

json reference_to(const std::string& definition) {
  return json::object().set("$ref", json::text("#/$defs/" + definition));
}

// Schemas of the nodes of each role. A node's plugin determines its other options.
class node_schemas {
 public:
  node_schemas(std::span<const pl_component* const> components, json& definitions)
      : components_(components), definitions_(definitions) {}

  void add(const std::string& name, role r, std::span<const pl_option> host_table) {
    std::vector<std::string_view> plugins;
    auto cases = json::array();
    for (const auto* c : components_) {
      if (c->role != static_cast<std::uint32_t>(r)) continue;
      plugins.push_back(view(c->name));
      const auto definition = fmt::format("{}.{}", name, view(c->name));
      definitions_.set(definition, object_of(host_table, options_of(*c)));
      cases.push(when_plugin(view(c->name), definition));
    }
    auto plugin = json::object().set("enum", json::strings(plugins));
    auto schema = type_of("object")
                      .set("required", json::strings({"plugin"}))
                      .set("properties", json::object().set("plugin", std::move(plugin)));
    if (!cases.empty()) schema.set("allOf", std::move(cases));
    definitions_.set(name, std::move(schema));
  }

 private:
  static json when_plugin(std::string_view plugin, const std::string& definition) {
    auto is_plugin = json::object().set("plugin", json::object().set("const", json::text(plugin)));
    return json::object()
        .set("if", json::object().set("properties", std::move(is_plugin)).set("required", json::strings({"plugin"})))
        .set("then", reference_to(definition));
  }

  std::span<const pl_component* const> components_;
  json& definitions_;
};

json section_schema(const pl_option& option, const std::string& definition) {
  if (option.kind == PL_OPT_OBJECT) {
    return reference_to(definition).set("description", json::text(view(option.doc)));
  }
  return json::object()
      .set("type", json::strings({"object", "null"}))
      .set("description", json::text(view(option.doc)))
      .set("propertyNames", json::object().set("pattern", json::text("^[A-Za-z0-9_-]+$")))
      .set("additionalProperties", reference_to(definition));
}

}  // namespace

std::string json_schema(std::span<const pl_component* const> components) {
  auto definitions = json::object(), properties = json::object(), required = json::array();
  node_schemas nodes(components, definitions);
  nodes.add("source", role::source, node_options(role::source));
  nodes.add("transform", role::transform, node_options(role::transform));
  nodes.add("sink", role::sink, node_options(role::sink));
  nodes.add("dead_letters", role::sink, dead_letter_options());
  add_properties(pipeline_options(), properties, required);
  constexpr std::string_view names[] = {"source", "transform", "sink", "dead_letters"};  // as in structure_options()
  for (std::size_t i = 0; i < structure_options().size(); ++i) {
    const auto& option = structure_options()[i];
    properties.set(std::string(view(option.key)), section_schema(option, std::string(names[i])));
    if ((option.flags & PL_REQUIRED) != 0) required.push(json::text(view(option.key)));
  }
  const auto schema = json::object()
                          .set("$schema", json::text("https://json-schema.org/draft/2020-12/schema"))
                          .set("title", json::text("pipeline-host configuration"))
                          .set("type", json::text("object"))
                          .set("properties", std::move(properties))
                          .set("patternProperties", json::object().set("^x-", json::boolean(true)))
                          .set("required", std::move(required))
                          .set("additionalProperties", json::boolean(false))
                          .set("$defs", std::move(definitions));
  std::string out;
  schema.write(out);
  return out + "\n";
}

}  // namespace pl::config
