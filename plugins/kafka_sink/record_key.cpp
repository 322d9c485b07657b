// SPDX-License-Identifier: Apache-2.0
#include "record_key.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <utility>

namespace kafka {

namespace {

// Letters and digits occur in what percent-encoding writes, and encoding them would make keys unreadable.
bool separates(char c) {
  const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return !plain && c != '%' && static_cast<unsigned char>(c) < 0x80;
}

}  // namespace

pl::result<record_key> record_key::parse(std::string_view source) {
  auto parsed = pl::text_template::parse(source);
  if (!parsed.ok()) return parsed.why();
  record_key key;
  key.template_ = *std::move(parsed);
  const auto& pieces = key.template_.pieces();
  for (std::size_t i = 0; i + 1 < pieces.size(); ++i) {
    const bool between = !pieces[i].is_column && i > 0;
    const bool adjacent = pieces[i].is_column && pieces[i + 1].is_column;
    if (!between && !adjacent) continue;
    const auto& left = pieces[adjacent ? i : i - 1].text;
    const auto separator = adjacent ? std::string_view() : std::string_view(pieces[i].text);
    const auto at = std::ranges::find_if(separator, separates);
    if (at == separator.end())
      return pl::fatal("nothing separates the columns '" + left + "' and '" + pieces[i + 1].text +
                       "', so different values could make the same key; write for example {" + left + "}/{" +
                       pieces[i + 1].text + "}");
    if (key.encoded_.find(*at) == std::string::npos) key.encoded_ += *at;
  }
  if (!key.encoded_.empty()) key.encoded_ += '%';
  return key;
}

void record_key::render(std::string& out, pl::batch_view b, pl::row_index row) const {
  out.clear();
  template_.render(out, b, row, [&](std::string& to, std::string_view value) {
    for (std::size_t from = 0; from < value.size();) {
      const auto at = std::min(value.find_first_of(encoded_, from), value.size());
      to += value.substr(from, at - from);
      if (at < value.size()) pl::append_percent(to, value[at]);
      from = at + 1;
    }
  });
}

}  // namespace kafka
