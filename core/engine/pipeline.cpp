// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline.hpp"

#include "telemetry/engine_metrics.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pl::engine {

using namespace std::chrono_literals;

namespace {

constexpr std::string_view dead_letters_name = "dead_letters";

// What is used where the configuration names no sink for them.
config::node default_dead_letters() {
  config::node n;
  n.role = config::role::sink;
  n.name = dead_letters_name;
  n.plugin = "file_sink";
  n.options.type = config::value::kind::map;
  const auto text = [](std::string key, std::string value) {
    config::value v;
    v.type = config::value::kind::scalar;
    v.key = std::move(key);
    v.text = std::move(value);
    v.quoted = true;
    return v;
  };
  n.options.children.push_back(text("path", "dead-letters/{pipeline}.ndjson"));
  config::value unique;
  unique.type = config::value::kind::list;
  unique.key = "unique_by";
  for (const auto* column : {"stream", "position", "node"}) unique.children.push_back(text({}, column));
  n.options.children.push_back(std::move(unique));
  return n;
}

std::uint64_t instances_of(const config::node& n) { return n.role == config::role::source ? n.lanes : n.writers; }

}  // namespace

// -------------------------------------------------------------------------------------------------------- building ---

pipeline::pipeline(config::pipeline settings, services common, std::shared_ptr<pipeline_memory> memory)
    : settings_(std::move(settings)),
      common_(common),
      memory_(std::move(memory)),
      office_(common, memory_->pool, settings_.name) {
  namespace em = telemetry::engine_metrics;
  memory_bytes_ = common_.metrics.get(em::memory_bytes, settings_.name);
  memory_limit_bytes_ = common_.metrics.get(em::memory_limit_bytes, settings_.name);
  memory_limit_bytes_.set(static_cast<double>(settings_.memory_limit));
  memory_collector_ = common_.metrics.before_render(
      [gauge = memory_bytes_, memory = memory_] { gauge.set(static_cast<double>(memory->budget.used())); });
}

pipeline::~pipeline() {
  for (auto& sink : sink_nodes_) sink->abandon();
  for (auto& l : lanes_) l.unit->stop(), l.unit->abandon();
  join();
  // Lanes' graphs hold sinks, whose queues hold batches, which report to lanes.
  for (auto& l : lanes_) (void)l.unit->exchange_graph({}, *this);
  dead_letters_.reset();
  sink_nodes_.clear();
}

std::unique_ptr<pipeline> pipeline::build(const config::pipeline& settings, services common, loader::registry& plugins,
                                          config::diagnostics& problems, const pipeline* previous) {
  auto memory = previous != nullptr ? previous->memory_ : std::make_shared<pipeline_memory>(settings.memory_limit / 2);
  std::unique_ptr<pipeline> p(new pipeline(settings, common, std::move(memory)));
  const bool bound = p->bind(plugins, problems);
  const bool created = bound && p->create(problems);
  return created ? std::move(p) : nullptr;
}

bool pipeline::bind(loader::registry& plugins, config::diagnostics& problems) {
  std::vector<const pl_component*> components;
  auto nodes = settings_.nodes();
  const auto fallback = default_dead_letters();
  if (!settings_.dead_letters) nodes.push_back(&fallback);
  for (const auto* n : nodes)
    if (const auto* found = plugins.find(n->plugin);
        found != nullptr && config::find_component(components, n->plugin) == nullptr)
      components.push_back(found->component);
  // Names to suggest: all there are.
  if (std::any_of(nodes.begin(), nodes.end(),
                  [&](auto* n) { return config::find_component(components, n->plugin) == nullptr; }))
    for (const auto& [name, c] : plugins.all())
      if (config::find_component(components, name) == nullptr) components.push_back(c.component);
  const auto before = problems.errors();
  config::check_components(settings_, components, problems);

  const auto bind_one = [&](const config::node& n) {
    node bound{n, config::find_component(components, n.plugin), nullptr};
    if (bound.component != nullptr)
      bound.options = std::make_shared<const config::bound_options>(config::bind(n, *bound.component, problems));
    return bound;
  };
  for (const auto& n : settings_.sources) sources_.push_back(bind_one(n));
  for (const auto* n : settings_.transforms_in_order()) transforms_.push_back(bind_one(*n));
  for (const auto& n : settings_.sinks) sinks_.push_back(bind_one(n));
  sinks_.push_back(bind_one(settings_.dead_letters ? *settings_.dead_letters : fallback));
  if (sinks_.back().component == nullptr && !settings_.dead_letters)
    problems.error(settings_.where,
                   "no dead_letters sink is configured, and the plugin file_sink for the default one isn't there",
                   "add dead_letters: {plugin: ...}, or install file_sink.so");
  if (problems.errors() == before) check_delivery(problems);
  return problems.errors() == before;
}

