// SPDX-License-Identifier: Apache-2.0
#include "table_setup.hpp"

#include "creation.hpp"

#include <algorithm>

namespace timescale {
namespace {

std::string listed_columns(const table_info& table) {
  std::string text;
  for (const auto& c : table.columns) text += (text.empty() ? "" : ", ") + c.name + ' ' + c.type;
  return text;
}

// Return whether creating the table may succeed later: a lock, a lost connection, or a concurrent CREATE TABLE.
bool is_transient(const sql_error& e) {
  if (e.sqlstate == "42P07" || e.sqlstate == "23505") return true;
  const auto what = reaction_to(e);
  return what == reaction::reconnect || (what == reaction::retry && e.sqlstate != "42501");
}

findings schema_findings(pqxx::transaction_base& tx, const table_name& name, const std::string& where) {
  if (name.schema.empty()) return {};
  switch (inspect_schema(tx, name.schema)) {
    case schema_state::usable:
      break;
    case schema_state::missing:
      return {{"table", "there is no schema '" + name.schema + "' at " + where + ": CREATE SCHEMA " +
                            quoted_identifier(name.schema)}};
    case schema_state::forbidden:
      return {{"table", "no privilege to use schema '" + name.schema + "': GRANT USAGE ON SCHEMA " +
                            quoted_identifier(name.schema) + " to the user of 'url'"}};
  }
  return {};
}

void add_once(findings& to, const findings& more) {
  for (const auto& f : more)
    if (std::ranges::none_of(to, [&](const auto& g) { return g.option == f.option && g.message == f.message; }))
      to.push_back(f);
}

// Return the errors of the table for all inputs.
findings plan_findings(const options& o, const table_info& table, const std::vector<pl::column_set>& inputs) {
  findings found;
  copy_plan plan;
  for (const auto& in : inputs) add_once(found, make_plan(o, table, in.schema, plan));
  return found;
}

std::string untyped_text(const std::string& table, const std::vector<std::string>& columns) {
  return "table '" + table + "' was created with the type text, which accepts every value, for " + listed(columns) +
         ", because the kind of their values is not declared or is mixed; for other types, drop the table and set "
         "'create.columns'";
}

constexpr const char* begin_trial = "SAVEPOINT pipeline_host_trial";
constexpr const char* end_trial = "ROLLBACK TO SAVEPOINT pipeline_host_trial";

}  // namespace

void table_setup::add_input(const pl::column_set& in) {
  const auto same = [&](const auto& i) { return i.schema == in.schema && i.kinds == in.kinds; };
  if (std::ranges::none_of(inputs_, same)) inputs_.push_back(in);
}

void table_setup::settle_on(const catalog_state& found) {
  if (!found.name.schema.empty()) settled_ = found.name;
  existed_ = existed_ || found.table.has_value();
}

bool table_setup::has_fitted(const pl_schema& schema) const {
  return existed_ && std::ranges::any_of(inputs_, [&](const auto& in) { return in.schema == &schema; });
}

pl::failure table_setup::report(const findings& found) const {
  if (found.empty()) return pl::fatal({});
  for (std::size_t i = 0; i + 1 < found.size(); ++i) context_.option_error(found[i].option, found[i].message);
  return pl::bad_option(found.back().option, found.back().message);
}

std::string table_setup::where() const { return "table '" + name_.shown() + "' at " + conninfo_.shown(); }

bool table_setup::is_writable() const {
  server_info server;
  const auto asked = in_transaction(conninfo_.secret_text(), limits_, [&](pqxx::transaction_base& tx) {
    server = inspect_server(tx);
    return pl::result<void>{};
  });
  return asked.ok() && !server.read_only;
}

pl::result<catalog_state> table_setup::read(when_missing what) const {
  return read(inputs_, merged(context_, inputs_), what);
}

pl::result<catalog_state> table_setup::read_for(const pl_schema& schema, const pl::batch_list& batches) const {
  std::vector<pl::column_set> own, others;
  for (const auto& in : inputs_)
    if (in.schema != nullptr && !in.kinds.empty()) (in.schema == &schema ? own : others).push_back(in);
  auto rows = own.empty() ? observed(schema, batches) : merged(context_, own);
  const std::vector<pl::column_set> these{rows};
  others.insert(others.begin(), std::move(rows));
  return read(these, merged(context_, others), when_missing::create);
}

pl::result<catalog_state> table_setup::read(const std::vector<pl::column_set>& inputs, const pl::column_set& columns,
                                            when_missing what) const {
  catalog_state w;
  auto done = in_transaction(conninfo_.secret_text(), limits_,
                             [&](pqxx::transaction_base& tx) { return find(tx, inputs, columns, what, w); });
  if (done) return w;
  auto why = done.why();
  if (why.code == pl::status::retry) why.message = where() + ": " + why.message;
  return why;
}

pl::result<void> table_setup::find(pqxx::transaction_base& tx, const std::vector<pl::column_set>& inputs,
                                   const pl::column_set& columns, when_missing what, catalog_state& w) const {
  w.server = inspect_server(tx);
  if (w.server.read_only)
    return pl::retry(
        "the server does not accept writes: it is a standby, or set to read-only; point 'url' at the primary");
  if (auto found = schema_findings(tx, name_, conninfo_.shown()); !found.empty()) return report(found);
  w.name = settled_ ? *settled_ : qualified(tx, name_);
  w.table = inspect_table(tx, w.name, w.server);
  if (!w.table && existed_) return table_has_gone();
  if (!w.table && !options_.create) return no_table(tx);
  const bool trial = !w.table && what == when_missing::try_out;
  if (!w.table) {
    if (!can_design(options_, columns)) return check_design(columns);
    if (trial) tx.exec(begin_trial);
    if (auto done = create(tx, columns, w); !done) return done;
  }
  const std::vector<pl::column_set> unknown{{}};
  if (auto found = plan_findings(options_, *w.table, inputs.empty() ? unknown : inputs); !found.empty())
    return report(found);
  w.kinds = compare_kinds(*w.table);
  add_warnings(w);
  if (trial) tx.exec(end_trial);
  return {};
}

// Report errors in 'create' and 'key' before the kinds of the columns are known.
pl::result<void> table_setup::check_design(const pl::column_set& columns) const {
  if (columns.schema == nullptr && options_.columns.empty()) return {};
  table_design design;
  if (auto found = design_table(options_, columns, design); !found.empty()) return report(found);
  return {};
}

pl::failure table_setup::no_table(pqxx::transaction_base& tx) const {
  return pl::bad_option("table", "there is no table '" + name_.shown() + "' at " + conninfo_.shown() +
                                     did_you_mean(name_.shown(), visible_tables(tx, name_), ".") +
                                     " Create it, or set 'create: {}'");
}

// Another table of this name would take the rows that belong to the one that was found. It may have been renamed for a
// moment, or a restore may be in progress.
pl::failure table_setup::table_has_gone() const {
  return pl::retry("there is no " + where() + ", which existed before" +
                   (options_.create
                        ? "; it is not created again while the pipeline runs. Restore the table, or restart "
                          "the pipeline to create a new one"
                        : "; restore the table, or change 'table' and reload"));
}

// Add what lets the server lose rows that it has confirmed.
void table_setup::add_warnings(catalog_state& w) const {
  if (w.table->unlogged)
    w.warnings.push_back("'" + w.name.shown() +
                         "' or one of its partitions is UNLOGGED: a crash of the server empties it, and rows whose "
                         "positions are committed are not written again, also with 'delivery: exactly_once'; to change "
                         "that, run ALTER TABLE ... SET LOGGED");
  if (w.server.commits_later)
    w.warnings.push_back(
        "synchronous_commit is off for the user of 'url': a crash of the server loses the rows of the last moments, "
        "although their transactions were confirmed; to change that, run ALTER ROLE ... SET synchronous_commit = on");
}

pl::result<void> table_setup::create(pqxx::transaction_base& tx, const pl::column_set& columns,
                                     catalog_state& w) const {
  table_design design;
  if (auto found = design_table(options_, columns, design); !found.empty()) return report(found);
  lock_creation(tx, w.name);
  w.table = inspect_table(tx, w.name, w.server);
  if (w.table) return {};  // another host has created it
  try {
    w.warnings = create_table(tx, w.name, design, *options_.create, options_.key, w.server);
  } catch (const pqxx::sql_error& e) {
    if (is_transient(error_of(e))) throw;
    return pl::bad_option("create", "cannot create table '" + name_.shown() + "' at " + conninfo_.shown() + ": " +
                                        described(error_of(e)) + "; the statement: " + e.query());
  }
  if (!design.untyped.empty()) w.warnings.push_back(untyped_text(name_.shown(), design.untyped));
  w.table = inspect_table(tx, w.name, w.server);
  w.created = true;
  return {};
}

kind_report table_setup::compare_kinds(const table_info& table) const {
  kind_report all;
  for (const auto& in : inputs_) {
    copy_plan plan;
    if (in.schema == nullptr || !make_plan(options_, table, in.schema, plan).empty()) continue;
    const auto found = check_kinds(options_, table, plan, in);
    add_once(all.errors, found.errors);
    for (const auto& w : found.warnings)
      if (std::ranges::find(all.warnings, w) == all.warnings.end()) all.warnings.push_back(w);
  }
  return all;
}

void table_setup::log(const catalog_state& w) const {
  for (const auto& warning : w.warnings) context_.warn(warning);
  if (!w.table) return;
  if (w.created) context_.info("created " + where() + ": " + listed_columns(*w.table));
  context_.info("writing to " + where() + ": PostgreSQL " + w.server.version +
                (w.server.timescale.empty() ? "" : ", TimescaleDB " + w.server.timescale));
  const bool wanted = !options_.create || options_.create->hypertable.enabled;
  if (!wanted) return;
  if (w.server.timescale.empty())
    context_.warn(std::string("TimescaleDB is not installed in this database: '") + w.table->name.shown() +
                  "' is an ordinary table, without chunks, compression or retention" +
                  (w.server.timescale_offered ? "; to install it, run CREATE EXTENSION timescaledb" : ""));
  else if (!w.table->hypertable)
    context_.warn("'" + w.table->name.shown() +
                  "' is not a hypertable; to convert it, run SELECT create_hypertable(...)");
}

}  // namespace timescale
