// SPDX-License-Identifier: Apache-2.0
// sqlite_sink writes rows into a table of an SQLite file.
#include "database.hpp"
#include "table_check.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>
#include <pipeline/posix.hpp>
#include <pipeline/text.hpp>
#include <pipeline/text_template.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <optional>

namespace sqlite {
using namespace std::chrono_literals;

enum class conflict_policy { reject, ignore, replace };
constexpr std::array<std::pair<std::string_view, conflict_policy>, 3> choices(conflict_policy) {
  return {{{"reject", conflict_policy::reject},
           {"ignore", conflict_policy::ignore},
           {"replace", conflict_policy::replace}}};
}
enum class durability { full, normal };
constexpr std::array<std::pair<std::string_view, durability>, 2> choices(durability) {
  return {{{"full", durability::full}, {"normal", durability::normal}}};
}
constexpr std::array<std::pair<std::string_view, time_storage>, 2> choices(time_storage) {
  return {{{"text", time_storage::text}, {"nanoseconds", time_storage::nanoseconds}}};
}

struct options {
  std::string path, table_name;
  bool create = true;
  std::map<std::string, std::string> columns;
  std::vector<std::string> key;
  conflict_policy on_conflict = conflict_policy::reject;
  time_storage time_as = time_storage::text;
  durability synchronous = durability::full;
  std::chrono::nanoseconds busy_timeout = 5s;

  static pl::option_table<options> table() {
    using pl::option;
    return {
        option(&options::path, "path",
               "Database file. Its folder is created if it does not exist. {pipeline} and {node} are replaced by the "
               "names of the pipeline and the node.")
            .required()
            .example("data/{pipeline}.db"),
        option(&options::table_name, "table", "Table to insert into.").required().example("raw_telemetry"),
        option(&options::create, "create",
               "Create the table from the columns of the first rows if it does not exist. An existing table is never "
               "altered."),
        option(&options::columns, "columns",
               "Maps columns of the table to columns of the rows. Default: all columns, with the same names.")
            .example("{ts: time, device: device_id, temp: temperature}"),
        option(&options::key, "key", "Columns of the primary key of a table that is created.")
            .example("[time, user_id, device_id]"),
        option(&options::on_conflict, "on_conflict",
               "What to do with a row whose key already exists. reject: send it to the dead letters; ignore: keep the "
               "existing row; replace: replace the existing row."),
        option(&options::time_as, "time_as",
               "How times are stored. text: 2026-11-24T18:28:06Z, for SQLite's date functions; nanoseconds: integer "
               "nanoseconds since 1970."),
        option(&options::synchronous, "synchronous",
               "Durability. full: delivered rows survive a power failure; normal: a power failure may lose the last "
               "transactions, but writing is faster."),
        option(&options::busy_timeout, "busy_timeout",
               "How long to wait if another program has locked the database, before the write is retried later.")
            .range(0, 600)};
  }
};

namespace {

std::string expand_path(const std::string& source, const pl::context& ctx) {
  auto parsed = pl::text_template::parse(source);
  if (!parsed.ok()) throw pl::invalid_options("path", parsed.why().message);
  std::string path;
  for (const auto& piece : parsed->pieces()) {
    const auto name = piece.text == "pipeline" ? ctx.pipeline()
                      : piece.text == "node"   ? ctx.node()
                                               : std::string_view{};
    if (piece.is_column && name.empty())
      throw pl::invalid_options("path",
                                "unknown placeholder {" + piece.text + "} in the path; use {pipeline} or {node}");
    if (!piece.is_column)
      path += piece.text;
    else
      for (const char c : name) path.push_back(c == '/' ? '_' : c);
  }
  if (path.empty() || path.back() == '/')
    throw pl::invalid_options("path", "'" + path + "' is not a file name; use for example data/{pipeline}.db");
  return path;
}

}  // namespace

class sqlite_sink final : public pl::sink, public pl::columns_aware, public pl::rewritable {
 public:
  using options = sqlite::options;