bool pipeline::exactly_once(const node& sink) const {
  return sink.settings.name != dead_letters_name &&
         sink.settings.delivery.value_or(settings_.delivery) == config::delivery::exactly_once;
}

// Whether the pipeline can keep what `delivery` asks for; if not, which node is why.
void pipeline::check_delivery(config::diagnostics& problems) const {
  bool any = false;
  for (const auto& n : sinks_) {
    if (!exactly_once(n)) continue;
    any = true;
    if ((n.component->caps & PL_TRANSACTIONAL) == 0)
      problems.error(n.settings.where,
                     fmt::format("'{}' can't deliver exactly once: {} keeps no positions in its transactions",
                                 n.settings.name, n.settings.plugin),
                     "write 'delivery: at_least_once' on this sink if it may repeat records after a crash");
    check_upstream(n, problems);
  }
  if (!any && settings_.delivery == config::delivery::exactly_once)
    problems.error(settings_.where, "delivery: exactly_once, but every sink is at_least_once",
                   "leave 'delivery' out on the sink that is to be exact, or out of the pipeline");
}

void pipeline::check_upstream(const node& sink, config::diagnostics& problems) const {
  std::vector<const node*> above{&sink};
  for (std::size_t i = 0; i < above.size(); ++i)
    for (const auto& in : above[i]->settings.from)
      if (const auto* n = find(in.node); n != nullptr && std::ranges::count(above, n) == 0) above.push_back(n);
  for (const auto* n : above) {
    const auto caps = n->component->caps;
    if (n->settings.role == config::role::source && (caps & PL_REPLAYABLE) == 0)
      problems.error(n->settings.where,
                     fmt::format("'{}' can't deliver exactly once: its source {} can't be read again from a position",
                                 sink.settings.name, n->settings.plugin),
                     "write 'delivery: at_least_once' on the sink");
    if (n->settings.role == config::role::transform && (caps & PL_DETERMINISTIC) == 0)
      problems.error(n->settings.where,
                     fmt::format("'{}' can't deliver exactly once: {} may answer the same records differently when "
                                 "they are read again",
                                 sink.settings.name, n->settings.plugin),
                     "write 'delivery: at_least_once' on the sink");
  }
}

bool pipeline::create(config::diagnostics& problems) {
  const auto before = problems.errors();
  make_sinks(problems);
  make_lanes(problems);
  if (problems.errors() == before) check_columns(problems);
  return problems.errors() == before;
}

// A quarter of the limit for the sources' own buffers, a sixteenth for each sink's: the rest is the records'.
std::uint64_t pipeline::memory_share(const node& n) const {
  if (n.settings.role == config::role::source)
    return settings_.memory_limit / 4 / std::max<std::size_t>(1, sources_.size()) / n.settings.lanes;
  return settings_.memory_limit / 16 / instances_of(n.settings);
}

std::unique_ptr<instance> pipeline::make(const node& n, std::uint32_t index, std::uint32_t of,
                                         config::diagnostics& problems, bool keeps_state) {
  auto unit = std::make_unique<instance>(
      *n.component, n.options, common_, memory_->pool,
      instance::place{settings_.name, n.settings.name, settings_.state_dir, index, of, memory_share(n), keeps_state});
  const auto created = unit->create();
  if (created.ok()) return unit;
  if (created.why.empty()) problems.error(n.settings.where, created.text());
  for (const auto& s : created.why)
    problems.error(s.option.empty() ? n.settings.where : n.options->position_of(s.option), s.detail);
  return nullptr;
}

void pipeline::make_sinks(config::diagnostics& problems) {
  for (const auto& n : sinks_) {
    std::vector<std::unique_ptr<instance>> writers;
    for (std::uint32_t i = 0; i < n.settings.writers; ++i) {
      auto unit = make(n, i, n.settings.writers, problems);
      if (!unit) break;  // the others would say the same
      writers.push_back(std::move(unit));
    }
    if (writers.size() != n.settings.writers) continue;
    sink_nodes_.push_back(std::make_shared<sink_node>(n.settings, std::move(writers), common_, memory_->pool));
    sink_nodes_.back()->report_to(*this);
  }
  dead_letters_ = find_sink(dead_letters_name);
}

