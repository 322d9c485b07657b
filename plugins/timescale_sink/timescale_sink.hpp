// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "catalog.hpp"
#include "conninfo.hpp"
#include "early_write.hpp"
#include "mapping.hpp"
#include "options.hpp"
#include "positions.hpp"
#include "session.hpp"
#include "table_setup.hpp"
#include "writer.hpp"

#include <pipeline/component.hpp>
#include <pipeline/next_write.hpp>

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
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override;
  pl::result<void> check() override;
  pl::result<void> start() override;
  pl::result<void> stop() override;
  pl::result<void> write(const pl::batch_list& batches) override;

  pl::result<pl_position> position(std::string_view source, std::string_view stream) override;
  pl::result<bool> claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                         const pl_state_watermark& watermark) override;
  pl::result<void> load(std::string_view source, std::string_view stream, const entry& each) override;
  pl::result<void> streams(std::string_view source, const stream_entry& each) override;

  pl::result<void> may_rewrite() override;

 private:
  void log_misfits(const catalog_state& w);
  [[nodiscard]] pl::result<void> write_now(const pl::batch_list& batches);
  [[nodiscard]] pl::result<void> make_ready(const pl::batch_list& batches);
  [[nodiscard]] pl::result<prepared_schema*> prepared(const pl::batch_list& batches, const pl_schema* schema);
  [[nodiscard]] pl::result<void> connect();
  void connect_second();
  void disconnect() noexcept;
  // Return the portions of the next write, if it may begin early.
  [[nodiscard]] std::vector<portion> next_portions() const;
  void reset_table();
  void use(catalog_state& seen);
  void set_opening(bool read_write);

  [[nodiscard]] std::vector<closing_statement> closing_of(const state_rows& state);
  // Return whether a write whose outcome is unknown was committed.
  [[nodiscard]] pl::result<bool> resolve_commit();
  [[nodiscard]] pl::result<void> locate_positions();
  [[nodiscard]] pl::result<void> load_prior_tokens();
  [[nodiscard]] pl::failure reject_rows(const pl::batch_list& batches);
  void delivered(const pl::batch_list& batches);
  void report_discarded();
  // Return the failure for the host, or nothing if the write must be retried immediately because the table has changed.
  [[nodiscard]] std::optional<pl::failure> explain(const write_failure& why, bool first_time);

  options options_;
  pl::context context_;
  table_name name_;
  conninfo conninfo_;
  limits limits_;
  table_setup setup_;

  session session_;
  writer writer_;
  pl::next_write next_;
  early_write early_;
  std::optional<table_info> table_;
  std::vector<std::unique_ptr<prepared_schema>> prepared_;
  std::vector<portion> portions_;
  std::vector<std::uint32_t> batch_of_;  // portion -> batch
  std::unique_ptr<position_client> positions_;
  bool warned_of_positions_ = false;
  std::mt19937_64 random_{std::random_device{}()};
  std::vector<move> moves_;  // of the current write
  struct last_write {
    std::uint64_t epoch, next, token;
  };
  std::map<std::pair<std::string, std::string>, last_write> last_;  // by source and stream
  std::uint64_t token_ = 0;      // of the current write, for all its attempts; 0: none yet
  bool commit_unknown_ = false;  // an earlier attempt of the current write may have been committed

  bool has_written_ = false;           // a write has succeeded, so a table that does not fit has changed since
  bool limits_decompression_ = false;  // see server_info
  bool read_write_ = false;  // transactions override the setting that another client left in a pooler's connection
  std::chrono::steady_clock::time_point next_discard_warning_;

  pl::counter rows_, refused_, discarded_, transactions_, early_transactions_, searches_, connections_;
  pl::histogram seconds_;
};

}  // namespace timescale
