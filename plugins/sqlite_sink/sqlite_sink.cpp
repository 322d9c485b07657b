// SPDX-License-Identifier: Apache-2.0
// sqlite_sink: rows into a table of an SQLite file. No server needed.
#include "database.hpp"

#include <pipeline/json.hpp>
#include <pipeline/plugin.hpp>
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
enum class time_storage { text, nanoseconds };
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
        option(
            &options::path, "path",
            "The database file; its folder is made where it is missing. {pipeline} and {node} stand for their names.")
            .required()
            .example("data/{pipeline}.db"),
        option(&options::table_name, "table", "Table to insert into.").required().example("raw_telemetry"),
        option(
            &options::create, "create",
            "Make the table from the first rows' columns where it is missing. A table that is there is never altered."),
        option(&options::columns, "columns",
               "Which column of the rows goes into which column of the table. Default: all, by their own names.")
            .example("{ts: time, device: device_id, temp: temperature}"),
        option(&options::key, "key", "Columns of the primary key of a table that is made.")
            .example("[time, user_id, device_id]"),
        option(&options::on_conflict, "on_conflict",
               "What to do with a row whose key is there already. reject: to the dead letters; ignore: keep the old "
               "one; replace: keep the new one."),
        option(&options::time_as, "time_as",
               "How times are stored. text: 2026-11-24T18:28:06Z, for SQLite's date functions; nanoseconds: an "
               "integer, since 1970."),
        option(&options::synchronous, "synchronous",
               "full: a power cut loses nothing that counts as delivered; normal: it may lose the last transactions, "
               "and writing is faster."),
        option(&options::busy_timeout, "busy_timeout",
               "How long to wait for another program that holds the database, before trying again later.")
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
                                "unknown name {" + piece.text + "} in the path; there are {pipeline} and {node}");
    if (!piece.is_column)
      path += piece.text;
    else
      for (const char c : name) path.push_back(c == '/' ? '_' : c);
  }
  if (path.empty() || path.back() == '/')
    throw pl::invalid_options("path", "'" + path + "' is no file name; write e.g. data/{pipeline}.db");
  return path;
}

std::string lower(std::string_view s) {
  std::string out(s);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

// Where a value of a column of the table comes from.
struct mapped_column {
  std::string name;
  pl::column_index from;
};

}  // namespace

class sqlite_sink final : public pl::sink, public pl::columns_aware, public pl::rewritable {
 public:
  using options = sqlite::options;

  static pl::description describe() {
    return {.name = "sqlite_sink",
            .doc =
                "Inserts rows into a table of an SQLite file; no server needed.\n"
                "Each write is one transaction. A row that the table refuses goes to the dead letters with the reason, "
                "the others are stored.",
            .example = "plugin: sqlite_sink\nfrom: parsed\npath: \"data/{pipeline}.db\"\ntable: raw_telemetry\n"};
  }

  sqlite_sink(options o, pl::context ctx) : options_(std::move(o)), ctx_(ctx), path_(expand_path(options_.path, ctx)) {
    if (options_.table_name.empty() || lower(options_.table_name).starts_with("sqlite_"))
      throw pl::invalid_options(
          "table",
          "'" + options_.table_name + "' can't be the name of a table; names that begin with sqlite_ are SQLite's own");
    if (!options_.columns.empty())
      for (std::size_t i = 0; i < options_.key.size(); ++i)
        if (!options_.columns.contains(options_.key[i]))
          throw pl::invalid_options("key[" + std::to_string(i) + "]",
                                    "`columns` has no column '" + options_.key[i] + "'");
  }

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override {
    if (in == nullptr) return nullptr;
    for (const auto& [name, from] : options_.columns)
      if (!pl::find_column(*in, from))
        return pl::bad_option("columns." + name, "no column '" + from + "' comes in; there are: " + names_of(*in));
    for (std::size_t i = 0; options_.columns.empty() && i < options_.key.size(); ++i)
      if (!pl::find_column(*in, options_.key[i]))
        return pl::bad_option("key[" + std::to_string(i) + "]",
                              "no column '" + options_.key[i] + "' comes in; there are: " + names_of(*in));
    return nullptr;
  }

  pl::result<void> check() override {
    std::error_code error;
    if (!std::filesystem::exists(path_, error)) return check_folder();
    database d;
    if (auto r = d.open(path_, database::access::read_only, timeout()); !r) return r;
    auto there = d.columns_of(options_.table_name);
    if (!there.ok()) return there.why();
    if (there->empty()) return options_.create ? pl::result<void>{} : no_table();
    for (const auto& [name, from] : options_.columns)
      if (!has_column(*there, name)) return no_table_column(name, *there);
    return {};
  }

  pl::result<void> start() override {
    std::error_code error;
    if (const auto folder = std::filesystem::path(path_).parent_path(); !folder.empty())
      std::filesystem::create_directories(folder, error);
    if (error)
      return pl::fatal("cannot make the folder of " + path_ + ": " + error.message() +
                       "; change `path`, or give this user the right to write there");
    if (auto r = db_.open(path_, database::access::create, timeout()); !r) return r;
    if (auto r = db_.run("PRAGMA journal_mode = WAL"); !r) return r;
    if (auto r = db_.run("PRAGMA foreign_keys = ON"); !r) return r;
    return db_.run(options_.synchronous == durability::full ? "PRAGMA synchronous = FULL"
                                                            : "PRAGMA synchronous = NORMAL");
  }