  static pl::description describe() {
    return {.name = "sqlite_sink",
            .doc =
                "Inserts rows into a table of an SQLite file. It needs no server.\n"
                "Each write is one transaction. A row that violates a constraint of the table goes to the dead letters "
                "with the reason; the other rows are stored.",
            .example = "plugin: sqlite_sink\nfrom: parsed\npath: \"data/{pipeline}.db\"\ntable: raw_telemetry\n"};
  }

  sqlite_sink(options o, pl::context ctx) : options_(std::move(o)), ctx_(ctx), path_(expand_path(options_.path, ctx)) {
    if (options_.table_name.empty() || pl::to_lower(options_.table_name).starts_with("sqlite_"))
      throw pl::invalid_options("table", "'" + options_.table_name +
                                             "' is not a valid table name; it must not be empty or begin with sqlite_");
    if (!options_.columns.empty())
      for (std::size_t i = 0; i < options_.key.size(); ++i)
        if (!options_.columns.contains(options_.key[i]))
          throw pl::invalid_options("key[" + std::to_string(i) + "]",
                                    "'" + options_.key[i] + "' is not in `columns`; add it there");
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in == nullptr) return nullptr;
    for (const auto& [name, from] : options_.columns)
      if (!pl::find_column(*in, from))
        return pl::bad_option("columns." + name,
                              "the input has no column '" + from + "'; valid names: " + names_of(*in));
    for (std::size_t i = 0; options_.columns.empty() && i < options_.key.size(); ++i)
      if (!pl::find_column(*in, options_.key[i]))
        return pl::bad_option("key[" + std::to_string(i) + "]",
                              "the input has no column '" + options_.key[i] + "'; valid names: " + names_of(*in));
    return nullptr;
  }

  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override {
    if (auto known = columns(in.schema, port); !known.ok()) return known.why();
    if (in.schema != nullptr) inputs_.push_back(in);
    return pl::column_set{};
  }

  pl::result<void> check() override {
    std::error_code error;
    if (!std::filesystem::exists(path_, error)) return check_folder();
    database d;
    if (auto r = d.open(path_, database::access::read_only, timeout()); !r) return r;
    const auto misfits = compare(d);
    if (!misfits.ok()) return misfits.why();
    if (misfits->empty()) return {};
    for (std::size_t i = 0; i + 1 < misfits->size(); ++i)
      ctx_.option_error((*misfits)[i].option, (*misfits)[i].message);
    return misfits->back();
  }

  pl::result<void> start() override {
    if (const auto error = pl::make_folders(std::filesystem::path(path_).parent_path()))
      return pl::fatal("cannot create the folder of " + path_ + ": " + error.message() +
                       "; change `path`, or give this user permission to write there");
    if (auto r = db_.open(path_, database::access::create, timeout()); !r) return r;
    if (auto r = db_.run("PRAGMA journal_mode = WAL"); !r) return r;
    if (auto r = db_.run("PRAGMA foreign_keys = ON"); !r) return r;
    if (auto r = log_misfits(); !r) return r;
    return db_.run(options_.synchronous == durability::full ? "PRAGMA synchronous = FULL"
                                                            : "PRAGMA synchronous = NORMAL");
  }

  pl::result<void> stop() override {
    reset_statement();
    db_.close();
    return {};
  }

  pl::result<void> may_rewrite() override {
    if (options_.on_conflict != conflict_policy::reject) return {};
    return pl::bad_option("on_conflict",
                          "existing rows would be added again; to prevent this, set 'key' and 'on_conflict: ignore'");
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    if (batches.rows() == 0) return {};
    rejected_.clear();
    auto r = write_transaction(batches);
    if (!r.ok()) {
      if (db_.in_transaction()) static_cast<void>(db_.run("ROLLBACK"));
      reset_statement();  // the table may have changed
      return r;
    }
    // Reject rows only after COMMIT, because the rows of a failed transaction are written again.
    for (const auto& rejected : rejected_) ctx_.reject(batches[rejected.batch], rejected.row, rejected.why);
    return {};
  }

 private:
  struct rejection {
    std::uint32_t batch, row;
    std::string why;
  };

