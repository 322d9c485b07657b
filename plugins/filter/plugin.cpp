// SPDX-License-Identifier: Apache-2.0
#include "filter.hpp"

#include <pipeline/plugin.hpp>

PL_EXPORT("0.1.0", filter::filter)
