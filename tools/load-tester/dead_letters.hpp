// SPDX-License-Identifier: Apache-2.0
// Which messages of this run are among the dead letters.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace pl::load {

// A place is a file of NDJSON, or a Kafka topic: kafka://broker:9092/topic. Empty, or what went wrong.
// A file that does not exist has no letters: it is made with the first one.
std::string read_letters(const std::string& place, const std::string& run,
                         const std::function<void(std::uint64_t)>& seq);

// Whether the text can be a place; empty, or what is wrong with it.
std::string check_place(const std::string& place);

}  // namespace pl::load
