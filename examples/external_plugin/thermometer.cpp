// SPDX-License-Identifier: Apache-2.0
// Two components in one plugin: fahrenheit (a transform) and csv_sink (a sink).
#include <pipeline/plugin.hpp>
#include <pipeline/text_template.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

namespace thermometer {

class fahrenheit final : public pl::transform, public pl::columns_aware {
 public:
  struct options {
    std::string column = "temperature";
    std::string to = "temperature_f";

    static pl::option_table<options> table() {
      return {pl::option(&options::column, "column", "Column with a temperature in °C."),
              pl::option(&options::to, "to", "Name of the new column, in °F.")};
    }
  };
  static pl::description describe() {
    return {.name = "fahrenheit",
            .doc = "Adds a column with a temperature in °F.\nA value that is not a number is dead-lettered.",
            .example = "plugin: fahrenheit\nfrom: parsed\ncolumn: temperature\n",
            .abilities = PL_DETERMINISTIC};
  }

  fahrenheit(options o, pl::context ctx) : options_(std::move(o)), ctx_(ctx) {}

  // Called before data flows, so that `validate` finds a misspelt column.
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t /*port*/) override {
    if (in == nullptr) return nullptr;  // the input is not known yet, and so neither is the output
    if (!pl::find_column(*in, options_.column))
      return pl::bad_option("column", "the input has no column '" + options_.column + "'");
    if (pl::find_column(*in, options_.to))
      return pl::bad_option("to", "a column '" + options_.to + "' comes in already; choose another name");
    std::vector<std::string_view> names;
    for (std::uint32_t c = 0; c < in->ncols; ++c) names.push_back(pl::view(in->names[c]));
    names.push_back(options_.to);
    return ctx_.schema(names);
  }
  // The kinds of these columns: those of the input, and a float.
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override {
    auto out = columns(in.schema, port);
    if (!out.ok()) return out.why();
    if (auto why = pl::wrong_kind(in, "column", options_.column, {PL_I64, PL_F64})) return *std::move(why);
    pl::column_set all{*out};
    for (pl::column_index c = 0; in.schema != nullptr && c < in.schema->ncols; ++c) all.kinds.push_back(in.kind(c));
    if (all.schema != nullptr) all.kinds.push_back(PL_F64);
    return all;
  }

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override {
    if (&in.schema() != in_) {  // schemas are interned: an equal pointer means equal columns
      auto known = columns(&in.schema(), 0);
      if (!known.ok()) return known.why();
      in_ = &in.schema();
      out_ = *known;
      column_ = *in.find(options_.column);
    }
    auto made = ctx_.derive(in, out_, in.rows());  // with the positions of `in`
    for (pl::column_index c = 0; c < in.columns(); ++c) made.share_column(c, in.column(c));
    const auto cells = made.make_column(in.columns());
    const auto kept = made.allocate<pl::row_index>(in.selected());
    std::size_t n = 0;
    for (const auto row : in.selection()) {
      const auto& celsius = in.at(column_, row);
      if (const auto degrees = pl::number_of(celsius)) {
        cells[row] = pl::real_cell(*degrees * 9 / 5 + 32);
      } else if (!pl::is_null(celsius)) {
        ctx_.reject(in, row, "'" + options_.column + "' is not a number");
        continue;
      }
      kept[n++] = row;
    }
    made.select(kept.first(n));
    out.emit(std::move(made));
    return {};
  }

 private:
  const options options_;
  const pl::context ctx_;
  const pl_schema* in_ = nullptr;
  const pl_schema* out_ = nullptr;
  pl::column_index column_ = 0;
};

class csv_sink final : public pl::sink, public pl::columns_aware {
 public:
  struct options {
    std::string path;
    std::vector<std::string> columns;

    static pl::option_table<options> table() {
      return {pl::option(&options::path, "path", "File to append to.").required().example("readings.csv"),
              pl::option(&options::columns, "columns", "Columns to write, in this order.")
                  .required()
                  .example("[time, device_id, temperature]")};
    }
  };
  static pl::description describe() {
    return {.name = "csv_sink",
            .doc = "Appends rows to a CSV file (RFC 4180).",
            .example = "plugin: csv_sink\nfrom: parsed\npath: readings.csv\ncolumns: [time, device_id, temperature]\n"};
  }

  // Check the options and open nothing: `validate` calls the constructor, too.
  csv_sink(options o, pl::context ctx)
      : options_(std::move(o)), rows_(ctx.counter("csv_rows_total", "Rows appended to the file")) {
    if (options_.columns.empty()) throw pl::invalid_options("columns", "no columns; name at least one");
  }
  ~csv_sink() override { close_file(); }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t /*port*/) override {
    for (std::size_t i = 0; in != nullptr && i < options_.columns.size(); ++i)
      if (!pl::find_column(*in, options_.columns[i]))
        return pl::bad_option("columns[" + std::to_string(i) + "]",
                              "the input has no column '" + options_.columns[i] + "'");
    return nullptr;  // a sink has no output
  }

  pl::result<void> start() override {
    close_file();
    file_ = ::open(options_.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (file_ < 0) return failed("open");
    struct stat now {};
    if (::fstat(file_, &now) != 0) return failed("stat");
    if (now.st_size != 0) return {};
    text_.clear();
    for (const auto& name : options_.columns) append_field(name, &name == &options_.columns.back());
    return append(0);
  }
  pl::result<void> stop() override {
    close_file();
    return {};
  }

  // Write all rows or none: cut off a partial write, because the host calls again with the same batches.
  pl::result<void> write(const pl::batch_list& batches) override {
    text_.clear();
    for (const auto b : batches) append_rows(b);
    const auto size = ::lseek(file_, 0, SEEK_END);
    if (size < 0) return failed("seek in");
    if (auto appended = append(size); !appended.ok()) return appended;
    rows_.add(batches.rows());
    return {};
  }

 private:
  void append_rows(pl::batch_view b) {
    at_.clear();
    for (const auto& name : options_.columns) at_.push_back(b.find(name));
    for (const auto row : b.selection())
      for (std::size_t i = 0; i < at_.size(); ++i) {
        field_.clear();
        if (at_[i]) pl::text_template::append_plain(field_, b.at(*at_[i], row));
        append_field(field_, i + 1 == at_.size());
      }
  }
  void append_field(std::string_view field, bool last) {
    const bool quote = field.find_first_of(",\"\r\n") != std::string_view::npos;
    if (quote) text_ += '"';
    for (const char c : field) text_.append(quote && c == '"' ? 2 : 1, c);
    if (quote) text_ += '"';
    text_ += last ? '\n' : ',';
  }
  pl::result<void> append(off_t size) {
    for (std::string_view left = text_; !left.empty();) {
      const auto n = ::write(file_, left.data(), left.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        auto why = failed("write to");
        if (::ftruncate(file_, size) == 0) return why;
        return pl::fatal("cannot remove a partial line from '" + options_.path + "'");
      }
      left.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }
  // State what happened, where, and what to do. The host logs the message and calls again after a back-off.
  [[nodiscard]] pl::failure failed(const std::string& what) const {
    return pl::retry("cannot " + what + " '" + options_.path + "': " + std::generic_category().message(errno) +
                     "; check the folder, its permissions and the space on its disk");
  }
  void close_file() {
    if (file_ >= 0) ::close(std::exchange(file_, -1));
  }

  const options options_;
  const pl::counter rows_;
  int file_ = -1;
  std::string text_, field_;
  std::vector<std::optional<pl::column_index>> at_;
};

}  // namespace thermometer

PL_EXPORT("1.0.0", thermometer::fahrenheit, thermometer::csv_sink)
