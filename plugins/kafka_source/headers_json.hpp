// SPDX-License-Identifier: Apache-2.0
// A message's headers as one JSON document.
#pragma once

#include <librdkafka/rdkafka.h>

#include <string>

namespace kafka {

// Writes [["name","value"],...] over `out`: pairs in the message's order, because a name may come again. A value is
// text where it is UTF-8, {"base64":"..."} where it isn't, null where it is absent.
void write_headers(std::string& out, const rd_kafka_headers_t* headers);

}  // namespace kafka