void pipeline::make_lanes(config::diagnostics& problems) {
  for (const auto& n : transforms_)
    meters_[n.settings.name] = std::make_shared<node_meters>(common_.metrics, settings_.name, n.settings.name);
  for (const auto& n : sources_) {
    const auto& meters = meters_[n.settings.name] =
        std::make_shared<node_meters>(common_.metrics, settings_.name, n.settings.name);
    meters->in_flight_batches =
        common_.metrics.get(telemetry::engine_metrics::in_flight_batches, settings_.name, n.settings.name);
    for (std::uint32_t i = 0; i < n.settings.lanes; ++i) {
      auto unit = make(n, i, n.settings.lanes, problems);
      auto graph = make_graph(n, i, n.settings.lanes, problems);
      if (!unit) break;
      lanes_.push_back({n.settings.name,
                        std::make_unique<engine::lane>(std::move(unit), std::move(graph), meters, memory_->budget)});
    }
  }
}

// Everything that a source reaches. A transform that two sources reach has an instance in the lanes of both.
lane_graph pipeline::make_graph(const node& source, std::uint32_t index, std::uint32_t of,
                                config::diagnostics& problems) {
  lane_graph graph;
  const bool replayable = (source.component->caps & PL_REPLAYABLE) != 0;  // else what is remembered has no place
  std::vector<std::string> reached{source.settings.name};
  std::vector<const node*> units;
  for (const auto& n : transforms_) {
    const auto& from = n.settings.from;
    const bool reads = std::any_of(from.begin(), from.end(), [&](const auto& in) {
      return std::find(reached.begin(), reached.end(), in.node) != reached.end();
    });
    if (!reads) continue;
    reached.push_back(n.settings.name);
    auto unit = make(n, index, of, problems, replayable);
    if (!unit) continue;
    auto slot = std::make_unique<transform_slot>();
    slot->unit = std::move(unit);
    slot->meters = meters_[n.settings.name];
    slot->retry = n.settings.retry;
    graph.slots.push_back(std::move(slot));
    units.push_back(&n);
  }
  graph.source = readers(source, 0, graph.slots);
  for (std::size_t i = 0; i < units.size(); ++i)
    for (std::uint32_t port = 0; port < std::max(1U, units[i]->component->nports); ++port)
      graph.slots[i]->ports.push_back(readers(*units[i], port, graph.slots));
  graph.sinks = sink_nodes_;
  graph.positions = make_ledger(reached, index, of, problems);
  const bool remembers = std::ranges::any_of(graph.slots, [](const auto& slot) { return slot->unit->stateful(); });
  if (graph.positions.empty() && remembers && replayable)
    graph.state =
        std::make_unique<local_state>(std::filesystem::path(settings_.state_dir) / (settings_.name + ".state.db"));
  return graph;
}

// The sinks below these nodes that keep positions.
ledger pipeline::make_ledger(const std::vector<std::string>& reached, std::uint32_t index, std::uint32_t of,
                             config::diagnostics& problems) {
  std::vector<account> accounts;
  for (const auto& n : sinks_) {
    const bool below =
        std::ranges::any_of(n.settings.from, [&](const auto& in) { return std::ranges::count(reached, in.node) != 0; });
    if (!below || !exactly_once(n)) continue;
    auto sink = find_sink(n.settings.name);
    if (auto store = make(n, index, of, problems); store && sink)
      accounts.push_back({std::move(sink), std::move(store)});
  }
  return ledger(std::move(accounts));
}

port_readers pipeline::readers(const node& of, std::uint32_t port,
                               const std::vector<std::unique_ptr<transform_slot>>& slots) const {
  port_readers found;
  const auto reads = [&](const node& n) {
    return std::any_of(n.settings.from.begin(), n.settings.from.end(), [&](const config::input& in) {
      return in.node == of.settings.name && config::port_index(*of.component, in.port) == port;
    });
  };
  for (const auto& n : transforms_)
    if (reads(n))
      for (const auto& slot : slots)
        if (slot->unit->node() == n.settings.name) found.transforms.push_back(slot.get());
  for (const auto& n : sinks_)
    if (reads(n))
      if (auto sink = find_sink(n.settings.name)) found.sinks.push_back(std::move(sink));
  return found;
}

