// SPDX-License-Identifier: Apache-2.0
// One option table, three ways to read about it: on the terminal, on a page, in an editor.
#pragma once

#include <pipeline/abi.h>

#include <span>
#include <string>

namespace pl::config {

/// For `pipeline-host plugins describe NAME`. Defaults of secrets are not shown.
[[nodiscard]] std::string describe_text(const pl_component& component);

/// A reference section ("## timescale_sink"), options as a table.
[[nodiscard]] std::string describe_markdown(const pl_component& component);

/// The same for what the host itself understands: top level, sources, transforms, sinks.
[[nodiscard]] std::string host_options_text();
[[nodiscard]] std::string host_options_markdown();

/// JSON Schema (draft 2020-12) of a whole configuration made of these components, for editors.
[[nodiscard]] std::string json_schema(std::span<const pl_component* const> components);

}  // namespace pl::config