  [[nodiscard]] std::chrono::milliseconds timeout() const {
    return std::chrono::ceil<std::chrono::milliseconds>(options_.busy_timeout);
  }

  static std::string names_of(const pl_schema& in) {
    std::string all;
    for (std::uint32_t c = 0; c < in.ncols; ++c) all.append(all.empty() ? "" : ", ").append(pl::view(in.names[c]));
    return all;
  }
  [[nodiscard]] std::string where() const { return "table '" + options_.table_name + "' in " + path_; }
  [[nodiscard]] pl::failure no_table() const {
    return pl::bad_option(
        "table", "there is no table '" + options_.table_name + "' in " + path_ + "; set `create: true`, or create it");
  }
  // Compare an existing table with the inputs whose columns are known. Return the columns that reject every value.
  [[nodiscard]] pl::result<std::vector<pl::failure>> compare(database& d) const {
    const auto there = d.columns_of(options_.table_name);
    if (!there.ok()) return there.why();
    std::vector<pl::failure> misfits;
    if (there->empty()) return options_.create ? pl::result(misfits) : no_table();
    for (const auto& [name, from] : options_.columns)
      if (find_column(*there, name) == nullptr) return no_table_column(name, *there, where());
    for (const auto& in : inputs_) {
      const auto mapped = map_columns(options_.columns, *in.schema);
      if (auto r = check_columns(mapped, *there, where()); !r) return r.why();
      for (auto& m : check_kinds(mapped, *there, in, options_.time_as, where())) misfits.push_back(std::move(m));
    }
    return misfits;
  }
  [[nodiscard]] pl::result<void> check_folder() const {
    auto folder = std::filesystem::path(path_).parent_path();
    std::error_code error;
    while (!folder.empty() && !std::filesystem::exists(folder, error)) folder = folder.parent_path();
    const auto there = folder.empty() ? std::string(".") : folder.string();
    if (std::filesystem::is_directory(there, error) && ::access(there.c_str(), W_OK | X_OK) == 0) return {};
    return pl::fatal("cannot create " + path_ + ": " + there +
                     " is not a folder that this user can write to; change `path`");
  }

  // Rows that do not fit become dead letters, which lose nothing. So a running host does not stop because of them.
  pl::result<void> log_misfits() {
    if (inputs_.empty()) return {};
    const auto misfits = compare(db_);
    if (!misfits.ok()) return misfits.why();
    for (const auto& m : *misfits) ctx_.error(m.message);
    return {};
  }

  pl::result<void> write_transaction(const pl::batch_list& batches) {
    if (auto r = db_.run("BEGIN IMMEDIATE"); !r) return r;
    for (std::uint32_t i = 0; i < batches.size(); ++i) {
      const auto b = batches[i];
      if (b.selected() == 0) continue;
      if (auto r = prepare_for(b); !r) return r;
      for (const auto row : b.selection())
        if (auto r = insert(i, b, row); !r) return r;
    }
    auto r = db_.run("COMMIT");
    // SQLite does not report which row violates a deferred constraint. The host finds the row by bisection.
    if (!r.ok() && db_.is_constraint_failure())
      return pl::rejected("table '" + options_.table_name + "' rejected the rows: " + db_.message());
    return r;
  }

  // Prepare the INSERT for this schema. Create or check the table before its first use.
  pl::result<void> prepare_for(pl::batch_view b) {
    if (insert_ && schema_ == &b.schema()) return {};
    if (auto known = columns(&b.schema(), 0); !known.ok()) return known.why();
    mapped_ = map_columns(options_.columns, b.schema());
    auto there = db_.columns_of(options_.table_name);
    if (!there.ok()) return there.why();
    if (there->empty()) {
      if (!options_.create) return no_table();
      if (auto r = db_.run(create_statement()); !r) return r;
      ctx_.info("created table '" + options_.table_name + "' in " + path_);
    } else if (auto r = check_columns(mapped_, *there, where()); !r) {
      return r;
    }
    auto prepared = db_.prepare(insert_statement());
    if (!prepared.ok()) return prepared.why();
    insert_ = std::move(*prepared);
    schema_ = &b.schema();
    return {};
  }