  pl::result<void> stop() override {
    forget_statement();
    db_.close();
    return {};
  }

  pl::result<void> may_rewrite() override {
    if (options_.on_conflict != conflict_policy::reject) return {};
    return pl::bad_option("on_conflict",
                          "rows that are there already would be added once more; with 'key' and 'on_conflict: ignore' "
                          "they are not");
  }

  pl::result<void> write(const pl::batch_list& batches) override {
    if (batches.rows() == 0) return {};
    rejected_.clear();
    auto r = write_transaction(batches);
    if (!r.ok()) {
      if (db_.in_transaction()) static_cast<void>(db_.run("ROLLBACK"));
      forget_statement();  // the table may have changed
      return r;
    }
    // Only after COMMIT: rows of a transaction that fails come again.
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
  // SQLite's names are the same in upper and lower case.
  static bool has_column(const std::vector<column_info>& in, const std::string& name) {
    return std::any_of(in.begin(), in.end(), [&](const column_info& c) { return lower(c.name) == lower(name); });
  }
  [[nodiscard]] pl::failure no_table() const {
    return pl::bad_option(
        "table", "there is no table '" + options_.table_name + "' in " + path_ + "; set `create: true`, or make it");
  }
  [[nodiscard]] pl::failure no_table_column(const std::string& name, const std::vector<column_info>& there) const {
    std::string all;
    for (const auto& c : there) all.append(all.empty() ? "" : ", ").append(c.name);
    return pl::bad_option("columns", "table '" + options_.table_name + "' in " + path_ + " has no column '" + name +
                                         "'; it has: " + all +
                                         ". Say with `columns` what goes where, or add the column (ALTER TABLE)");
  }
  [[nodiscard]] pl::result<void> check_folder() const {
    auto folder = std::filesystem::path(path_).parent_path();
    std::error_code error;
    while (!folder.empty() && !std::filesystem::exists(folder, error)) folder = folder.parent_path();
    const auto there = folder.empty() ? std::string(".") : folder.string();
    if (std::filesystem::is_directory(there, error) && ::access(there.c_str(), W_OK | X_OK) == 0) return {};
    return pl::fatal("cannot make " + path_ + ": " + there +
                     " is no folder that this user may write to; change `path`");
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
    // A deferred constraint: which row broke it, SQLite does not say. The host finds it by halving.
    if (!r.ok() && db_.is_constraint_failure())
      return pl::rejected("table '" + options_.table_name + "' refuses the rows: " + db_.message());
    return r;
  }

  // The INSERT for this schema; the table is made or checked before its first use.
  pl::result<void> prepare_for(pl::batch_view b) {
    if (insert_ && schema_ == &b.schema()) return {};
    if (auto known = columns(&b.schema(), 0); !known.ok()) return known.why();
    map_columns(b.schema());
    auto there = db_.columns_of(options_.table_name);
    if (!there.ok()) return there.why();
    if (there->empty()) {
      if (!options_.create) return no_table();
      if (auto r = db_.run(create_statement()); !r) return r;
      ctx_.info("made table '" + options_.table_name + "' in " + path_);
    } else if (auto r = check_table(*there); !r) {
      return r;
    }
    auto prepared = db_.prepare(insert_statement());
    if (!prepared.ok()) return prepared.why();
    insert_ = std::move(*prepared);
    schema_ = &b.schema();
    return {};
  }

  void map_columns(const pl_schema& in) {
    mapped_.clear();
    if (options_.columns.empty())
      for (pl::column_index c = 0; c < in.ncols; ++c) mapped_.push_back({std::string(pl::view(in.names[c])), c});
    for (const auto& [name, from] : options_.columns) mapped_.push_back({name, *pl::find_column(in, from)});
  }

  pl::result<void> check_table(const std::vector<column_info>& there) const {
    for (const auto& m : mapped_)
      if (!has_column(there, m.name)) return no_table_column(m.name, there);
    for (const auto& c : there) {
      const bool filled = std::any_of(mapped_.begin(), mapped_.end(),
                                      [&](const mapped_column& m) { return lower(m.name) == lower(c.name); });
      if (c.needs_value && !filled)
        return pl::bad_option("columns",
                              "column '" + c.name + "' of table '" + options_.table_name +
                                  "' is NOT NULL and has no default, and nothing is written to it; map a column to it");
    }
    return {};
  }

  // Columns without a type keep every value as it is: integers exact, text as text.
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
      case SQLITE_TOOBIG:  // SQLite takes back this one row; the transaction goes on
        if (!db_.in_transaction())
          return pl::rejected(options_.table_name + ": " + why);  // the table says ON CONFLICT ROLLBACK
        rejected_.push_back({index, row, "table '" + options_.table_name + "' refuses the row: " + why});
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

  void forget_statement() {
    insert_ = {};
    schema_ = nullptr;
  }

  const options options_;
  const pl::context ctx_;
  const std::string path_;
  database db_;
  statement insert_;  // for schema_
  const pl_schema* schema_ = nullptr;
  std::vector<mapped_column> mapped_;
  std::vector<rejection> rejected_;
  std::string time_text_;
};

}  // namespace sqlite

PL_EXPORT("0.1.0", sqlite::sqlite_sink)
