// SPDX-License-Identifier: Apache-2.0
// The MQTT 5 properties of published messages: expiry, content type, and user properties from columns. Writer's thread.
#pragma once

#include "options.hpp"

#include <pipeline/batch.hpp>
#include <pipeline/text_template.hpp>

#include <MQTTProperties.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mqtt {

class publish_properties {
 public:
  explicit publish_properties(const options& o);

  // Return the first option and column that is missing from the schema, if any.
  struct missing_column {
    std::string option;
    std::string_view column;
  };
  [[nodiscard]] std::optional<missing_column> bind(const pl_schema& schema);

  // Add the properties of a row's message, or return why the row has none that MQTT allows. The caller frees `to`.
  [[nodiscard]] std::optional<std::string> fill(MQTTProperties& to, pl::batch_view b, pl::row_index row);

 private:
  [[nodiscard]] std::optional<std::string> render(const std::string& name, pl::text_template& value, pl::batch_view b,
                                                  pl::row_index row);

  const options& options_;
  std::vector<std::pair<std::string, pl::text_template>> user_;
  std::string text_;  // of the value that was rendered last
};

}  // namespace mqtt
