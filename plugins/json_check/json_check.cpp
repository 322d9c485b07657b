// SPDX-License-Identifier: Apache-2.0
// json_check passes valid JSON on unchanged, and rejects other payloads with a reason.
#include <pipeline/plugin.hpp>

#include <json_common/json_scanner.hpp>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace json_check {

using json::json_scanner;
using json::json_value;

enum class document { any, object };
constexpr std::array<std::pair<std::string_view, document>, 2> choices(document) {
  return {{{"any", document::any}, {"object", document::object}}};
}

enum class on_tombstone { reject, skip };
constexpr std::array<std::pair<std::string_view, on_tombstone>, 2> choices(on_tombstone) {
  return {{{"reject", on_tombstone::reject}, {"skip", on_tombstone::skip}}};
}

struct options {
  std::string payload = "value";
  document type = document::any;
  std::uint32_t max_depth = 32, max_keys = 1000;
  bool unique_keys = true;
  pl::byte_size max_bytes{1ULL << 20U};
  on_tombstone tombstones = on_tombstone::reject;

  static pl::option_table<options> table() {
    using pl::option;
    return {
        option(&options::payload, "payload", "Input column with the JSON document, as bytes or text."),
        option(&options::type, "type", "any: objects, arrays, strings, numbers; object: only objects."),
        option(&options::max_depth, "max_depth", "Maximum nesting of objects and arrays.").range(1, 1000),
        option(&options::max_keys, "max_keys", "Maximum number of keys in a document, nested ones included.")
            .range(1, 1e9),
        option(&options::unique_keys, "unique_keys",
               "Whether to reject documents with a duplicate key in an object. Readers differ in which of the "
               "duplicates they use."),
        option(&options::max_bytes, "max_bytes", "Maximum size of a document; larger ones are rejected.")
            .range(1, 1 << 30),
        option(&options::tombstones, "tombstones",
               "What to do with messages that have no payload (Kafka's tombstones) or an empty one (with which MQTT "
               "clients delete a retained message): reject them, or skip and count them.")};
  }
};

class json_check final : public pl::transform, public pl::columns_aware {
 public:
  using options = ::json_check::options;

  static pl::description describe() {
    return {.name = "json_check",
            .doc =
                "Passes rows with a valid JSON payload on unchanged; the others go to the dead letters.\n"
                "A payload must be one document in UTF-8 (RFC 8259), within the limits below. To extract values from "
                "the document, use json_telemetry.",
            .example = "plugin: json_check\nfrom: devices\ntype: object\n",
            .abilities = PL_DETERMINISTIC};
  }

  json_check(options o, pl::context ctx)
      : options_(std::move(o)),
        ctx_(ctx),
        tombstones_(
            ctx.counter("json_check_tombstones_total", "Messages with no or an empty payload that were skipped")) {}

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in != nullptr && !pl::find_column(*in, options_.payload))
      return pl::bad_option("payload", "the input has no column '" + options_.payload + "'");
    return in;
  }

  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override {
    if (auto why = pl::wrong_kind(in, "payload", options_.payload, {PL_BYTES, PL_TEXT, PL_JSON}))
      return *std::move(why);
    return pl::columns_aware::typed_columns(in, port);
  }

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    const auto column = pl::find_column(in.schema(), options_.payload);
    if (!column) return pl::fatal("the input has no column '" + options_.payload + "'");
    good_.clear();
    for (const auto row : in.selection()) {
      const auto& payload = in.at(*column, row);
      if (options_.tombstones == on_tombstone::skip && is_tombstone(payload))
        tombstones_.add();
      else if (const auto why = problem(payload); why.empty())
        good_.push_back(row);
      else
        ctx_.reject(in, row, why);
    }
    if (good_.size() == in.selected()) return out.pass(in), pl::result<void>();
    if (good_.empty()) return {};
    out.emit(ctx_.derive_rows(in, good_));
    return {};
  }

 private:
  static bool is_tombstone(const pl::cell& payload) {
    return pl::is_null(payload) || (pl::has_bytes(payload) && pl::bytes_of(payload).empty());
  }

  // Return why the payload is rejected; empty if it is valid.
  std::string problem(const pl::cell& payload) {
    if (payload.kind == PL_NULL) return "no payload";
    if (payload.kind == PL_JSON && options_.type == document::any) return {};
    if (payload.kind != PL_BYTES && payload.kind != PL_TEXT && payload.kind != PL_JSON)
      return "the payload is not text";
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
      return "the document is not an object";
    json_value value;
    return scanner.value(value) && scanner.finish() ? std::string() : scanner.explain();
  }

  const options options_;
  const pl::context ctx_;
  pl::counter tombstones_;
  std::vector<pl::row_index> good_;
  json::text_arena arena_;
  std::vector<std::unique_ptr<char[]>> memory_;
};

}  // namespace json_check

PL_EXPORT("0.1.0", json_check::json_check)
