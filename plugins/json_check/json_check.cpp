// SPDX-License-Identifier: Apache-2.0
// json_check: passes on what is JSON, as it is; the rest goes to the dead letters with the reason.
#include <pipeline/plugin.hpp>

#include <json_telemetry/json_scanner.hpp>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace json_check {

using json_telemetry::json_scanner;
using json_telemetry::json_value;

enum class document { any, object };
constexpr std::array<std::pair<std::string_view, document>, 2> choices(document) {
  return {{{"any", document::any}, {"object", document::object}}};
}

struct options {
  std::string payload = "value";
  document type = document::any;
  std::uint32_t max_depth = 32, max_keys = 1000;
  bool unique_keys = true;
  pl::byte_size max_bytes{1ULL << 20U};

  static pl::option_table<options> table() {
    using pl::option;
    return {option(&options::payload, "payload", "Column that comes in with the JSON document, as bytes or text."),
            option(&options::type, "type", "any: objects, arrays, texts, numbers; object: nothing but objects."),
            option(&options::max_depth, "max_depth", "Objects and arrays inside each other.").range(1, 1000),
            option(&options::max_keys, "max_keys", "Keys of a document, over all its objects.").range(1, 1e9),
            option(&options::unique_keys, "unique_keys",
                   "Whether a key that an object has twice is refused: readers differ in which one they take."),
            option(&options::max_bytes, "max_bytes", "Larger documents are refused.").range(1, 1 << 30)};
  }
};

class json_check final : public pl::transform, public pl::columns_aware {
 public:
  using options = ::json_check::options;

  static pl::description describe() {
    return {.name = "json_check",
            .doc =
                "Passes on rows whose payload is JSON, as they are; the others go to the dead letters.\n"
                "One document in UTF-8 (RFC 8259), within limits; nothing is changed. json_telemetry reads what is in "
                "it.",
            .example = "plugin: json_check\nfrom: devices\ntype: object\n",
            .abilities = PL_DETERMINISTIC};
  }

  json_check(options o, pl::context ctx) : options_(std::move(o)), ctx_(ctx) {}

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in != nullptr && !pl::find_column(*in, options_.payload))
      return pl::bad_option("payload", "no column '" + options_.payload + "' comes in");
    return in;
  }

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    const auto column = pl::find_column(in.schema(), options_.payload);
    if (!column) return pl::fatal("no column '" + options_.payload + "' comes in");
    good_.clear();
    for (const auto row : in.selection())
      if (const auto why = problem(in.at(*column, row)); why.empty())
        good_.push_back(row);
      else
        ctx_.reject(in, row, why);
    if (good_.size() == in.selected()) return out.pass(in), pl::result<void>();
    if (good_.empty()) return {};
    auto b = ctx_.derive(in, &in.schema(), in.rows());
    for (pl::column_index c = 0; c < in.schema().ncols; ++c) b.share_column(c, in.column(c));
    auto rows = b.allocate<std::uint32_t>(good_.size());
    std::copy(good_.begin(), good_.end(), rows.begin());
    b.select(rows);
    out.emit(std::move(b));
    return {};
  }

 private:
  // Empty: it is JSON.
  std::string problem(const pl::cell& payload) {
    if (payload.kind == PL_NULL) return "no payload";
    if (payload.kind == PL_JSON && options_.type == document::any) return {};
    if (payload.kind != PL_BYTES && payload.kind != PL_TEXT && payload.kind != PL_JSON) return "the payload is no text";
    const auto text = pl::bytes_of(payload);
    if (text.size() > options_.max_bytes.bytes)
      return std::to_string(text.size()) + " bytes; max_bytes is " + std::to_string(options_.max_bytes.bytes);
    memory_.clear();
    arena_.begin([this](std::size_t bytes) {
      memory_.push_back(std::make_unique<char[]>(bytes));
      return memory_.back().get();
    });
    json_scanner scanner({options_.max_depth, options_.max_keys, options_.unique_keys}, arena_);
    scanner.begin(text);
    if (options_.type == document::object && scanner.peek() != '{' && !scanner.at_end())
      return "the document is no object";
    json_value value;
    return scanner.value(value) && scanner.finish() ? std::string() : scanner.explain();
  }

  const options options_;
  const pl::context ctx_;
  std::vector<pl::row_index> good_;
  json_telemetry::text_arena arena_;
  std::vector<std::unique_ptr<char[]>> memory_;
};

}  // namespace json_check

PL_EXPORT("0.1.0", json_check::json_check)
