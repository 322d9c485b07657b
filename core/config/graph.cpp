// SPDX-License-Identifier: Apache-2.0
#include "config/graph.hpp"

#include "config/binder.hpp"
#include "config/host_options.hpp"
#include "config/option_table.hpp"
#include "config/sink_policies.hpp"
#include "config/text.hpp"

#include <pipeline/host_port.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace pl::config {

namespace {

constexpr std::string_view name_letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

// Typed access to bound host options. A null cell stands for an option with an error, which keeps its default.
class settings_reader {
 public:
  settings_reader(const pl_cell* cells, std::span<const pl_option> table) : cells_(cells), table_(table) {}

  void get(std::string_view key, std::string& to) const {
    if (const auto* c = find(key)) to = text(*c);
  }
  void get(std::string_view key, std::uint32_t& to) const {
    if (const auto* c = find(key)) to = static_cast<std::uint32_t>(c->as.i);
  }
  void get(std::string_view key, std::uint64_t& to) const {
    if (const auto* c = find(key)) to = static_cast<std::uint64_t>(c->as.i);
  }
  void get(std::string_view key, std::chrono::nanoseconds& to) const {
    if (const auto* c = find(key)) to = std::chrono::nanoseconds(c->as.i);
  }
  void get(std::string_view key, std::optional<std::chrono::nanoseconds>& to) const {
    if (const auto* c = find(key)) to = std::chrono::nanoseconds(c->as.i);
  }
  void get(std::string_view key, double& to) const {
    if (const auto* c = find(key)) to = c->as.f;
  }
  [[nodiscard]] settings_reader object(std::string_view key) const {
    const auto* c = find(key);
    const auto* option = find_option(key);
    return c == nullptr ? settings_reader(nullptr, {})
                        : settings_reader(c->as.items, {option->fields, option->nfields});
  }
  [[nodiscard]] std::vector<std::string> list(std::string_view key) const {
    std::vector<std::string> items;
    const auto* c = find(key);
    for (std::uint32_t i = 0; c != nullptr && i < c->len; ++i) items.push_back(text(c->as.items[i]));
    return items;
  }

 private:
  static std::string text(const pl_cell& c) { return c.kind == PL_TEXT ? std::string(c.as.p, c.len) : std::string(); }

  [[nodiscard]] const pl_option* find_option(std::string_view key) const {
    const auto found =
        std::find_if(table_.begin(), table_.end(), [&](const pl_option& o) { return view(o.key) == key; });
    return found == table_.end() ? nullptr : &*found;
  }
  [[nodiscard]] const pl_cell* find(std::string_view key) const {
    const auto* option = find_option(key);
    if (option == nullptr) return nullptr;
    const auto* cell = cells_ + (option - table_.data());
    return cell->kind == PL_NULL ? nullptr : cell;
  }

  const pl_cell* cells_;
  std::span<const pl_option> table_;
};

class pipeline_builder {
 public:
  pipeline_builder(const value& document, diagnostics& problems) : document_(document), problems_(problems) {}

  pipeline build() {
    read_settings();
    read_nodes("sources", role::source, p_.sources);
    read_nodes("transforms", role::transform, p_.transforms);
    read_nodes("sinks", role::sink, p_.sinks);
    read_dead_letters();
    return std::move(p_);
  }

  /// Return whether the pipeline contains all nodes of the document with all their inputs.
  [[nodiscard]] bool complete() const { return complete_; }

 private:
  // Return the members of `map` whose keys are in `keys` (known) or are not in `keys` (!known).
  static value select(const value& map, const std::vector<std::string_view>& keys, bool known) {
    value part;
    part.type = value::kind::map;
    part.where = map.where;
    part.key_where = map.key_where;
    std::copy_if(map.children.begin(), map.children.end(), std::back_inserter(part.children), [&](const value& child) {
      return (std::find(keys.begin(), keys.end(), child.key) != keys.end()) == known;
    });
    return part;
  }