// Column names are checked along the graph, as far as components can say what they emit.
void pipeline::check_columns(config::diagnostics& problems) {
  std::map<std::pair<std::string, std::uint32_t>, const pl_schema*> known;
  const auto ask = [&](const node& n, instance& unit, std::uint32_t ports) {
    const pl_schema* in = nullptr;
    if (n.settings.from.size() == 1) {
      const auto& from = n.settings.from.front();
      const auto* source = find(from.node);
      const auto port = source != nullptr ? config::port_index(*source->component, from.port) : std::nullopt;
      if (port) in = known[{from.node, *port}];
    }
    for (std::uint32_t port = 0; port < ports; ++port) {
      const auto answered = unit.columns(in, port, known[{n.settings.name, port}]);
      for (const auto& s : answered.why)
        if (!answered.ok())
          problems.error(s.option.empty() ? n.settings.where : n.options->position_of(s.option), s.detail);
    }
  };
  for (const auto& n : sources_)
    for (auto& l : lanes_)
      if (l.source == n.settings.name) ask(n, l.unit->source(), std::max(1U, n.component->nports));
  for (const auto& n : transforms_)
    for (auto& l : lanes_)
      for (auto& slot : l.unit->graph().slots)
        if (slot->unit->node() == n.settings.name) ask(n, *slot->unit, std::max(1U, n.component->nports));
  for (const auto& n : sinks_)
    if (!n.settings.from.empty()) ask(n, find_sink(n.settings.name)->first(), 1);
}

void pipeline::check(config::diagnostics& problems) {
  const auto ask = [&](instance& unit) {
    const auto* n = find(unit.node());
    const auto checked = unit.check();
    if (checked.ok()) return;
    if (checked.why.empty()) problems.error(n->settings.where, checked.text());
    for (const auto& s : checked.why)
      problems.error(s.option.empty() ? n->settings.where : n->options->position_of(s.option), s.detail);
  };
  for (const auto& n : sources_) {
    const auto at =
        std::find_if(lanes_.begin(), lanes_.end(), [&](const auto& l) { return l.source == n.settings.name; });
    ask(at->unit->source());
  }
  std::vector<std::string> asked;
  for (auto& l : lanes_)
    for (auto& slot : l.unit->graph().slots)
      if (std::find(asked.begin(), asked.end(), slot->unit->node()) == asked.end()) {
        asked.push_back(slot->unit->node());
        ask(*slot->unit);
      }
  for (auto& sink : sink_nodes_) ask(sink->first());
}

// --------------------------------------------------------------------------------------------------------- running ---

const pipeline::node* pipeline::find(std::string_view name) const {
  for (const auto* list : {&sources_, &transforms_, &sinks_})
    for (const auto& n : *list)
      if (n.settings.name == name) return &n;
  return nullptr;
}

std::shared_ptr<sink_node> pipeline::find_sink(std::string_view name) const {
  for (const auto& s : sink_nodes_)
    if (s->name() == name) return s;
  return nullptr;
}

bool pipeline::replayable() { return lanes_.front().unit->source().replayable(); }

outcome pipeline::windows(pl_bound from, pl_bound until, instance::window_list& out) {
  return lanes_.front().unit->source().windows(from, until, out);
}

outcome pipeline::choose(const instance::window_list& windows) { return lanes_.front().unit->source().choose(windows); }

outcome pipeline::order(const instance::window_list& windows) { return lanes_.front().unit->source().order(windows); }

std::string pipeline::why_not_rewritable(std::string_view sink) {
  const auto answered = find_sink(sink)->first().rewritable();
  return answered.ok() ? std::string() : answered.text();
}

std::uint64_t pipeline::written(std::string_view sink) const {
  const auto found = find_sink(sink);
  return found ? found->meters().out_total() : 0;
}

void pipeline::log_start() const {
  if (!settings_.dead_letters)
    common_.log.warn(settings_.name, {},
                     "no dead_letters sink is configured: rejected records go to dead-letters/{}.ndjson",
                     settings_.name);
}

void pipeline::start() {
  log_start();
  for (auto& sink : sink_nodes_) sink->start();
  for (auto& l : lanes_) l.unit->start(*this);
}

void pipeline::stop() {
  stopping_ = true;
  for (auto& l : lanes_) l.unit->stop();
}

