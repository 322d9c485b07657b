// SPDX-License-Identifier: Apache-2.0
// Computes constant parts of a plan once, when it is compiled.
#pragma once

#include "cel_common/plan.hpp"

namespace pl::cel {

// If the node depends on neither a row nor a variable, replace it by its value, in the plan's memory. A node that fails
// or needs too much memory stays: it fails at run time, unless an operator absorbs the error.
void fold(node& n, plan& p);

}  // namespace pl::cel
