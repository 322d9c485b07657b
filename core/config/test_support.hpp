// SPDX-License-Identifier: Apache-2.0
// Test support: components with every kind of option, and a fake environment.
#pragma once

#include "config/bind.hpp"
#include "config/load.hpp"

#include <pipeline/abi.h>

#include <array>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config::test {

inline constexpr double no_limit = std::numeric_limits<double>::infinity();

constexpr pl_str str(std::string_view s) { return {s.data(), s.size()}; }

/// A pl_option, written fluently.
class option : public pl_option {
  // Defined first: clang requires the definition before the use in a constant expression.
  template <typename Change>
  constexpr option with(Change change) const {
    auto copy = *this;
    change(copy);
    return copy;
  }

 public:
  constexpr option(std::uint32_t k, std::string_view name, std::string_view text) : pl_option{} {
    kind = k;
    key = str(name);
    doc = str(text);
    min = -no_limit;
    max = no_limit;
  }
  constexpr option flag(std::uint32_t f) const {
    return with([&](option& o) { o.flags |= f; });
  }
  constexpr option defaults(std::string_view yaml) const {
    return with([&](option& o) { o.def = str(yaml); });
  }
  constexpr option like(std::string_view yaml) const {
    return with([&](option& o) { o.example = str(yaml); });
  }
  constexpr option choices(std::string_view words) const {
    return with([&](option& o) { o.allowed = str(words); });
  }
  constexpr option range(double low, double high) const {
    return with([&](option& o) { o.min = low, o.max = high; });
  }
  constexpr option of(std::uint32_t e) const {
    return with([&](option& o) { o.element = e; });
  }
  template <std::size_t Size>
  constexpr option with_fields(const std::array<pl_option, Size>& list) const {
    return with([&](option& o) { o.fields = list.data(), o.nfields = static_cast<std::uint32_t>(Size); });
  }
};

template <typename... Options>
constexpr std::array<pl_option, sizeof...(Options)> table(const Options&... options) {
  return {options...};
}

inline constexpr auto kafka_options = table(
    option(PL_OPT_LIST, "brokers", "Where the cluster is").of(PL_OPT_TEXT).flag(PL_REQUIRED).like("127.0.0.1:9092"),
    option(PL_OPT_TEXT, "topic", "What to read").flag(PL_REQUIRED).like("iot-stream"),
    option(PL_OPT_TEXT, "group", "Consumer group").defaults("pipeline"),
    option(PL_OPT_TEXT, "password", "For SASL").flag(PL_SECRET),
    option(PL_OPT_CHOICE, "start", "Where to begin").choices("earliest|latest").defaults("latest"),
    option(PL_OPT_MAP, "client", "Passed on to librdkafka").of(PL_OPT_ANY));

inline constexpr auto rule_fields =
    table(option(PL_OPT_TEXT, "name", "Name").flag(PL_REQUIRED).like("overheating"),
          option(PL_OPT_TEXT, "metric", "What is watched").flag(PL_REQUIRED).like("temperature"),
          option(PL_OPT_FLOAT, "above", "Alert above"), option(PL_OPT_DURATION, "for", "For so long").defaults("0"),
          option(PL_OPT_CHOICE, "severity", "How bad").choices("info|warning|critical").defaults("warning"),
          option(PL_OPT_LIST, "tags", "Passed on").of(PL_OPT_TEXT));

inline constexpr auto alert_options =
    table(option(PL_OPT_LIST, "rules", "Alert rules").of(PL_OPT_OBJECT).with_fields(rule_fields).flag(PL_REQUIRED),
          option(PL_OPT_BOOL, "verbose", "Says more").defaults("false"));

inline constexpr auto pool_fields = table(option(PL_OPT_INT, "size", "Connections").defaults("2").range(1, 64),
                                          option(PL_OPT_DURATION, "timeout", "To connect").defaults("5s").range(0, 60));

