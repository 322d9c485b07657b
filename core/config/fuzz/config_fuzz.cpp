// SPDX-License-Identifier: Apache-2.0
// Fuzz the loader: any bytes, as a configuration and as a --set, must produce pipelines or messages in bounded time and
// memory, never a crash. The loaded nodes are also bound to a component with every kind of option.
#include "config/bind.hpp"
#include "config/load.hpp"

#include <pipeline/abi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace {

constexpr double no_limit = std::numeric_limits<double>::infinity();

constexpr pl_str str(std::string_view s) { return {s.data(), s.size()}; }

constexpr pl_option option(std::uint32_t kind, std::string_view key, std::uint32_t element = 0,
                           std::uint32_t flags = 0) {
  pl_option o{};
  o.kind = kind;
  o.flags = flags;
  o.key = str(key);
  o.allowed = str("red|green|blue");
  o.min = -no_limit;
  o.max = no_limit;
  o.element = element;
  return o;
}

constexpr std::array fields = {option(PL_OPT_TEXT, "name", 0, PL_REQUIRED), option(PL_OPT_FLOAT, "above"),
                               option(PL_OPT_DURATION, "for"), option(PL_OPT_LIST, "tags", PL_OPT_TEXT)};

constexpr pl_option with_fields(pl_option o) {
  o.fields = fields.data();
  o.nfields = fields.size();
  return o;
}

constexpr std::array options = {option(PL_OPT_TEXT, "url", 0, PL_REQUIRED),
                                option(PL_OPT_TEXT, "password", 0, PL_SECRET),
                                option(PL_OPT_BOOL, "tls"),
                                option(PL_OPT_INT, "count"),
                                option(PL_OPT_SIZE, "size"),
                                option(PL_OPT_CHOICE, "color"),
                                option(PL_OPT_MAP, "columns", PL_OPT_ANY),
                                option(PL_OPT_LIST, "counts", PL_OPT_INT),
                                with_fields(option(PL_OPT_OBJECT, "rule")),
                                with_fields(option(PL_OPT_LIST, "rules", PL_OPT_OBJECT)),
                                option(PL_OPT_ANY, "anything")};

pl_component component() {
  pl_component c{};
  c.size = sizeof c;
  c.role = PL_SINK;
  c.name = str("any");
  c.noptions = options.size();
  c.options = options.data();
  return c;
}

pl::config::environment fake_environment() {
  pl::config::environment env;
  env.variable = [](std::string_view name) -> std::optional<std::string> {
    if (name == "A") return "a: {b: [c";
    if (name == "N") return "42";
    return std::nullopt;
  };
  env.read_file = [](const std::string& path, std::string& why) -> std::optional<std::string> {
    if (path == "/run/secrets/db") return "hunter2\n";
    why = "no such file";
    return std::nullopt;
  };
  return env;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::array files = {pl::config::file_arg{"fuzz.yaml", text}};
  // the last line also serves as --set
  const auto line = text.find_last_of('\n');
  const std::array sets = {text.substr(line == std::string::npos ? 0 : line + 1)};
  auto loaded = pl::config::load(files, sets, fake_environment());
  const auto any = component();
  for (const auto& p : loaded.pipelines) {
    for (const auto* n : p.nodes()) {
      const auto bound = pl::config::bind(*n, any, loaded.problems);
      if (!equal(bound, bound)) __builtin_trap();
    }
    (void)p.transforms_in_order();
  }
  const auto shown = loaded.problems.render(size % 2 == 0);
  if (shown.find("hunter2") != std::string::npos && text.find("hunter2") == std::string::npos) __builtin_trap();
  return 0;
}