  // ----------------------------------------------------------------------------------------------------- top level

  void read_settings() {
    const auto structure = keys_of(structure_options());
    const auto* name = document_.find("name");
    p_.where = name != nullptr ? name->at() : document_.where;
    auto own = select(document_, structure, false);
    // keys with x- are reserved for anchors, as in compose files
    std::erase_if(own.children, [](const value& child) { return child.key.starts_with("x-"); });
    const auto bound = bind_table(own, pipeline_options(), {"a pipeline", document_.where, structure, {}}, problems_);
    const settings_reader s(bound.cells(), pipeline_options());
    s.get("name", p_.name);
    check_pipeline_name(bound.position_of("name"));
    s.get("memory_limit", p_.memory_limit);
    s.get("lanes", p_.lanes);
    s.get("shutdown_timeout", p_.shutdown_timeout);
    s.get("slow_call", p_.slow_call);
    s.get("state_dir", p_.state_dir);
    std::string word;
    s.get("delivery", word);
    if (word == "exactly_once") p_.delivery = delivery::exactly_once;
    read_log(s.object("log"));
    std::string listen;
    s.object("http").get("listen", listen);
    const auto* http = document_.find("http");
    p_.http.configured = http != nullptr && http->find("listen") != nullptr;
    if (!listen.empty()) read_listen(listen, bound.position_of("http.listen"));
  }

  void check_pipeline_name(const location& where) {
    const auto& name = p_.name;
    const auto allowed = std::string(name_letters) + ".";
    const bool ok =
        name.find_first_not_of(allowed) == std::string::npos && name.find_first_not_of('.') != std::string::npos;
    if (name.empty() || ok) return;
    problems_.error(where, fmt::format("'{}' is not a valid pipeline name", printable(name)),
                    "use letters, digits, '_', '-' and '.'");
  }

  void read_log(const settings_reader& s) {
    constexpr std::string_view levels[] = {"trace", "debug", "info", "warn", "error"};
    std::string level, format;
    s.get("level", level);
    s.get("format", format);
    const auto* found = std::find(std::begin(levels), std::end(levels), level);
    if (found != std::end(levels)) p_.log.level = static_cast<int>(found - std::begin(levels));
    if (format == "json") p_.log.format = log_format::json;
  }

  // host:port, :port, [::1]:port
  void read_listen(const std::string& listen, const location& where) {
    if (listen == "off" || listen == "false") {  // YAML 1.1 tools convert off to false
      p_.http.enabled = false;
      return;
    }
    auto address = parse_host_port(listen);
    if (!address) {
      problems_.error(where, fmt::format("'listen' must be host:port or off, got '{}'", printable(listen)),
                      "for example 127.0.0.1:9464");
      return;
    }
    p_.http.host = address->host.empty() ? "0.0.0.0" : std::move(address->host);
    p_.http.port = address->port;
  }

  // --------------------------------------------------------------------------------------------------------- nodes

  void read_nodes(std::string_view section, role r, std::vector<node>& to) {
    const auto* map = document_.find(section);
    const bool empty = map == nullptr || map->is_null() || (map->is_map() && map->children.empty());
    if (empty && (map == nullptr || !map->broken)) {
      if (r != role::transform) report_no_nodes(section, r, map);
      return;
    }
    if (!map->is_map()) {
      complete_ = false;
      problems_.error(map->at(), fmt::format("'{}' must be a map of names to {}s", section, to_string(r)),
                      fmt::format("write the name of each {} and its options below it", to_string(r)));
      return;
    }
    for (const auto& child : map->children) {
      if (!is_new_name(child, r)) {
        complete_ = false;
        continue;
      }
      names_.push_back({child.key, child.key_where, r});
      if (auto n = read_node(child, r, fmt::format("the {} '{}'", to_string(r), child.key), map)) {
        to.push_back(std::move(*n));
      }
    }
  }