inline constexpr auto timescale_options =
    table(option(PL_OPT_TEXT, "url", "Database").flag(PL_REQUIRED | PL_SECRET).like("postgresql://db/iot"),
          option(PL_OPT_TEXT, "table", "Table to write").defaults("raw_telemetry"),
          option(PL_OPT_INT, "port", "Port").range(0, 65535), option(PL_OPT_BOOL, "tls", "Encrypt").defaults("true"),
          option(PL_OPT_SIZE, "buffer", "Memory").defaults("1MiB").range(1024, 1 << 30),
          option(PL_OPT_OBJECT, "pool", "Connections").defaults("{}").with_fields(pool_fields),
          option(PL_OPT_MAP, "columns", "Column of each metric").of(PL_OPT_TEXT),
          option(PL_OPT_INT, "chunk", "Use buffer").flag(PL_DEPRECATED));

inline constexpr auto file_options =
    table(option(PL_OPT_TEXT, "path", "File to write").flag(PL_REQUIRED).like("out.ndjson"));

inline constexpr std::array<pl_str, 2> json_ports = {str("out"), str("invalid")};

inline pl_component component(std::string_view name, std::uint32_t role, std::span<const pl_option> options) {
  pl_component c{};
  c.size = sizeof c;
  c.role = role;
  c.name = str(name);
  c.doc = str("Does what its name says.\nIn more words.");
  c.options = options.data();
  c.noptions = static_cast<std::uint32_t>(options.size());
  return c;
}

/// Owns the components, and returns the pointers that the loader would return.
class catalogue {
 public:
  catalogue() {
    add("kafka_source", PL_SOURCE, kafka_options);
    auto& json = add("json_telemetry", PL_TRANSFORM, {});
    json.ports = json_ports.data();
    json.nports = static_cast<std::uint32_t>(json_ports.size());
    add("threshold_alert", PL_TRANSFORM, alert_options);
    add("timescale_sink", PL_SINK, timescale_options);
    add("file_sink", PL_SINK, file_options);
    for (const auto& c : owned_) pointers_.push_back(&c);
  }
  catalogue(const catalogue&) = delete;
  catalogue& operator=(const catalogue&) = delete;

  [[nodiscard]] std::span<const pl_component* const> all() const { return pointers_; }
  [[nodiscard]] const pl_component& get(std::string_view name) const { return *find_component(pointers_, name); }

 private:
  pl_component& add(std::string_view name, std::uint32_t role, std::span<const pl_option> options) {
    owned_.reserve(16);
    return owned_.emplace_back(component(name, role, options));
  }

  std::vector<pl_component> owned_;
  std::vector<const pl_component*> pointers_;
};

inline environment world() {
  environment env;
  env.variable = [](std::string_view name) -> std::optional<std::string> {
    static const std::map<std::string, std::string, std::less<>> variables = {{"PORT", "5432"},
                                                                              {"WORD", "many"},
                                                                              {"EMPTY", ""},
                                                                              {"YAML", "a: {b: [c"},
                                                                              {"DSN", "postgres://u:hunter2@db/iot"},
                                                                              {"BAD", "\xff"},
                                                                              {"TRUE", "true"},
                                                                              {"NULL", "null"}};
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  env.read_file = [](const std::string& path, std::string& why) -> std::optional<std::string> {
    if (path == "/run/secrets/db") return "hunter2\n";
    if (path == "/run/secrets/binary") return std::string("\x00\xff", 2);
    why = "No such file or directory";
    return std::nullopt;
  };
  return env;
}

/// Load and check a configuration as the host does.
inline load_result load_and_bind(const std::vector<file_arg>& files, const std::vector<std::string>& sets = {}) {
  static const catalogue components;
  auto loaded = load(files, sets, world());
  for (const auto& p : loaded.pipelines) {
    check_components(p, components.all(), loaded.problems);
    for (const auto* n : p.nodes())
      if (const auto* c = find_component(components.all(), n->plugin);
          c != nullptr && c->role == static_cast<std::uint32_t>(n->role))
        (void)bind(*n, *c, loaded.problems);
  }
  return loaded;
}

inline std::string messages(const std::string& text, const std::vector<std::string>& sets = {}) {
  return load_and_bind({{"c.yaml", text}}, sets).problems.render();
}

}  // namespace pl::config::test
