// SPDX-License-Identifier: Apache-2.0
// Describe an option table as text for a terminal, as Markdown, and as JSON Schema for editors.
#pragma once

#include <pipeline/abi.h>

#include <span>
#include <string>

namespace pl::config {

/// For `pipeline-host plugins describe NAME`. Defaults of secrets are not shown.
[[nodiscard]] std::string describe_text(const pl_component& component);

/// Return a reference section ("## timescale_sink") with the options as a table.
[[nodiscard]] std::string describe_markdown(const pl_component& component);

/// The same for the host's own options: top level, sources, transforms, sinks, dead letters.
[[nodiscard]] std::string host_options_text();
[[nodiscard]] std::string host_options_markdown();

/// JSON Schema (draft 2020-12) of a whole configuration made of these components, for editors.
[[nodiscard]] std::string json_schema(std::span<const pl_component* const> components);

}  // namespace pl::config
