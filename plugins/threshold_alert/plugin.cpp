// SPDX-License-Identifier: Apache-2.0
#include "threshold_alert.hpp"

#include <pipeline/plugin.hpp>

PL_EXPORT("1.0.0", threshold_alert::threshold_alert)