void pipeline::supervise() {
  if (failed_ && !stopping_) stop();
}

bool pipeline::ended() const {
  return std::all_of(lanes_.begin(), lanes_.end(), [](const auto& l) { return l.unit->ended(); });
}

void pipeline::abandon() {
  for (auto& sink : sink_nodes_) sink->abandon();
  for (auto& l : lanes_) l.unit->abandon();
}

void pipeline::join() {
  for (auto& l : lanes_) l.unit->join();
  // The dead letters' sink is the last: the others may still reject.
  for (auto& sink : sink_nodes_)
    if (sink != dead_letters_) sink->finish();
  if (dead_letters_) dead_letters_->finish();
}

std::string pipeline::failure() const {
  std::scoped_lock lock(mutex_);
  return failure_;
}

void pipeline::node_failed(std::string_view name, std::string_view why) {
  common_.log.error(settings_.name, name, "{}", why);
  std::scoped_lock lock(mutex_);
  if (failure_.empty()) failure_ = fmt::format("{}: {}", name, why);
  failed_ = true;
}

void pipeline::rows_rejected(const std::vector<rejection>& rejected, std::string_view by) {
  (void)push_letters(rejected, by, nullptr);
}

bool pipeline::bury_rows(std::vector<rejection> rejected, std::string_view by, const std::function<bool()>& give_up) {
  const auto arrival = std::make_shared<departure>();
  if (!push_letters(rejected, by, arrival)) return false;
  rejected.clear();  // letters are gone when nobody holds what they are made of
  dead_letters_->hurry(true);
  bool arrived = false;
  while (!(arrived = arrival->wait(50ms)) && !give_up() && !failed_) {
  }
  dead_letters_->hurry(false);
  return arrived;
}

// arrival: hears when they are written; may be null.
bool pipeline::push_letters(const std::vector<rejection>& rejected, std::string_view by,
                            const std::shared_ptr<departure>& arrival) {
  if (by == dead_letters_name) {
    for (const auto& r : rejected) r.of->mark_undelivered();
    node_failed(by, fmt::format("the dead letters' sink refuses a record: {}", rejected.front().why));
    return false;
  }
  for (auto& letters : office_.letters(rejected, by)) {
    if (arrival) letters->report_departure(arrival);
    std::vector<batch_ref> one;
    one.push_back(std::move(letters));
    dead_letters_->push(std::move(one));
  }
  return true;
}

telemetry::pipeline_progress pipeline::progress() const {
  telemetry::pipeline_progress now;
  now.pipeline = settings_.name;
  // Alerts are what nodes with an alert plugin emit; stored is what the sinks wrote that don't read from those.
  const auto is_alert = [](const node& n) { return n.settings.plugin.ends_with("_alert"); };
  for (const auto& n : sources_) now.records_in += meters_.find(n.settings.name)->second->out_total();
  for (const auto& n : transforms_) {
    const auto& meters = *meters_.find(n.settings.name)->second;
    now.rejected += meters.rejected_total();
    if (is_alert(n)) now.alerts += meters.out_total();
  }
  for (const auto& n : sinks_) {
    const auto sink = find_sink(n.settings.name);
    if (!sink || n.settings.name == dead_letters_name) continue;
    now.rejected += sink->meters().rejected_total();
    const bool of_alerts = std::all_of(n.settings.from.begin(), n.settings.from.end(), [&](const auto& in) {
      const auto* from = find(in.node);
      return from != nullptr && is_alert(*from);
    });
    if (!of_alerts) now.records_stored += sink->meters().out_total();
  }
  std::uint64_t lag = 0;
  bool known = false;
  for (const auto& l : lanes_) {
    lag += l.unit->lag();
    known = known || l.unit->lag_known();
  }
  if (known) now.lag = lag;
  now.memory_bytes = memory_->budget.used();
  now.uptime = std::chrono::steady_clock::now() - started_at_;
  return now;
}

void pipeline::waiting(std::vector<telemetry::not_ready>& into) const {
  for (const auto& l : lanes_)
    if (auto why = l.unit->waiting_for(); !why.empty()) into.push_back({settings_.name, l.source, std::move(why)});
  for (const auto& s : sink_nodes_)
    if (auto why = s->waiting_for(); !why.empty()) into.push_back({settings_.name, s->name(), std::move(why)});
}

// -------------------------------------------------------------------------------------------------------- reloading ---