  bool is_new_name(const value& child, role r) {
    if (child.key.empty() || child.key.find_first_not_of(name_letters) != std::string::npos) {
      problems_.error(child.key_where, fmt::format("'{}' is not a valid {} name", printable(child.key), to_string(r)),
                      "use letters, digits, '_' and '-'");
      return false;
    }
    if (child.key == "dead_letters") {
      problems_.error(child.key_where, "the name 'dead_letters' is reserved",
                      "write dead_letters at the top level, or choose another name");
      return false;
    }
    const auto first = std::find_if(names_.begin(), names_.end(), [&](const auto& n) { return n.name == child.key; });
    if (first == names_.end()) return true;
    problems_
        .error(child.key_where, fmt::format("the name '{}' is already used by a {}", child.key, to_string(first->of)),
               "names must be unique across sources, transforms and sinks")
        .note(first->where, "first used here");
    return false;
  }

  void report_no_nodes(std::string_view section, role r, const value* map) {
    complete_ = false;
    problems_.error(map != nullptr ? map->at() : p_.where, fmt::format("the pipeline has no {}", to_string(r)),
                    fmt::format("add one below '{}:'", section));
  }

  std::optional<node> read_node(const value& v, role r, const std::string& owner, const value* siblings) {
    if (!v.is_map()) complete_ = false;
    if (v.broken) return std::nullopt;
    if (!v.is_map()) {
      problems_.error(v.at(), fmt::format("{} has no options", owner),
                      fmt::format("write at least '{}: {{plugin: ...}}'", v.key));
      return std::nullopt;
    }
    if (siblings != nullptr && is_misspelt_set(v, r, *siblings)) return std::nullopt;
    const auto table = siblings == nullptr ? dead_letter_options() : node_options(r);
    const auto keys = keys_of(table);
    const auto bound = bind_table(select(v, keys, true), table, {owner, v.key_where, {}, {}}, problems_);
    node n;
    n.role = r;
    n.name = v.key;
    n.where = v.key_where;
    n.options = select(v, keys, false);
    fill(n, bound, settings_reader(bound.cells(), table));
    return n;
  }

  // Report a --set with a misspelt node name: --set sinks.stroe.batch.rows=1 would create a node without a plugin.
  bool is_misspelt_set(const value& v, role r, const value& siblings) {
    const auto& source = v.key_where.source();
    if (source == nullptr || source->from() != source_text::origin::command_line || v.find("plugin") != nullptr) {
      return false;
    }
    std::vector<std::string_view> others;
    for (const auto& s : siblings.children) {
      if (s.key != v.key) others.push_back(s.key);
    }
    problems_.error(v.key_where, fmt::format("there is no {} '{}'", to_string(r), printable(v.key)),
                    did_you_mean(v.key, others));
    return true;
  }

  void fill(node& n, const bound_options& bound, const settings_reader& s) {
    s.get("plugin", n.plugin);
    n.plugin_where = bound.position_of("plugin");
    n.lanes = p_.lanes;
    s.get("lanes", n.lanes);
    s.get("writers", n.writers);
    std::string word;
    s.get("delivery", word);
    if (!word.empty()) n.delivery = word == "exactly_once" ? delivery::exactly_once : delivery::at_least_once;
    read_policies(n, bound, s);
    const auto batch = s.object("batch");
    batch.get("rows", n.batch.rows);
    batch.get("delay", n.batch.delay);
    batch.get("max_bytes", n.batch.max_bytes);
    batch.get("max_rows", n.batch.max_rows);
    const auto retry = s.object("retry");
    retry.get("initial", n.retry.initial);
    retry.get("max", n.retry.max);
    retry.get("multiplier", n.retry.multiplier);
    retry.get("jitter", n.retry.jitter);
    retry.get("give_up_after", n.retry.give_up_after);
    const auto queue = s.object("queue");
    queue.get("max_bytes", n.queue.max_bytes);
    queue.get("disk", n.queue.disk);
    s.object("collapse").get("originals", n.collapse.originals);
    s.object("collapse").get("per", n.collapse.per);
    if (n.retry.initial > n.retry.max) {
      problems_.error(bound.position_of("retry.initial"), "'retry.initial' is longer than 'retry.max'",
                      "the first delay must not exceed the longest");
    }
    const auto from = s.list("from");
    if (n.role != role::source && n.name != "dead_letters" && from.empty()) complete_ = false;
    for (std::size_t i = 0; i < from.size(); ++i) add_input(n, from[i], bound.position_of(fmt::format("from[{}]", i)));
    if (n.role != role::source && from.empty() && is_empty_list(bound)) {
      problems_.error(bound.position_of("from"), "'from' is empty", "write the name of a source or a transform");
    }
  }

