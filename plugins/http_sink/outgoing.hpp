// SPDX-License-Identifier: Apache-2.0
// outgoing renders rows to text and groups them by URL and headers.
#pragma once

#include "options.hpp"

#include <pipeline/component.hpp>
#include <pipeline/payload_template.hpp>

#include <digest_common/content_digest.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http_sink {

using content_id = digest::content_digest::bytes;
[[nodiscard]] std::string hex(const content_id& d);

struct outgoing_row {
  std::uint32_t batch, row;
  std::size_t begin, end;  // in the text
  content_id id;           // of the position and the text: the same for each attempt
  bool settled = false;    // delivered or rejected, perhaps by an earlier attempt
  std::string rejected_because = {};
};

// Rows that go to one URL with the same headers.
struct destination {
  std::string url;
  std::vector<std::string> headers;
  std::vector<std::uint32_t> rows;
};

class outgoing {
 public:
  outgoing(const options& o, pl::text_template url, std::vector<std::pair<std::string, pl::text_template>> headers);

  // Bind the templates to the columns. Return bad_option if a column is missing, or `in` has a column named id_field.
  pl::result<void> bind(const pl_schema& in);
  pl::result<void> prepare(const pl::batch_list& batches);

  // Remember which rows are settled. A retry has the same rows, without those that were rejected at once, and prepare()
  // restores their state.
  void remember();
  void forget() { before_.clear(); }

  [[nodiscard]] std::vector<outgoing_row>& rows() noexcept { return rows_; }
  [[nodiscard]] const std::vector<outgoing_row>& rows() const noexcept { return rows_; }
  [[nodiscard]] const std::vector<destination>& destinations() const noexcept { return destinations_; }
  [[nodiscard]] std::string_view text(const outgoing_row& r) const noexcept {
    return std::string_view(text_).substr(r.begin, r.end - r.begin);
  }
  // Rows that were rejected here and not sent.
  struct rejection {
    std::uint32_t batch, row;
    std::string why;
  };
  [[nodiscard]] std::vector<rejection>& rejected() noexcept { return rejected_; }

 private:
  void prepare_row(std::uint32_t batch, pl::batch_view b, pl::row_index row);
  std::optional<std::string> render_url(pl::batch_view b, pl::row_index row);
  std::optional<std::string> render_headers(pl::batch_view b, pl::row_index row);
  std::optional<std::string> render_row(pl::batch_view b, pl::row_index row, content_id& id);
  void restore_settled();

  const options& options_;
  pl::text_template url_;
  std::vector<std::pair<std::string, pl::text_template>> headers_;
  std::optional<pl::payload_template> payload_;

  std::string text_, row_, url_text_, header_text_;
  std::vector<outgoing_row> rows_;
  std::vector<rejection> rejected_;
  std::vector<destination> destinations_;
  std::map<std::string, std::size_t> known_;  // from URL and headers to the index of the destination
  std::vector<outgoing_row> before_;
};

[[nodiscard]] content_id digest_of(std::initializer_list<std::string_view> parts);

}  // namespace http_sink
