// SPDX-License-Identifier: Apache-2.0
// These functions encode and decode records for the spool, and compute their ids.
#pragma once

#include <spool_common/spooled.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http {

using record_id = std::array<char, 16>;

// Return the id of a record in a request with a key, derived from path, key and place in the body. A repeated request
// has the same ids. The path distinguishes devices that number their keys independently.
[[nodiscard]] record_id id_by_key(std::string_view path, std::string_view key, std::size_t place);
// Return the id of a record in a request without a key, derived from path and bytes.
[[nodiscard]] record_id id_by_content(std::string_view path, std::string_view record);
[[nodiscard]] std::string hex(const record_id& id);

using named_value = std::pair<std::string_view, std::string_view>;

// A decoded record; the members are views into its encoded form.
struct stored_record {
  std::int64_t time_ns = 0;  // arrival of the request
  record_id id{};
  std::string_view path, remote, payload;
  std::vector<named_value> values;  // columns from headers
};

// The encoded start of the records of a request: what precedes the payload. The first record and the last one have all
// that the records share, and those in between refer to them: the second copy is for a damaged first one.
class record_start {
 public:
  record_start(std::int64_t time_ns, std::string_view path, std::string_view remote,
               const std::vector<named_value>& values);

  // Append the start of the record at this place in a request of `count` records.
  void append(std::string& to, const record_id& id, std::size_t place, std::size_t count) const;
  [[nodiscard]] std::size_t size(std::size_t place, std::size_t count) const noexcept;
  // Return the size of all starts of a request.
  [[nodiscard]] std::uint64_t total(std::size_t count) const noexcept;
  // Return the size of a start with all that the records share.
  [[nodiscard]] std::size_t whole() const noexcept { return text_.size(); }

 private:
  std::string text_;
};

// Return the start of a record that others may refer to, or the records that it refers to.
[[nodiscard]] spool::shared_start start_of(std::string_view record);
// Decode a record, which refers to `shared`, or has that text itself. Return false if it is not valid.
[[nodiscard]] bool decode(std::string_view record, std::string_view shared, stored_record& to);

}  // namespace http