  // What a sink does with rows that it cannot write.
  static void read_policies(node& n, const bound_options& bound, const settings_reader& s) {
    if (n.role != role::sink) return;
    std::string word;
    s.get("on_failure", word);
    if (word == "dead_letters") n.on_failure = failure_policy::dead_letters;
    n.on_failure_where = bound.position_of("on_failure");
    word.clear();
    s.get("when_full", word);
    for (const auto policy : {full_policy::drop_newest, full_policy::drop_oldest})
      if (word == to_string(policy)) n.when_full = policy;
    if (word == "discard") n.when_letters_full = full_dead_letters::discard;
    n.when_full_where = bound.position_of("when_full");
  }

  static bool is_empty_list(const bound_options& bound) {
    return std::any_of(bound.cells(), bound.cells() + bound.size(),
                       [](const pl_cell& c) { return c.kind == PL_LIST && c.len == 0; });
  }

  void add_input(node& n, const std::string& text, const location& where) {
    if (text.empty()) complete_ = false;
    if (text.empty()) return;  // already reported when it was bound, or an empty text
    const auto dot = text.find('.');
    input in{text.substr(0, dot), dot == std::string::npos ? std::string() : text.substr(dot + 1), where};
    const bool twice = std::any_of(n.from.begin(), n.from.end(),
                                   [&](const input& other) { return other.node == in.node && other.port == in.port; });
    if (twice) {
      problems_.error(where, fmt::format("'{}' is listed twice", printable(text)), "each record would arrive twice");
    } else {
      n.from.push_back(std::move(in));
    }
  }

  void read_dead_letters() {
    const auto* v = document_.find("dead_letters");
    if (v == nullptr || v->is_null()) return;
    auto copy = *v;
    if (auto* from = copy.find("from")) {
      problems_.error(from->key_where, "dead_letters has no 'from'", "remove it: dead letters come from all nodes");
      std::erase_if(copy.children, [](const value& child) { return child.key == "from"; });
    }
    p_.dead_letters = read_node(copy, role::sink, "dead_letters", nullptr);
  }

  struct taken_name {
    std::string name;
    location where;
    role of;
  };

  const value& document_;
  diagnostics& problems_;
  pipeline p_;
  std::vector<taken_name> names_;
  bool complete_ = true;
};

// ------------------------------------------------------------------------------------------------------------- graph

class graph_checker {
 public:
  graph_checker(const pipeline& p, diagnostics& problems) : p_(p), problems_(problems) {}

  // `complete`: no node was left out because of an error, so that nodes without readers can be reported.
  void check(bool complete) {
    for (const auto* n : p_.nodes()) {
      for (const auto& in : n->from) check_input(*n, in);
    }
    check_sink_policies(p_, problems_);
    find_cycles();
    if (complete) find_unread();
  }

 private:
  void check_input(const node& reader, const input& in) {
    const auto* target = p_.find(in.node);
    if (target == nullptr) {
      const auto names = readable_names(reader);
      problems_.error(in.where, fmt::format("no source or transform is named '{}'", printable(in.node)),
                      hint_for(in, names));
      if (const auto meant = nearest_name(in.node, names)) excused_.emplace_back(*meant);
      for (const auto* n : p_.nodes()) {
        if (n->plugin == in.node) excused_.push_back(n->name);
      }
    } else if (target->role == role::sink) {
      problems_.error(in.where, fmt::format("'{}' is a sink, and sinks have no output", in.node), upstream_of(*target));
    }
  }

