// SPDX-License-Identifier: Apache-2.0
#include "outgoing.hpp"

#include <pipeline/json.hpp>
#include <pipeline/json_members.hpp>
#include <pipeline/plugin.hpp>

namespace http_sink {

namespace {

// Append the bytes percent-encoded, except for unreserved characters (RFC 3986), so that a value stays in its segment.
void append_encoded(std::string& out, std::string_view bytes) {
  for (const char c : bytes) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || pl::is_digit(c) ||
        std::string_view("-._~").find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      pl::append_percent(out, c);
    }
  }
}

std::string known_columns(const pl_schema& in) {
  std::string known;
  for (std::uint32_t c = 0; c < in.ncols; ++c) known.append(known.empty() ? "" : ", ").append(pl::view(in.names[c]));
  return known;
}

pl::failure no_column(const std::string& option, std::string_view column, const pl_schema& in) {
  return pl::bad_option(option,
                        "the input has no column '" + std::string(column) + "'; its columns are: " + known_columns(in));
}

std::string number(std::uint64_t n) { return std::to_string(n); }

}  // namespace

std::string hex(const content_id& d) { return pl::to_hex({d.data(), d.size()}); }

// The length of each part is hashed before the part, so that ("ab", "c") and ("a", "bc") have different digests.
content_id digest_of(std::initializer_list<std::string_view> parts) {
  digest::content_digest hashing;
  for (const auto part : parts) {
    const std::uint64_t size = part.size();
    hashing.add({reinterpret_cast<const char*>(&size), sizeof size});
    hashing.add(part);
  }
  return hashing.finish();
}

outgoing::outgoing(const options& o, pl::text_template url,
                   std::vector<std::pair<std::string, pl::text_template>> headers)
    : options_(o), url_(std::move(url)), headers_(std::move(headers)) {
  if (!o.payload) return;
  auto parsed = pl::payload_template::parse(*o.payload);
  if (!parsed.ok()) throw pl::invalid_options("payload", parsed.why().message);
  payload_ = std::move(*parsed);
}

pl::result<void> outgoing::bind(const pl_schema& in) {
  if (auto missing = url_.bind(in)) return no_column("url", *missing, in);
  for (auto& [name, value] : headers_)
    if (auto missing = value.bind(in)) return no_column("headers." + name, *missing, in);
  if (payload_)
    if (auto missing = payload_->bind(in)) return no_column("payload", *missing, in);
  if (!options_.id_field.empty() && pl::find_column(in, options_.id_field))
    return pl::bad_option("id_field", "a column '" + options_.id_field + "' comes in; choose another name");
  return {};
}

pl::result<void> outgoing::prepare(const pl::batch_list& batches) {
  text_.clear();
  rows_.clear();
  rejected_.clear();
  destinations_.clear();
  known_.clear();
  for (std::uint32_t i = 0; i < batches.size(); ++i) {
    const auto b = batches[i];
    if (b.selected() == 0) continue;
    if (auto r = bind(b.schema()); !r.ok()) return r;
    for (const auto row : b.selection()) prepare_row(i, b, row);
  }
  restore_settled();
  return {};
}

void outgoing::prepare_row(std::uint32_t batch, pl::batch_view b, pl::row_index row) {
  content_id id{};
  auto problem = render_url(b, row);
  if (!problem) problem = render_headers(b, row);
  if (!problem) problem = render_row(b, row, id);
  if (problem) return rejected_.push_back({batch, row, std::move(*problem)});
  const auto begin = text_.size();
  text_ += row_;
  const auto [at, fresh] = known_.try_emplace(url_text_ + "\n" + header_text_, destinations_.size());
  if (fresh) {
    auto& d = destinations_.emplace_back();
    d.url = url_text_;
    for (std::size_t i = 0; i < header_text_.size();) {
      const auto end = header_text_.find('\n', i);
      d.headers.push_back(header_text_.substr(i, end - i));
      i = end + 1;
    }
  }
  destinations_[at->second].rows.push_back(static_cast<std::uint32_t>(rows_.size()));
  rows_.push_back({batch, row, begin, text_.size(), id});
}

std::optional<std::string> outgoing::render_url(pl::batch_view b, pl::row_index row) {
  url_text_.clear();
  std::size_t values = 0, columns = 0;
  bool goes_up = false;
  url_.render(url_text_, b, row, [&](std::string& out, std::string_view bytes) {
    if (!bytes.empty()) ++values;
    // Servers interpret these as the current and the parent folder, even percent-encoded.
    goes_up |= bytes == "." || bytes == "..";
    append_encoded(out, bytes);
  });
  for (const auto& p : url_.pieces()) columns += p.is_column ? 1 : 0;
  if (values != columns) return "a column of `url` is empty or null in this row";
  if (goes_up) return "a column of `url` is '.' or '..' in this row, which would change the path";
  return std::nullopt;
}

std::optional<std::string> outgoing::render_headers(pl::batch_view b, pl::row_index row) {
  header_text_.clear();
  for (const auto& [name, value] : headers_) {
    const auto begin = header_text_.size();
    header_text_ += name;
    header_text_ += ": ";
    value.render(header_text_, b, row, [](std::string& out, std::string_view bytes) { out += bytes; });
    for (std::size_t i = begin; i < header_text_.size(); ++i)
      if (const auto u = static_cast<unsigned char>(header_text_[i]); u < 0x20 || u == 0x7F)
        return "the header " + name + " would contain a control character";
    // libcurl's lists mark an empty header with ';'.
    if (header_text_.ends_with(": ")) header_text_.replace(header_text_.size() - 2, 2, ";");
    header_text_ += '\n';
  }
  return std::nullopt;
}

std::optional<std::string> outgoing::render_row(pl::batch_view b, pl::row_index row, content_id& id) {
  row_.clear();
  if (payload_) {
    payload_->render(row_, b, row);
    if (options_.format != format::raw) {
      if (!pl::is_utf8(row_) || !pl::is_json(row_)) return "the `payload` of this row is not valid JSON";
      std::string line;
      pl::append_json_line(line, row_);
      row_ = std::move(line);
    }
  } else {
    pl::append_json_row(row_, b, row);
  }
  const auto ranges = b.ranges();
  const auto source = ranges.empty() ? std::string_view() : pl::view(ranges[b.origin(row)].source);
  id = digest_of({source, b.stream(row), number(b.position(row)), row_});
  if (!options_.id_field.empty()) {
    std::string named = "{";
    pl::append_json_string(named, options_.id_field);
    named += ":\"" + hex(id) + (row_ == "{}" ? "\"" : "\",");
    row_.replace(0, 1, named);
  }
  if (row_.size() > options_.max_body.bytes)
    return "the row has " + number(row_.size()) + " bytes; max_body is " + number(options_.max_body.bytes);
  return std::nullopt;
}

void outgoing::restore_settled() {
  std::multimap<content_id, const outgoing_row*> settled;
  for (const auto& r : before_)
    if (r.settled) settled.emplace(r.id, &r);
  for (auto& r : rows_) {
    const auto found = settled.find(r.id);
    if (found == settled.end()) continue;
    r.settled = true;
    r.rejected_because = found->second->rejected_because;
    settled.erase(found);
  }
}

void outgoing::remember() { before_ = rows_; }

}  // namespace http_sink
