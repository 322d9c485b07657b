// SPDX-License-Identifier: Apache-2.0
// The form in which records lie in the spool, and their ids.
#pragma once

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

// Of a record of a request with a key: of path, key and place in the body. What is sent again under its key has its id again,
// and two devices that number from 1 don't meet.
[[nodiscard]] record_id id_by_key(std::string_view path, std::string_view key, std::size_t place);
// Of a record of a request without: of path and bytes, as mqtt_source's is of topic and payload.
[[nodiscard]] record_id id_by_content(std::string_view path, std::string_view record);
[[nodiscard]] std::string hex(const record_id& id);

using named_value = std::pair<std::string_view, std::string_view>;

// Views into the record.
struct stored_record {
  std::int64_t time_ns = 0;  // when the request arrived
  record_id id{};
  std::string_view path, remote, payload;
  std::vector<named_value> values;  // columns from headers
};

// What all records of a request have in common, as it stands before the payload.
class record_prefix {
 public:
  record_prefix(std::int64_t time_ns, std::string_view path, std::string_view remote,
                const std::vector<named_value>& values);
  void append(std::string& to, const record_id& id) const;
  [[nodiscard]] std::size_t size() const noexcept { return text_.size(); }

 private:
  std::string text_;
};

// False: it is none.
[[nodiscard]] bool decode(std::string_view record, stored_record& to);

}  // namespace http