  [[nodiscard]] std::vector<std::string_view> readable_names(const node& reader) const {
    std::vector<std::string_view> names;
    for (const auto* n : p_.nodes()) {
      if (n->role != role::sink && n->name != reader.name) names.push_back(n->name);
    }
    return names;
  }

  [[nodiscard]] std::string hint_for(const input& in, const std::vector<std::string_view>& names) const {
    auto hint = did_you_mean(in.node, names);
    for (const auto* n : p_.nodes()) {
      if (!hint.empty()) return hint;
      if (n->role != role::sink && n->plugin == in.node) {
        hint = fmt::format("the node with the plugin {} is named '{}'", n->plugin, n->name);
      }
    }
    std::string all;
    for (const auto name : names) all += fmt::format("{}{}", all.empty() ? "available: " : ", ", name);
    return hint.empty() ? all : hint;
  }

  static std::string upstream_of(const node& sink) {
    if (sink.from.empty()) return {};
    return fmt::format("read from '{}', the input of the sink", sink.from.front().node);
  }

  // Search depth first along `from`. A node that is reached again while it is still open closes a cycle.
  void find_cycles() {
    std::vector<const node*> open, done;
    for (const auto& t : p_.transforms) visit(t, open, done);
  }

  void visit(const node& n, std::vector<const node*>& open, std::vector<const node*>& done) {
    if (std::find(done.begin(), done.end(), &n) != done.end()) return;
    open.push_back(&n);
    for (const auto& in : n.from) {
      const auto* next = p_.find(in.node);
      if (next == nullptr || next->role != role::transform) continue;
      const auto start = std::find(open.begin(), open.end(), next);
      if (start != open.end()) {
        report_cycle({start, open.end()}, in.where);
      } else if (open.size() < max_chain) {
        visit(*next, open, done);
      }
    }
    open.pop_back();
    done.push_back(&n);
  }

  // Report a cycle in the direction of the data. nodes[i] reads from nodes[i + 1], the last node from the first.
  void report_cycle(const std::vector<const node*>& nodes, const location& where) {
    std::string path = nodes.front()->name;
    std::for_each(nodes.rbegin(), nodes.rend(), [&](const node* n) { path += " -> " + n->name; });
    problems_.error(where, "the transforms form a cycle: " + path, "make one of them read from a source instead");
  }

  void find_unread() {
    std::vector<std::string> read = excused_;
    for (const auto* n : p_.nodes()) {
      for (const auto& in : n->from) read.push_back(in.node);
    }
    std::sort(read.begin(), read.end());
    for (const auto* n : p_.nodes()) {
      if (n->role == role::sink || std::binary_search(read.begin(), read.end(), n->name)) continue;
      auto hint = fmt::format("add 'from: {}' to a transform or a sink, or remove it", n->name);
      // A sink may be commented out for an experiment.
      if (n->role == role::transform)
        problems_.warning(n->where,
                          fmt::format("nothing reads from the transform '{}', so its rows are discarded", n->name),
                          std::move(hint));
      else
        problems_.error(n->where, fmt::format("nothing reads from the source '{}'", n->name), std::move(hint));
    }
  }

  static constexpr std::size_t max_chain = 10'000;  // limit of the recursion

  const pipeline& p_;
  diagnostics& problems_;
  std::vector<std::string> excused_;  // nodes whose reader probably misspelt the name; not reported as unread
};

}  // namespace

pipeline build_pipeline(const value& document, diagnostics& problems) {
  pipeline_builder builder(document, problems);
  auto p = builder.build();
  graph_checker(p, problems).check(builder.complete());
  return p;
}

}  // namespace pl::config
