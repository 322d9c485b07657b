// SPDX-License-Identifier: Apache-2.0
// From rows to what is sent of them.
#pragma once

#include "options.hpp"

#include <pipeline/component.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace http_sink {

using digest = std::array<char, 16>;
[[nodiscard]] std::string hex(const digest& d);

struct outgoing_row {
  std::uint32_t batch, row;
  std::size_t begin, end;  // in the text
  digest id;               // of its place and of what is sent: the same whenever it comes again
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

  // A column that is needed and isn't in `in`, or one too many: bad_option.
  pl::result<void> bind(const pl_schema& in);
  pl::result<void> prepare(const pl::batch_list& batches);

  // After a retry the same rows come again: what was settled then stays so.
  void remember();
  void forget() { before_.clear(); }

  [[nodiscard]] std::vector<outgoing_row>& rows() noexcept { return rows_; }
  [[nodiscard]] const std::vector<outgoing_row>& rows() const noexcept { return rows_; }
  [[nodiscard]] const std::vector<destination>& destinations() const noexcept { return destinations_; }
  [[nodiscard]] std::string_view text(const outgoing_row& r) const noexcept {
    return std::string_view(text_).substr(r.begin, r.end - r.begin);
  }
  // Rows that were refused here, without being asked for.
  struct rejection {
    std::uint32_t batch, row;
    std::string why;
  };
  [[nodiscard]] const std::vector<rejection>& rejected() const noexcept { return rejected_; }

 private:
  void prepare_row(std::uint32_t batch, pl::batch_view b, pl::row_index row);
  std::optional<std::string> render_url(pl::batch_view b, pl::row_index row);
  std::optional<std::string> render_headers(pl::batch_view b, pl::row_index row);
  std::optional<std::string> render_row(pl::batch_view b, pl::row_index row, digest& id);
  void take_up_what_is_remembered();

  const options& options_;
  pl::text_template url_;
  std::vector<std::pair<std::string, pl::text_template>> headers_;
  std::optional<pl::text_template> payload_;

  std::string text_, row_, url_text_, header_text_;
  std::vector<outgoing_row> rows_;
  std::vector<rejection> rejected_;
  std::vector<destination> destinations_;
  std::map<std::string, std::size_t> known_;  // url and headers: which destination
  std::vector<outgoing_row> before_;
};

[[nodiscard]] digest digest_of(std::initializer_list<std::string_view> parts);

}  // namespace http_sink
