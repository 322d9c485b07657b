// SPDX-License-Identifier: Apache-2.0
// The elements of a JSON list, as views into the document.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>

#include <cstdint>
#include <string_view>
#include <vector>

namespace unpivot {

// Append the elements of a list as cells: PL_JSON, or null for the JSON value null. A document that is not a list counts as
// a list of one, and null as an empty list. Fails if it is not JSON, or has more than max_elements elements; then `to` has only its earlier cells.
[[nodiscard]] pl::result<void> append_elements(std::string_view document, std::uint32_t max_elements,
                                               std::vector<pl::cell>& to);

}  // namespace unpivot
