// SPDX-License-Identifier: Apache-2.0
// Conversion of the headers of a message to a JSON document.
#pragma once

#include <librdkafka/rdkafka.h>

#include <string>

namespace kafka {

// Replace `out` with [["name","value"],...], in the message's order because a name may occur several times. A value is
// text if it is valid UTF-8, {"base64":"..."} if it is not, and null if it is absent.
void write_headers(std::string& out, const rd_kafka_headers_t* headers);

}  // namespace kafka
