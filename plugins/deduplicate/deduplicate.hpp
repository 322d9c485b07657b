// SPDX-License-Identifier: Apache-2.0
// The component: it drops records whose duplicate is in the window.
#pragma once

#include "codec.hpp"
#include "window.hpp"

#include <pipeline/clock.hpp>
#include <pipeline/component.hpp>
#include <pipeline/options.hpp>

#include <array>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deduplicate {

struct options {
  std::vector<std::string> by;
  std::optional<std::string> when;
  std::chrono::nanoseconds within = std::chrono::minutes(10);
  std::string time_column = "time";
  std::int64_t max_keys = 1'000'000;
  std::vector<std::string> omit;

  static pl::option_table<options> table();
};

// One instance for each lane. The state belongs to streams and is stored with the sink's positions.
class deduplicate final : public pl::transform, public pl::columns_aware, public pl::column_user, public pl::stateful {
 public:
  using options = ::deduplicate::options;

  static pl::description describe();
  deduplicate(options given, pl::context ctx);

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;
  void revoked(std::string_view stream) override;
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) override;
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override;
  [[nodiscard]] pl::column_use used_columns() const override;
  pl::result<void> restore(std::string_view stream, std::string_view key, std::string_view value) override;
  pl::result<void> restored(std::string_view stream, bool offset_reset) override;
  pl::result<void> snapshot(std::string_view stream) override;

 private:
  enum outputs : std::uint32_t { unique, duplicates };
  static constexpr std::uint32_t rows_per_step = 128;  // rows whose table entries are prefetched together

  struct stream_state {
    stream_state(const identity& key, limits most) : hash_key(key), seen(most) {}
    identity hash_key;
    bool key_stored = false;  // with the present options
    bool reread = false;      // just restored: records from the first position of the next range on are read again
    window seen;
  };
  using stored_state = std::map<std::string, std::string, std::less<>>;

  pl::result<void> bind(const pl_schema& schema);
  [[nodiscard]] const pl_schema* without_omitted(const pl_schema& in) const;
  [[nodiscard]] stream_state& state_of(std::string_view stream);
  void enter(pl::batch_view in);
  void run(pl::batch_view in);
  void run_some(pl::batch_view in, std::uint32_t from, std::uint32_t to);
  [[nodiscard]] bool identify(pl::row_index row, const stream_state& of, identity& made);
  void emit_unique(pl::batch_view in, pl::emitter& out) const;
  void emit_duplicates(pl::batch_view in, pl::emitter& out) const;
  void report();
  void report_sizes();
  void warn_of_short_window(const window& cut);
  [[nodiscard]] std::unique_ptr<stream_state> rebuild(std::string_view stream, const stored_state& kept) const;
  [[nodiscard]] stored_key key_of(const identity& hash_key) const;

  options options_;
  pl::context ctx_;
  pl::wall_clock clock_;
  std::map<std::string, std::unique_ptr<stream_state>, std::less<>> streams_;
  std::map<std::string, stored_state, std::less<>> restoring_;

  // Data of the current schema.
  const pl_schema* bound_ = nullptr;
  const pl_schema* output_schema_ = nullptr;
  std::vector<pl::column_index> by_, output_columns_;
  pl::column_index time_ = 0;
  std::optional<pl::column_index> when_;

  // Data of the current batch; kept to reuse the memory.
  std::int64_t latest_ = 0;  // later times come from a wrong clock
  std::vector<stream_state*> origins_;
  std::vector<const pl::cell*> by_cells_;
  std::array<identity, rows_per_step> ids_{};
  std::array<stream_state*, rows_per_step> owners_{};  // null: the row has no identity
  std::vector<std::uint32_t> unique_, duplicates_;
  std::uint64_t nulls_ = 0, positionless_ = 0;

  pl::counter dropped_, no_value_, no_position_, early_;
  pl::gauge remembered_, bytes_;
  bool warned_ = false, warned_of_memory_ = false;
};

}  // namespace deduplicate
