// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "catalog.hpp"
#include "conninfo.hpp"
#include "mapping.hpp"
#include "options.hpp"
#include "positions.hpp"
#include "session.hpp"
#include "writer.hpp"

#include <pipeline/component.hpp>

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace timescale {

class sink final : public pl::sink, public pl::columns_aware, public pl::position_store, public pl::rewritable {
 public:
  using options = timescale::options;
  static pl::description describe();

  sink(options o, pl::context context);

  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) override;
  pl::result<void> check() override;
  pl::result<void> start() override;
  pl::result<void> stop() override;
  pl::result<void> write(const pl::batch_list& batches) override;

  pl::result<pl_position> position(std::string_view source, std::string_view stream) override;
  pl::result<bool> claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                         const pl_mark& mark) override;
  pl::result<void> load(std::string_view source, std::string_view stream, const entry& each) override;

  pl::result<void> may_rewrite() override;

 private:
  struct world {  // what the catalog said
    server_info server;
    std::optional<table_info> table;
    std::vector<std::string> warnings;
    bool created = false;
  };

  // Reads the catalog and, where that is wanted and allowed, creates the table.
  [[nodiscard]] pl::result<world> look(const pl_schema* in, bool may_create);
  [[nodiscard]] pl::result<void> find_table(pqxx::transaction_base& tx, const pl_schema* in, bool may_create, world& w);
  [[nodiscard]] pl::result<void> create(pqxx::transaction_base& tx, const pl_schema* in, world& w);
  [[nodiscard]] pl::failure no_table(pqxx::transaction_base& tx) const;
  void announce(const world& w);

  [[nodiscard]] pl::result<void> make_ready(const pl::batch_list& batches);
  [[nodiscard]] pl::result<prepared_schema*> prepared(const pl_schema* schema);
  [[nodiscard]] pl::result<void> connect();
  void forget_table();

  [[nodiscard]] std::vector<closing_statement> closing_of(const pl::batch_list& batches);
  // Whether a write whose outcome is not known was committed.
  [[nodiscard]] pl::result<bool> find_out();
  [[nodiscard]] pl::result<void> know_priors();
  [[nodiscard]] pl::failure name_refused(const pl::batch_list& batches);
  void delivered(const pl::batch_list& batches);
  // Nothing: the table changed under us, and the same write is worth another try with a fresh look at it.
  [[nodiscard]] std::optional<pl::failure> explain(const write_failure& why, bool first_time);
  [[nodiscard]] pl::failure report(const findings& found) const;
  [[nodiscard]] std::string where() const;

  options options_;
  pl::context context_;
  table_name name_;
  conninfo conninfo_;
  limits limits_;
  const pl_schema* in_ = nullptr;  // what comes in, where the host knows it beforehand

  session session_;
  writer writer_;
  std::optional<table_info> table_;
  std::vector<std::unique_ptr<prepared_schema>> prepared_;
  std::vector<portion> portions_;
  std::vector<std::uint32_t> batch_of_;  // portion -> batch
  position_tables tables_;
  std::unique_ptr<position_book> book_;
  std::mt19937_64 random_{std::random_device{}()};
  std::vector<move> moves_;  // of the write in hand
  struct last_write {
    std::uint64_t epoch, next, token;
  };
  std::map<std::pair<std::string, std::string>, last_write> last_;  // by source and stream
  std::uint64_t token_ = 0;  // of the write in hand, for all its tries; 0: none yet
  bool unsure_ = false;      // whether an earlier try of it was committed

  bool was_ready_ = false;  // a write succeeded: what doesn't fit now has changed under us

  pl::counter rows_, refused_, transactions_, searches_, connections_;
  pl::histogram seconds_;
};

}  // namespace timescale
