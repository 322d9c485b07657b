// SPDX-License-Identifier: Apache-2.0
#include "unpivot.hpp"

#include <pipeline/plugin.hpp>

PL_EXPORT("0.1.0", unpivot::unpivot)