  // Return the CREATE TABLE statement. Columns have no type, so that SQLite stores values unchanged.
  [[nodiscard]] std::string create_statement() const {
    std::string columns, key;
    for (const auto& m : mapped_) columns.append(columns.empty() ? "" : ", ").append(quote_name(m.name));
    for (const auto& k : options_.key) key.append(key.empty() ? ", PRIMARY KEY (" : ", ").append(quote_name(k));
    return "CREATE TABLE IF NOT EXISTS " + quote_name(options_.table_name) + " (" + columns + key +
           (key.empty() ? ")" : "))");
  }
  [[nodiscard]] std::string insert_statement() const {
    std::string columns, marks;
    for (const auto& m : mapped_) {
      columns.append(columns.empty() ? "" : ", ").append(quote_name(m.name));
      marks.append(marks.empty() ? "?" : ", ?");
    }
    static constexpr const char* verbs[] = {"INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE"};
    return std::string(verbs[static_cast<std::size_t>(options_.on_conflict)]) + " INTO " +
           quote_name(options_.table_name) + " (" + columns + ") VALUES (" + marks + ")";
  }

  pl::result<void> insert(std::uint32_t index, pl::batch_view b, pl::row_index row) {
    auto* s = insert_.get();
    int code = SQLITE_OK;
    for (std::size_t i = 0; i < mapped_.size() && code == SQLITE_OK; ++i)
      code = bind(static_cast<int>(i + 1), b.at(mapped_[i].from, row));
    if (code == SQLITE_OK) code = sqlite3_step(s);
    const auto why = code == SQLITE_DONE ? std::string{} : db_.message();
    sqlite3_reset(s);
    switch (code & 0xFF) {
      case SQLITE_DONE:
        return {};
      case SQLITE_CONSTRAINT:
      case SQLITE_MISMATCH:
      case SQLITE_TOOBIG:  // SQLite undoes only this row; the transaction continues
        if (!db_.in_transaction())
          return pl::rejected(options_.table_name + ": " + why);  // the constraint has ON CONFLICT ROLLBACK
        rejected_.push_back({index, row, "table '" + options_.table_name + "' rejected the row: " + why});
        return {};
      default:
        return db_.problem("cannot insert into '" + options_.table_name + "' in", code);
    }
  }

  int bind(int at, const pl::cell& c) {
    auto* s = insert_.get();
    const auto bytes = pl::bytes_of(c);
    const auto size = static_cast<sqlite3_uint64>(bytes.size());
    const char* data = bytes.empty() ? "" : bytes.data();
    switch (c.kind) {
      case PL_BOOL:
      case PL_I64:
        return sqlite3_bind_int64(s, at, c.as.i);
      case PL_F64:
        return sqlite3_bind_double(s, at, c.as.f);
      case PL_TEXT:
      case PL_JSON:
        return sqlite3_bind_text64(s, at, data, size, SQLITE_STATIC, SQLITE_UTF8);
      case PL_BYTES:
        return sqlite3_bind_blob64(s, at, data, size, SQLITE_STATIC);
      case PL_TIME_NS: {
        if (options_.time_as == time_storage::nanoseconds) return sqlite3_bind_int64(s, at, c.as.i);
        time_text_.clear();
        pl::append_rfc3339(time_text_, c.as.i);
        return sqlite3_bind_text64(s, at, time_text_.data(), time_text_.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
      }
      default:
        return sqlite3_bind_null(s, at);
    }
  }

  void reset_statement() {
    insert_ = {};
    schema_ = nullptr;
  }

  const options options_;
  const pl::context ctx_;
  const std::string path_;
  database db_;
  statement insert_;  // for schema_
  const pl_schema* schema_ = nullptr;
  std::vector<pl::column_set> inputs_;  // whose columns are known in advance
  std::vector<mapped_column> mapped_;
  std::vector<rejection> rejected_;
  std::string time_text_;
};

}  // namespace sqlite

PL_EXPORT("0.1.0", sqlite::sqlite_sink)