bool pipeline::unchanged(const node& n, const pipeline& running) const {
  const auto* old = running.find(n.settings.name);
  return old != nullptr && old->component == n.component && config::equal_settings(old->settings, n.settings) &&
         equal(*old->options, *n.options) && settings_.state_dir == running.settings_.state_dir &&
         settings_.delivery == running.settings_.delivery;
}

bool pipeline::same_as(const pipeline& running) const {
  const auto same_list = [&](const std::vector<node>& mine, const std::vector<node>& theirs) {
    return mine.size() == theirs.size() &&
           std::all_of(mine.begin(), mine.end(), [&](const node& n) { return unchanged(n, running); });
  };
  return same_list(sources_, running.sources_) && same_list(transforms_, running.transforms_) &&
         same_list(sinks_, running.sinks_) && settings_.memory_limit == running.settings_.memory_limit &&
         settings_.shutdown_timeout == running.settings_.shutdown_timeout;
}

bool pipeline::come_to_rest(std::chrono::nanoseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  return std::all_of(lanes_.begin(), lanes_.end(),
                     [&](auto& l) { return l.unit->pause(deadline - std::chrono::steady_clock::now()); });
}

void pipeline::go_on() {
  for (auto& l : lanes_) l.unit->resume();
}

void pipeline::replace(pipeline& running) {
  log_start();
  memory_->budget.set_limit(settings_.memory_limit / 2);
  started_at_ = running.started_at_;
  adopt_sinks(running);
  adopt_lanes(running);
  if (running.dead_letters_ == dead_letters_) running.dead_letters_.reset();  // its end must not be their end
  for (const auto* list : {&running.sources_, &running.transforms_, &running.sinks_})
    for (const auto& n : *list)
      if (find(n.settings.name) == nullptr) common_.metrics.remove(settings_.name, n.settings.name);
}

// Sinks that did not change go on with their connections; they are idle at this moment.
void pipeline::adopt_sinks(pipeline& running) {
  for (auto& mine : sink_nodes_) {
    const auto theirs = running.find_sink(mine->name());
    if (theirs && unchanged(*find(mine->name()), running)) {
      std::erase(running.sink_nodes_, theirs);
      theirs->report_to(*this);
      const bool is_dead_letters = mine == dead_letters_;
      mine = theirs;
      if (is_dead_letters) dead_letters_ = theirs;
    }
  }
  for (auto& sink : running.sink_nodes_)
    sink->finish();  // before their successors start: a file or a client id is one's own
  for (auto& sink : sink_nodes_) sink->start();
}

void pipeline::adopt_lanes(pipeline& running) {
  for (auto& old : running.lanes_)
    if (const auto* n = find(old.source);
        n == nullptr || n->settings.role != config::role::source || !unchanged(*n, running)) {
      old.unit->stop();
      old.unit->join();
    }
  config::diagnostics none;  // these instances were created once already, from the same options
  std::map<std::string, std::uint32_t> index;
  for (auto& mine : lanes_) {
    const auto& source = *find(mine.source);
    const auto i = index[mine.source]++;
    auto graph = make_graph(source, i, source.settings.lanes, none);
    const auto old = std::find_if(running.lanes_.begin(), running.lanes_.end(),
                                  [&](const auto& l) { return l.unit && l.source == mine.source; });
    if (old == running.lanes_.end() || !unchanged(source, running)) {
      (void)mine.unit->exchange_graph(std::move(graph), *this);
      mine.unit->start(*this);
      continue;
    }
    keep_instances(graph, old->unit->graph(), running);
    const auto before = old->unit->exchange_graph(std::move(graph), *this);
    for (const auto& slot : before.slots)
      if (slot->started && slot->unit.use_count() == 1) (void)slot->unit->stop();
    mine.unit = std::move(old->unit);
    mine.unit->resume();
  }
  std::erase_if(running.lanes_, [](const auto& l) { return l.unit == nullptr; });
}

// Transforms that did not change keep their instance, and with it what they remember.
void pipeline::keep_instances(lane_graph& fresh, lane_graph& old, const pipeline& running) {
  for (auto& slot : fresh.slots) {
    if (!unchanged(*find(slot->unit->node()), running)) continue;
    for (auto& theirs : old.slots)
      if (theirs->unit->node() == slot->unit->node()) {
        slot->unit = theirs->unit;
        slot->started = theirs->started;
      }
  }
}

}  // namespace pl::engine
