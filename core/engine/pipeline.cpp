// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.hpp"

#include "telemetry/engine_metrics.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

namespace pl::engine {

// -------------------------------------------------------------------------------------------------------- building ---

pipeline::pipeline(bound_pipeline bound, services common, std::shared_ptr<pipeline_memory> memory)
    : bound_(std::move(bound)),
      common_(common),
      memory_(std::move(memory)),
      builder_(bound_, common_, *memory_, sinks_, meters_),
      dead_letters_(common_, memory_->pool, bound_.settings.name,
                    local_letters_file(bound_.settings.state_dir, bound_.settings.name), *this) {
  namespace em = telemetry::engine_metrics;
  const auto& name = bound_.settings.name;
  common_.metrics.get(em::memory_limit_bytes, name).set(static_cast<double>(bound_.settings.memory_limit));
  memory_collector_ =
      common_.metrics.before_render([gauge = common_.metrics.get(em::memory_bytes, name), memory = memory_] {
        gauge.set(static_cast<double>(memory->budget.used()));
      });
}

pipeline::~pipeline() {
  for (auto& sink : sinks_) sink->abandon();
  for (auto& l : lanes_) l.unit->stop(), l.unit->abandon();
  join();
  // Break a cycle: lanes' graphs hold sinks, the sinks' queues hold batches, and batches report to lanes.
  for (auto& l : lanes_) (void)l.unit->exchange_graph({}, *this);
  dead_letters_.write_to(nullptr);
  sinks_.clear();
}

std::unique_ptr<pipeline> pipeline::build(const config::pipeline& settings, services common, loader::registry& plugins,
                                          config::diagnostics& problems, const pipeline* previous) {
  const auto before = problems.errors();
  auto bound = bind(settings, plugins, problems);
  if (problems.errors() != before) return nullptr;
  auto memory = previous != nullptr ? previous->memory_ : std::make_shared<pipeline_memory>(settings.memory_limit / 2);
  std::unique_ptr<pipeline> p(new pipeline(std::move(bound), common, std::move(memory)));
  if (previous == nullptr) p->limit_calls();
  return p->create(problems, previous) ? std::move(p) : nullptr;
}

bool pipeline::create(config::diagnostics& problems, const pipeline* previous) {
  const auto before = problems.errors();
  bool complete = true;
  meters_ = builder_.make_meters(previous != nullptr ? previous->meters_ : meters_by_node());
  for (const auto& n : bound_.sinks)
    if (auto sink = builder_.make_sink(n, problems)) {
      sink->report_to(*this);
      sinks_.push_back(std::move(sink));
    } else {
      complete = false;
    }
  dead_letters_.write_to(find_sink(sinks_, dead_letters_node));
  if (const auto* letters = bound_.find(dead_letters_node)) dead_letters_.limit(letters->settings.collapse);
  for (const auto& n : bound_.sources)
    for (std::uint32_t i = 0; i < n.settings.lanes; ++i) {
      auto unit = builder_.make_lane(n, i, problems);
      complete = complete && unit;
      if (!unit) break;
      lanes_.push_back({n.settings.name, std::move(unit)});
    }
  complete = complete && problems.errors() == before;
  if (complete) check_ports(bound_, instances(), problems);
  if (complete && problems.errors() == before) check_columns(instances(), dead_letters_.columns(), problems);
  return complete && problems.errors() == before;
}

std::vector<node_instance> pipeline::instances() {
  std::vector<node_instance> all;
  for (const auto& n : bound_.sources)
    for (auto& l : lanes_)
      if (l.source == n.settings.name) all.push_back({&n, &l.unit->source()});
  for (const auto& n : bound_.transforms)
    for (auto& l : lanes_)
      for (auto& slot : l.unit->graph().slots)
        if (slot->unit->node() == n.settings.name) all.push_back({&n, slot->unit.get()});
  for (const auto& n : bound_.sinks)
    for (auto* unit : find_sink(sinks_, n.settings.name)->instances()) all.push_back({&n, unit});
  return all;
}

void pipeline::check(config::diagnostics& problems) { check_servers(instances(), problems); }

std::vector<exclusive_use> pipeline::exclusive_uses() {
  std::vector<exclusive_use> all;
  const auto add = [&](const bound_node& n, instance& unit) {
    for (auto& use : engine::exclusive_uses(n, settings().name, unit)) all.push_back(std::move(use));
  };
  for (const auto& n : bound_.sources)
    for (auto& l : lanes_)
      if (l.source == n.settings.name) add(n, l.unit->source());
  for (const auto& n : bound_.sinks)
    for (auto* unit : find_sink(sinks_, n.settings.name)->instances()) add(n, *unit);
  return all;
}

void pipeline::limit_calls() const {
  if (common_.calls != nullptr) common_.calls->set_limit(settings().name, settings().slow_call);
}

// -------------------------------------------------------------------------------------------------- adopted streams ---

lane_graph& pipeline::graph_of(std::string_view source) {
  return std::ranges::find(lanes_, source, &running_lane::source)->unit->graph();
}

result<std::vector<pl_position>> pipeline::positions(std::string_view reader, std::string_view of,
                                                     std::string_view stream) {
  return graph_of(reader).stores.positions(of, stream);
}

result<void> pipeline::adopt_positions(std::string_view reader, std::string_view stream,
                                       const std::vector<pl_position>& from) {
  return graph_of(reader).stores.adopt(reader, stream, from);
}

result<std::vector<state_change>> pipeline::stored_state(std::string_view reader, std::string_view of,
                                                         std::string_view stream) {
  auto& graph = graph_of(reader);
  std::vector<state_change> all;
  const auto add = [&](std::string_view node, std::string_view key, std::string_view value) -> result<void> {
    all.push_back({std::string(node), std::string(stream), std::string(key), std::string(value), false});
    return {};
  };
  result<void> loaded;
  for (std::size_t i = 0; i < graph.stores.size() && loaded.ok(); ++i) loaded = graph.stores.load(of, stream, i, add);
  if (graph.stores.empty() && graph.state && graph.state->exists()) loaded = graph.state->load(of, stream, add);
  if (!loaded.ok()) return loaded.why();
  return all;
}

result<bool> pipeline::adopt_state(std::string_view reader, const std::vector<state_change>& from) {
  auto& graph = graph_of(reader);
  if (!graph.stores.empty() || !graph.state) return false;
  if (auto written = graph.state->write(reader, from); !written.ok()) return written.why();
  return true;
}

result<void> pipeline::delete_state(std::string_view reader, std::string_view of, std::vector<state_change> state) {
  auto& graph = graph_of(reader);
  if (!graph.stores.empty() || !graph.state) return {};
  for (auto& c : state) c.erase = true;
  return graph.state->write(of, state);
}

// --------------------------------------------------------------------------------------------------------- replays ---

bool pipeline::replayable() { return lanes_.front().unit->source().replayable(); }

result<instance::window_list> pipeline::windows(pl_bound from, pl_bound until) {
  return lanes_.front().unit->source().windows(from, until);
}

result<void> pipeline::select(const instance::window_list& windows) {
  return lanes_.front().unit->source().select(windows);
}

result<void> pipeline::reset_offsets(const instance::window_list& windows) {
  return lanes_.front().unit->source().reset_offsets(windows);
}

std::string pipeline::why_not_rewritable(std::string_view sink) {
  const auto rewritable = find_sink(sinks_, sink)->first().rewritable();
  return rewritable.ok() ? std::string() : rewritable.why().message;
}

// ------------------------------------------------------------------------------------------------ starting, ending ---

void pipeline::warn_of_default_dead_letters() const {
  if (!bound_.default_dead_letters.empty())
    common_.log.warn(settings().name, {}, "no dead_letters sink is configured: rejected records go to {}",
                     bound_.default_dead_letters);
}

// What a killed host left of its queues on disk is of no use: those records are not settled, and are read again.
void pipeline::remove_old_queues() const {
  const auto removed = remove_old_segments(settings().state_dir);
  if (removed.files != 0)
    common_.log.info(settings().name, {},
                     "removed {} ({}) of queues on disk that an earlier run left in {}; their "
                     "records are read again",
                     removed.files == 1 ? "1 file" : fmt::format("{} files", removed.files),
                     telemetry::format_bytes(removed.bytes), settings().state_dir);
}

void pipeline::start() {
  warn_of_default_dead_letters();
  remove_old_queues();
  for (auto& sink : sinks_) sink->start();
  for (auto& l : lanes_) l.unit->start(*this);
}

void pipeline::stop() {
  stopping_ = true;
  for (auto& l : lanes_) l.unit->stop();
}

void pipeline::supervise() {
  dead_letters_.report();
  if (failed_ && !stopping_) stop();
}

bool pipeline::ended() const {
  return std::all_of(lanes_.begin(), lanes_.end(), [](const auto& l) { return l.unit->ended(); });
}

void pipeline::abandon() {
  for (auto& sink : sinks_) sink->abandon();
  for (auto& l : lanes_) l.unit->abandon();
}

void pipeline::join() {
  for (auto& l : lanes_) l.unit->join();
  // The dead-letter sink ends last: the others may still reject rows.
  for (auto& sink : sinks_)
    if (sink != dead_letters_.sink()) sink->finish();
  if (dead_letters_.sink()) dead_letters_.sink()->finish();
}

// --------------------------------------------------------------------------------------------- from lanes, writers ---

void pipeline::node_failed(std::string_view name, std::string_view why) {
  common_.log.error(settings().name, name, "{}", why);
  std::scoped_lock lock(mutex_);
  if (failure_.empty()) failure_ = fmt::format("{}: {}", name, why);
  failed_ = true;
}

refused_at pipeline::role_of(std::string_view node) const {
  const auto* found = bound_.find(node);
  return found != nullptr && found->settings.role == config::role::sink ? refused_at::sink : refused_at::transform;
}

void pipeline::rows_rejected(const std::vector<rejection>& rejected, std::string_view node) {
  (void)dead_letters_.write(rejected, node, role_of(node));
}

std::unique_ptr<pending_dead_letters> pipeline::rows_rejected_urgently(std::vector<rejection> rejected,
                                                                       std::string_view node) {
  return dead_letters_.write_urgently(std::move(rejected), node, role_of(node));
}

bool pipeline::dead_letters_full() const {
  const auto& sink = dead_letters_.sink();
  return sink != nullptr && sink->full();
}

// -------------------------------------------------------------------------------------------------------- watching ---

std::string pipeline::failure() const {
  std::scoped_lock lock(mutex_);
  return failure_;
}

std::uint64_t pipeline::written(std::string_view sink) const {
  const auto found = find_sink(sinks_, sink);
  return found ? found->meters().out_total() : 0;
}

bool pipeline::stores_alerts_only(const bound_node& sink) const {
  return std::ranges::all_of(sink.settings.from, [&](const auto& in) {
    const auto* from = bound_.find(in.node);
    return from != nullptr && from->has(PL_ALERTS);
  });
}

telemetry::pipeline_progress pipeline::progress() const {
  telemetry::pipeline_progress now;
  now.pipeline = settings().name;
  for (const auto& n : bound_.sources) now.records_in += meters_.find(n.settings.name)->second->out_total();
  for (const auto& n : bound_.transforms) {
    const auto& meters = *meters_.find(n.settings.name)->second;
    now.rejected += meters.rejected_total();
    if (n.has(PL_ALERTS)) now.alerts += meters.out_total();
  }
  for (const auto& n : bound_.sinks) {
    const auto sink = find_sink(sinks_, n.settings.name);
    if (!sink || n.settings.name == dead_letters_node) continue;
    now.rejected += sink->meters().rejected_total();
    now.dropped += sink->meters().dropped_total();
    if (!stores_alerts_only(n)) now.records_stored += sink->meters().out_total();
  }
  std::uint64_t lag = 0;
  bool known = false;
  for (const auto& l : lanes_) {
    lag += l.unit->lag();
    known = known || l.unit->lag_known();
  }
  if (known) now.lag = lag;
  now.memory_bytes = memory_->budget.used();
  for (const auto& sink : sinks_) now.disk_bytes += sink->disk_bytes();
  now.uptime = std::chrono::steady_clock::now() - started_at_;
  return now;
}

void pipeline::waiting(std::vector<telemetry::not_ready>& into) const {
  for (const auto& l : lanes_)
    for (auto& r : l.unit->not_ready()) into.push_back({settings().name, std::move(r.node), std::move(r.why)});
  for (const auto& s : sinks_)
    if (auto why = s->waiting_for(); !why.empty()) into.push_back({settings().name, s->name(), std::move(why)});
}

void pipeline::degraded(std::vector<telemetry::not_ready>& into) const {
  for (const auto& s : sinks_)
    if (auto why = s->degraded(); !why.empty()) into.push_back({settings().name, s->name(), std::move(why)});
}

void pipeline::not_accepting(std::vector<telemetry::not_ready>& into) const {
  for (const auto& l : lanes_)
    if (auto why = l.unit->not_accepting(); !why.empty()) into.push_back({settings().name, l.source, std::move(why)});
}

}  // namespace pl::engine
