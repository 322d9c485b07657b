// SPDX-License-Identifier: Apache-2.0
// The functions of pl_host and its extensions, as an instance sees them. They check what a plugin passes: a violation of
// the rules in abi.h ends the node with a sentence, instead of the process.
#pragma once

#include <pipeline/abi.h>

namespace pl::engine {

// Set the functions of the table. Its `ctx` is the instance.
void set_host_functions(pl_host& table);

// Return the pl_emit that `apply` and `tick` receive.
[[nodiscard]] pl_emit emit_function() noexcept;

}  // namespace pl::engine
