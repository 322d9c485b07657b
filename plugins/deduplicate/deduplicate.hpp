// SPDX-License-Identifier: Apache-2.0
// The component: drops records that were there before, as far back as its window reaches.
#pragma once

#include "window.hpp"

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

// One instance a lane. What is remembered belongs to streams, and is kept with the sink's positions.
class deduplicate final : public pl::transform, public pl::columns_aware, public pl::stateful {
 public:
  using options = ::deduplicate::options;

  static pl::description describe();
  deduplicate(options given, pl::context ctx);

  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;
  void drop(std::string_view stream) override;
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) override;
  pl::result<void> restore(std::string_view stream, std::string_view key, std::string_view value) override;
  pl::result<void> restored(std::string_view stream, bool moved) override;
  pl::result<void> snapshot(std::string_view stream) override;

 private:
  enum outputs : std::uint32_t { unique, duplicates };
  static constexpr std::uint32_t at_once = 128;  // rows whose places are fetched into the cache together

  struct memory {
    memory(const identity& key, limits most) : hash_key(key), seen(most) {}
    identity hash_key;
    bool key_kept = false;
    bool comes_again = false;  // put back just now: the next range says from where on the records come again
    window seen;
  };
  using kept_state = std::map<std::string, std::string, std::less<>>;

  pl::result<void> bind(const pl_schema& schema);
  [[nodiscard]] const pl_schema* without_omitted(const pl_schema& in) const;
  [[nodiscard]] memory& memory_of(std::string_view stream);
  void enter(pl::batch_view in);
  void run(pl::batch_view in);
  void run_some(pl::batch_view in, std::uint32_t from, std::uint32_t to);
  [[nodiscard]] bool identify(pl::row_index row, const memory& of, identity& made);
  void emit_unique(pl::batch_view in, pl::emitter& out) const;
  void emit_duplicates(pl::batch_view in, pl::emitter& out) const;
  void report();
  void warn_of_short_window(const window& cut);
  [[nodiscard]] std::unique_ptr<memory> recall(std::string_view stream, const kept_state& kept) const;

  options options_;
  pl::context ctx_;
  std::map<std::string, std::unique_ptr<memory>, std::less<>> streams_;
  std::map<std::string, kept_state, std::less<>> restoring_;

  // Of the schema in hand.
  const pl_schema* bound_ = nullptr;
  const pl_schema* narrowed_ = nullptr;
  std::vector<pl::column_index> by_, stay_;
  pl::column_index time_ = 0;
  std::optional<pl::column_index> when_;

  // Of the batch in hand; kept for their memory.
  std::int64_t latest_ = 0;  // times beyond are a wrong clock's
  std::vector<memory*> origins_;
  std::vector<const pl::cell*> by_cells_;
  std::array<identity, at_once> ids_{};
  std::array<memory*, at_once> owners_{};  // null: it has no identity
  std::vector<std::uint32_t> first_, again_;
  std::uint64_t nulls_ = 0, placeless_ = 0;

  pl::counter dropped_, no_value_, no_position_, early_;
  pl::gauge remembered_, bytes_;
  bool warned_ = false;
};

}  // namespace deduplicate
