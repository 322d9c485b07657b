// SPDX-License-Identifier: Apache-2.0
// For `dead-letters retry`: reads the original records of shortened dead letters from their source again. Main thread.
#pragma once

#include "config/pipeline.hpp"
#include "host/dead_letter.hpp"
#include "host/session.hpp"
#include "host/signals.hpp"

#include <string>
#include <vector>

namespace pl::host {

struct shortened_letter {
  dead_letter letter;
  std::string line;     // of the dead-letter file
  std::string whole;    // the line with the original record; empty: it could not be read
  std::string why_not;  // the reason
};

// Set `whole` or `why_not` of each. Does not touch the group's offsets, nor the positions in sinks.
void reread_originals(const config::pipeline& p, const std::string& source, std::vector<shortened_letter>& of,
                      session& s, signals& incoming);

// Return the line of a shortened dead letter with the record that the original_sink wrote, or why the record is not the
// original one.
[[nodiscard]] result<std::string> completed(const shortened_letter& of, std::string_view record);

}  // namespace pl::host
