// SPDX-License-Identifier: Apache-2.0
// Finds the messages of a run among the dead letters.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace pl::load {

// Call `seq` with the number of each rejected message of this run. A location is an NDJSON file or a Kafka topic,
// written as kafka://broker:9092/topic. Return an empty text or the error. A missing file counts as empty, because
// the first dead letter creates the file.
std::string read_dead_letters(const std::string& location, const std::string& run,
                              const std::function<void(std::uint64_t)>& seq);

// Check the syntax of a location. Return an empty text or the error.
std::string check_location(const std::string& location);

}  // namespace pl::load
