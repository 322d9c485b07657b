// SPDX-License-Identifier: Apache-2.0
// The id of an alert: a UUID of version 5 (RFC 9562), so that a receiver can compute it in any language.
#pragma once

#include <boost/uuid/uuid.hpp>

#include <string>
#include <string_view>

namespace threshold_alert {

using boost::uuids::uuid;

// uuid5(name_space, name)
[[nodiscard]] uuid uuid5(const uuid& name_space, std::string_view name);

// The name space of alerts: uuid5(NAMESPACE_DNS, "threshold_alert.pipeline-host").
[[nodiscard]] uuid alert_name_space();

// 8-4-4-4-12 lower-case hexadecimal digits.
[[nodiscard]] std::string uuid_text(const uuid& id);

}  // namespace threshold_alert
