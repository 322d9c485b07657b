// SPDX-License-Identifier: Apache-2.0
#include "route.hpp"

#include <pipeline/plugin.hpp>

PL_EXPORT("0.1.0", route::route)
