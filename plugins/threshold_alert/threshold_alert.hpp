// SPDX-License-Identifier: Apache-2.0
// The component: options in, records through the evaluator, alerts out.
#pragma once

#include "alert_writer.hpp"
#include "evaluator.hpp"
#include "memory.hpp"
#include "options.hpp"
#include "rule_compiler.hpp"

#include <pipeline/component.hpp>

#include <array>
#include <set>
#include <string>
#include <vector>

namespace threshold_alert {

class threshold_alert final : public pl::transform, public pl::columns_aware, public pl::stateful {
 public:
  using options = ::threshold_alert::options;

  static pl::description describe();
  threshold_alert(const options& given, pl::context ctx);

  pl::result<void> start() override;
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;
  pl::result<void> tick(pl::timestamp now, pl::emitter& out) override;
  void drop(std::string_view stream) override { evaluator_.drop(stream); }
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) override;
  pl::result<void> restore(std::string_view stream, std::string_view key, std::string_view value) override;
  pl::result<void> restored(std::string_view stream, bool moved) override { return memory_.restored(stream, moved); }
  pl::result<void> snapshot(std::string_view stream) override;

 private:
  enum port : std::uint32_t { published, recorded };
  struct rule_meters {
    std::array<pl::counter, event_kinds> events;
    pl::gauge open;
  };

  [[nodiscard]] rule_set compiled(const options& given) const;
  pl::result<void> bind(const pl_schema& schema);
  void publish(std::optional<pl::batch_view> parent, pl::emitter& out);
  void emit(const std::vector<std::uint32_t>& events, port to, std::optional<pl::batch_view> parent, pl::emitter& out);
  void count(const event& e);
  void report_counts();
  void warn_rarely(std::string_view what, std::uint64_t n, std::string_view fix);

  pl::context ctx_;
  rule_set rules_;
  evaluator evaluator_;
  memory memory_;
  alert_writer writer_;

  const pl_schema* bound_ = nullptr;
  column_places places_;
  std::set<const pl_schema*> warned_schemas_;
  std::vector<std::uint32_t> to_publish_, to_record_;

  std::vector<rule_meters> meters_;
  pl::counter too_old_, late_, ahead_, no_time_, no_key_, null_values_, unfit_values_;
  pl::gauge keys_, bytes_;
  pl::timestamp next_warning_{};
};

}  // namespace threshold_alert
