// SPDX-License-Identifier: Apache-2.0
#include "alert_id.hpp"

#include <boost/uuid/name_generator_sha1.hpp>
#include <boost/uuid/uuid_io.hpp>

namespace threshold_alert {

uuid uuid5(const uuid& name_space, std::string_view name) {
  boost::uuids::name_generator_sha1 generator(name_space);
  return generator(name.data(), name.size());
}

uuid alert_name_space() {
  static const uuid ours = uuid5(boost::uuids::ns::dns(), "threshold_alert.pipeline-host");
  return ours;
}

std::string uuid_text(const uuid& id) { return boost::uuids::to_string(id); }

}  // namespace threshold_alert
