// SPDX-License-Identifier: Apache-2.0
#include "encoder.hpp"

#include <pipeline/json.hpp>

namespace kafka {

namespace {

std::string columns_of(const pl_schema& schema) {
  std::string names;
  for (std::uint32_t c = 0; c < schema.ncols; ++c)
    names += (c == 0 ? "'" : ", '") + std::string(pl::view(schema.names[c])) + "'";
  return names.empty() ? "no columns" : names;
}

pl::failure no_column(std::string option, std::string_view name, const pl_schema& schema) {
  return pl::bad_option(std::move(option),
                        "the input has no column '" + std::string(name) + "'; its columns are: " + columns_of(schema));
}

}  // namespace

encoder::encoder(const sink_options& options, std::vector<std::pair<std::string, std::string>>& faults)
    : format_(options.format), time_(options.time) {
  if (options.key) {
    auto parsed = record_key::parse(*options.key);
    if (parsed.ok())
      key_ = std::move(parsed).value();
    else
      faults.emplace_back("key", parsed.why().message);
  }
  for (const auto& [name, text] : options.headers) {
    auto parsed = pl::text_template::parse(text);
    if (parsed.ok())
      headers_.push_back({name, std::move(parsed).value(), {}});
    else
      faults.emplace_back("headers." + name, parsed.why().message);
  }
}

pl::result<void> encoder::bind(const pl_schema& schema) {
  if (schema_ == &schema) return {};
  schema_ = nullptr;  // until all columns are bound
  if (key_)
    if (const auto missing = key_->bind(schema)) return no_column("key", *missing, schema);
  for (auto& h : headers_)
    if (const auto missing = h.value.bind(schema)) return no_column("headers." + h.name, *missing, schema);
  value_at_ = pl::find_column(schema, "value");
  if (format_ == value_format::raw && !value_at_) return no_column("format", "value", schema);
  if (time_) {
    time_at_ = pl::find_column(schema, *time_);
    if (!time_at_) return no_column("time", *time_, schema);
  }
  schema_ = &schema;
  return {};
}

std::optional<std::string_view> encoder::value_of(pl::batch_view batch, pl::row_index row) {
  value_text_.clear();
  if (format_ == value_format::json) {
    pl::append_json_row(value_text_, batch, row);
    return value_text_;
  }
  const auto& cell = batch.at(*value_at_, row);
  if (pl::is_null(cell)) return std::nullopt;  // becomes a tombstone
  if (pl::has_bytes(cell)) return cell.len == 0 ? std::string_view("") : pl::bytes_of(cell);
  pl::text_template::append_plain(value_text_, cell);
  return value_text_;
}

const encoded_row& encoder::encode(pl::batch_view batch, pl::row_index row) {
  constexpr std::int64_t ns = 1'000'000;
  row_.value = value_of(batch, row);
  if (key_) {
    key_->render(key_text_, batch, row);
    row_.key = key_text_;
  }
  row_.headers.clear();
  for (auto& h : headers_) {
    h.text.clear();
    h.value.render(h.text, batch, row);
    row_.headers.emplace_back(h.name, h.text);
  }
  const bool timed = time_at_ && batch.at(*time_at_, row).kind == PL_TIME_NS;
  row_.time_ms = timed ? std::max<std::int64_t>(batch.at(*time_at_, row).as.i / ns, 0) : 0;
  return row_;
}

}  // namespace kafka
