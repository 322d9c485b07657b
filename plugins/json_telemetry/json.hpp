// SPDX-License-Identifier: Apache-2.0
// The names of json_common that this plugin uses.
#pragma once

#include <json_common/decimal.hpp>
#include <json_common/json_scanner.hpp>
#include <json_common/path_pattern.hpp>
#include <json_common/text_arena.hpp>
#include <json_common/wording.hpp>

namespace json_telemetry {

using json::decimal;
using json::described;
using json::in_quotes;
using json::integer_fit;
using json::json_key;
using json::json_kind;
using json::json_scanner;
using json::json_value;
using json::key_memory;
using json::number_fit;
using json::parse_decimal;
using json::path_pattern;
using json::scan_error;
using json::scan_limits;
using json::shown_key;
using json::text_arena;
using json::text_of;
using json::to_double;
using json::to_int64;

}  // namespace json_telemetry
