// SPDX-License-Identifier: Apache-2.0
// The table that a sink writes to: finds it in the catalog, creates it if `create` is set, and compares it with the
// columns and kinds of the sink's inputs. Belongs to one sink and refers to its members.
#pragma once

#include "catalog.hpp"
#include "column_kinds.hpp"
#include "conninfo.hpp"
#include "mapping.hpp"
#include "options.hpp"

#include <pipeline/context.hpp>

#include <optional>
#include <string>
#include <vector>

namespace timescale {

struct catalog_state {
  server_info server;
  table_name name;                  // with its schema
  std::optional<table_info> table;  // empty: it is created when the first rows show its columns
  std::vector<std::string> warnings;
  bool created = false;
  kind_report kinds;  // of the declared inputs
};

// What to do with a table that does not exist, if `create` is set. try_out: create it and roll back, which finds every
// error that creating it would have.
enum class when_missing { try_out, create };

class table_setup {
 public:
  table_setup(const options& o, pl::context context, const table_name& name, const conninfo& at, const limits& allowed)
      : options_(o), context_(context), name_(name), conninfo_(at), limits_(allowed) {}

  // Add the columns of one input, which its component declared. Without a schema: they are not known beforehand.
  void add_input(const pl::column_set& in);
  // From now on use the table that was found: its schema is not resolved again, and if it exists, it is never created.
  void settle_on(const catalog_state& found);
  // Return whether the table existed when these columns were checked, so that what does not fit has changed since.
  [[nodiscard]] bool has_fitted(const pl_schema& schema) const;
  // Read the catalog, and report what does not fit the declared inputs.
  [[nodiscard]] pl::result<catalog_state> read(when_missing what) const;
  // Read the catalog for rows that have arrived. A table that does not exist is created for these rows and all inputs.
  [[nodiscard]] pl::result<catalog_state> read_for(const pl_schema& schema, const pl::batch_list& batches) const;

  void log(const catalog_state& w) const;
  // Report all findings except the last one, and return the last one as the failure.
  [[nodiscard]] pl::failure report(const findings& found) const;
  [[nodiscard]] std::string where() const;
  // Return whether the server accepts writes by its configuration: whether a read-only transaction was the doing of
  // another client of a connection pooler. The question is asked over a new connection.
  [[nodiscard]] bool is_writable() const;

 private:
  [[nodiscard]] pl::result<catalog_state> read(const std::vector<pl::column_set>& inputs, const pl::column_set& columns,
                                               when_missing what) const;
  [[nodiscard]] pl::result<void> find(pqxx::transaction_base& tx, const std::vector<pl::column_set>& inputs,
                                      const pl::column_set& columns, when_missing what, catalog_state& w) const;
  [[nodiscard]] pl::result<void> create(pqxx::transaction_base& tx, const pl::column_set& columns,
                                        catalog_state& w) const;
  [[nodiscard]] pl::result<void> check_design(const pl::column_set& columns) const;
  [[nodiscard]] pl::failure no_table(pqxx::transaction_base& tx) const;
  [[nodiscard]] pl::failure table_has_gone() const;
  void add_warnings(catalog_state& w) const;
  [[nodiscard]] kind_report compare_kinds(const table_info& table) const;

  const options& options_;
  pl::context context_;
  const table_name& name_;
  const conninfo& conninfo_;
  const limits& limits_;
  std::vector<pl::column_set> inputs_;
  std::optional<table_name> settled_;  // with its schema
  bool existed_ = false;
};

}  // namespace timescale
