// SPDX-License-Identifier: Apache-2.0
// The component: it compiles the options, passes records to the evaluator and emits alerts.
#pragma once

#include "alert_writer.hpp"
#include "evaluator.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "rule_compiler.hpp"

#include <pipeline/clock.hpp>
#include <pipeline/component.hpp>

#include <cel_common/expression_option.hpp>

#include <array>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace threshold_alert {

class threshold_alert final : public pl::transform,
                              public pl::columns_aware,
                              public pl::column_user,
                              public pl::stateful,
                              public pl::alerting {
 public:
  using options = ::threshold_alert::options;

  static pl::description describe();
  threshold_alert(const options& given, pl::context ctx);

  pl::result<void> start() override;
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;
  pl::result<void> tick(pl::timestamp now, pl::emitter& out) override;
  void revoked(std::string_view stream) override;
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) override;
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t of) override;
  [[nodiscard]] pl::column_use used_columns() const override;
  pl::result<void> restore(std::string_view stream, std::string_view key, std::string_view value) override;
  void restored_delivered(std::string_view stream) override { memory_.restored_delivered(stream); }
  pl::result<void> restored(std::string_view stream, bool offset_reset) override;
  pl::result<void> snapshot(std::string_view stream) override;
  pl::result<void> open_alerts(const alert_entry& each) override;

 private:
  enum port : std::uint32_t { published, recorded };
  struct rule_meters {
    std::array<pl::counter, event_kinds> events;
    pl::gauge open;
  };

  [[nodiscard]] rule_set compiled(const options& given) const;
  void make_expressions();
  void compute(pl::batch_view in);
  void check_expressions(const pl::column_set& in, std::vector<pl::failure>& wrong);
  rule_meters& meters_of(const std::string& rule);
  pl::result<void> bind(const pl_schema& schema);
  void take(std::span<const event> events, std::optional<pl::batch_view> parent, pl::emitter& out);
  void store_published(std::span<const event> events, std::optional<pl::batch_view> parent);
  void emit(std::span<const event* const> events, port to, std::optional<pl::batch_view> parent, pl::emitter& out);
  void repeat_in_flight(pl::emitter& out);
  void repeat_before(std::span<const event> events, pl::batch_view parent, pl::emitter& out);
  void count(const event& e);
  void report_counts();
  void report_open_alerts();
  void warn_of_eviction(std::uint64_t n);
  void warn_rarely(std::string_view what, std::uint64_t n, std::string_view fix);

  pl::context ctx_;
  pl::wall_clock clock_;
  rule_set rules_;
  std::vector<pl::cel::expression_option> expressions_;  // of the rules
  evaluator evaluator_;
  memory memory_;
  alert_writer writer_;

  const pl_schema* bound_ = nullptr;
  column_places places_;
  std::set<const pl_schema*> warned_schemas_;
  std::vector<std::vector<pl::cell>> computed_;  // one for each expression, for the current batch
  std::vector<pl::row_index> failed_;
  std::vector<const event*> to_publish_, to_record_;  // of the current call; kept to reuse their memory

  std::map<std::string, rule_meters, std::less<>> meters_;  // by name of rule
  pl::counter too_old_, late_, ahead_, no_time_, no_key_, no_room_, evicted_, null_values_, unfit_values_, copies_,
      no_limits_, failed_conditions_;
  pl::gauge keys_, bytes_;
  pl::timestamp next_warning_{}, next_eviction_warning_{};
};

}  // namespace threshold_alert
