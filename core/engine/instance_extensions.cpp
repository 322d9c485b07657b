// SPDX-License-Identifier: Apache-2.0
// The calls of an instance into the extensions of its component.
#include "engine/instance.hpp"

#include <pipeline/extension.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace pl::engine {

using enum plugin_function;

namespace {

// The component calls the functions below, possibly from C, so no exception may leave them.
template <class F>
void guarded(F&& body) noexcept {
  try {
    body();
  } catch (const std::exception&) {
    plugin_call::current()->ran_out_of_memory();
  }
}

std::string text_of(pl_str s, std::string_view function) {
  if (s.n == 0 || s.p != nullptr) return std::string(view(s));
  plugin_call::current()->violated(fmt::format("it reported {} bytes of text at NULL by {}", s.n, function));
  return {};
}

void add_text(void* to, pl_str text) noexcept {
  guarded([&] { static_cast<std::vector<std::string>*>(to)->push_back(text_of(text, "its entry function")); });
}

// Look up one table. All the pointers in `needed` must be set if the component offers it.
template <class Table, class... Pointer>
Table look_up(const pl_component& of, void* self, std::string_view name, Pointer Table::*... needed) {
  if (of.extension == nullptr) return Table{};
  auto table = complete_table<Table>(of.extension(self, borrow(name)));
  if (table.size == 0 || (... && (table.*needed != nullptr))) return table;
  plugin_call::current()->violated(fmt::format("its table \"{}\" lacks a function that it must have", name));
  return Table{};
}

}  // namespace

// Called once, after `create`.
pl_status instance::look_up_extensions() {
  const auto& c = component_;
  using positions = pl_ext_position_store;
  using state = pl_ext_state;
  offered_.columns = look_up(c, self_, PL_EXT_COLUMNS, &pl_ext_columns::columns);
  offered_.positions =
      look_up(c, self_, PL_EXT_POSITION_STORE, &positions::position, &positions::claim, &positions::load);
  offered_.state = look_up(c, self_, PL_EXT_STATE, &state::restore, &state::restored, &state::snapshot);
  offered_.alerts = look_up(c, self_, PL_EXT_ALERTS, &pl_ext_alerts::open_alerts);
  offered_.replay = look_up(c, self_, PL_EXT_REPLAY, &pl_ext_replay::windows, &pl_ext_replay::select);
  offered_.exclusive = look_up(c, self_, PL_EXT_EXCLUSIVE, &pl_ext_exclusive::uses);
  offered_.rewrite = look_up(c, self_, PL_EXT_REWRITE, &pl_ext_rewrite::rewritable);
  offered_.ports = look_up(c, self_, PL_EXT_PORTS, &pl_ext_ports::ports);
  offered_.demand = look_up(c, self_, PL_EXT_DEMAND, &pl_ext_demand::used);
  if (c.role == PL_TRANSFORM && (c.caps & PL_OPTION_PORTS) != 0 && offered_.ports.size == 0)
    plugin_call::current()->violated("it has PL_OPTION_PORTS, and does not offer \"ports/1\"");
  if (c.role == PL_SINK && (c.caps & PL_TRANSACTIONAL) != 0 && offered_.positions.size == 0)
    plugin_call::current()->violated("it has PL_TRANSACTIONAL, and does not offer \"position_store/1\"");
  return PL_OK;
}

// Called once, after `create`. Ask a transform with PL_OPTION_PORTS for its ports, which do not change afterwards.
result<void> instance::ask_ports() {
  if (component_.role != PL_TRANSFORM || (component_.caps & PL_OPTION_PORTS) == 0) return {};
  const auto add = [](void* to, pl_str name) noexcept {
    guarded([&] {
      auto& all = *static_cast<std::vector<std::string>*>(to);
      auto port = text_of(name, "ports");
      if (port.empty()) return plugin_call::current()->violated("it reported an output port without a name");
      if (std::ranges::find(all, port) != all.end())
        return plugin_call::current()->violated(fmt::format("it reported the output port '{}' twice", port));
      all.push_back(std::move(port));
    });
  };
  std::vector<std::string> all;
  if (auto asked = call(plugin_function::ports, [&] { return offered_.ports.ports(self_, &all, add); }); !asked.ok())
    return asked;
  ports_ = std::move(all);
  return {};
}

// Called once, after `create`.
result<void> instance::ask_used_columns() {
  if (component_.role != PL_TRANSFORM || offered_.demand.size == 0) return {};
  const auto add = [](void* to, pl_str column) noexcept {
    guarded([&] {
      auto& use = *static_cast<column_use*>(to);
      if (column.p == nullptr)
        use.everything = true;
      else
        use.columns.push_back(text_of(column, "used"));
    });
  };
  column_use found;
  std::uint32_t passes_on = 0;
  auto asked = call(plugin_function::used, [&] { return offered_.demand.used(self_, &found, add, &passes_on); });
  if (!asked.ok()) return asked;
  found.passes_on = passes_on != 0;
  if (!found.everything) used_columns_ = std::move(found);
  return {};
}

result<column_set> instance::columns(const column_set& in, std::uint32_t port) {
  const auto& table = offered_.columns;
  if (table.columns == nullptr) return column_set{};
  const auto given = in.raw();
  column_set found;
  const auto asked = call(plugin_function::columns, [&] {
    pl_columns raw{};
    const auto code = table.columns(self_, &given, port, &raw);
    if (code == PL_OK && raw.schema != nullptr && !common_.schemas.has(raw.schema))
      plugin_call::current()->violated("it returned a schema that is not from pl_host.schema");
    else if (code == PL_OK)
      found = column_set::of(raw);
    return code;
  });
  if (!asked.ok()) return asked.why();
  return found;
}

// ----------------------------------------------------------------------------------------------------------- state ---

bool instance::stateful() const { return offered_.state.size != 0; }

result<void> instance::restore(std::string_view stream, std::string_view key, std::string_view value) {
  if (!stateful()) return {};
  const pl_str named{key.data() == nullptr ? "" : key.data(), key.size()};
  return call(plugin_function::restore,
              [&] { return offered_.state.restore(self_, borrow(stream), named, borrow(value)); });
}

result<void> instance::restored(std::string_view stream, const restored_state& how) {
  if (!stateful()) return {};
  output_discarded_ = how.output_discarded;
  return call(plugin_function::restored, [&] {
    const std::uint32_t flags =
        (how.moved ? PL_RESTORED_OFFSET_RESET : 0) | (how.delivered ? PL_RESTORED_DELIVERED : 0);
    return offered_.state.restored(self_, borrow(stream), flags);
  });
}

result<void> instance::snapshot(std::string_view stream, call_effects& effects) {
  if (!stateful()) return {};
  return call(plugin_function::snapshot, effects, [&] { return offered_.state.snapshot(self_, borrow(stream)); });
}

// ------------------------------------------------------------------------------------------------------- positions ---

result<pl_position> instance::position(std::string_view source, std::string_view stream) {
  pl_position at{};
  const auto asked = call(plugin_function::position,
                          [&] { return offered_.positions.position(self_, borrow(source), borrow(stream), &at); });
  if (!asked.ok()) return asked.why();
  return at;
}

result<void> instance::claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                             const pl_state_watermark& watermark) {
  return call(plugin_function::claim,
              [&] { return offered_.positions.claim(self_, borrow(source), borrow(stream), seen, wanted, watermark); });
}

result<void> instance::load(std::string_view source, std::string_view stream, const entry& each) {
  const auto pass_on = [](void* to, pl_str node, pl_str key, pl_str value) noexcept {
    guarded([&] {
      const std::string name = text_of(node, "load"), named = text_of(key, "load");
      (*static_cast<const entry*>(to))(name, named, text_of(value, "load"));
    });
  };
  return call(plugin_function::load, [&] {
    return offered_.positions.load(self_, borrow(source), borrow(stream), const_cast<entry*>(&each), pass_on);
  });
}

result<std::vector<std::string>> instance::streams(std::string_view source) {
  std::vector<std::string> all;
  if (offered_.positions.streams == nullptr)
    return fatal(fmt::format("{} cannot list the streams whose positions it keeps", view(component_.name)));
  const auto asked =
      call(plugin_function::streams, [&] { return offered_.positions.streams(self_, borrow(source), &all, add_text); });
  if (!asked.ok()) return asked.why();
  return all;
}

// ---------------------------------------------------------------------------------------------------------- alerts ---

bool instance::alerting() const { return offered_.alerts.size != 0; }

result<std::vector<std::string>> instance::open_alerts() {
  std::vector<std::string> all;
  if (!alerting()) return all;
  const auto listed =
      call(plugin_function::open_alerts, [&] { return offered_.alerts.open_alerts(self_, &all, add_text); });
  if (!listed.ok()) return listed.why();
  return all;
}

// --------------------------------------------------------------------------------------------------------- replays ---

bool instance::replayable() const { return offered_.replay.size != 0; }

bool instance::resets_offsets() const { return offered_.replay.reset_offsets != nullptr; }

result<instance::window_list> instance::windows(pl_bound from, pl_bound until) {
  const auto add = [](void* to, const pl_window* w) noexcept {
    guarded([&] {
      if (w == nullptr) return plugin_call::current()->violated("it reported a window that is NULL");
      static_cast<window_list*>(to)->push_back(
          {text_of(w->stream, "windows"), w->first, w->next, w->oldest, w->newest});
    });
  };
  window_list all;
  const auto asked =
      call(plugin_function::windows, [&] { return offered_.replay.windows(self_, from, until, &all, add); });
  if (!asked.ok()) return asked.why();
  return all;
}

namespace {

std::vector<pl_window> raw_windows(const instance::window_list& windows) {
  std::vector<pl_window> raw;
  for (const auto& w : windows) raw.push_back({borrow(w.stream), w.first, w.next, w.oldest, w.newest});
  return raw;
}

}  // namespace

result<void> instance::select(const window_list& windows) {
  const auto raw = raw_windows(windows);
  return call(plugin_function::select,
              [&] { return offered_.replay.select(self_, raw.data(), static_cast<std::uint32_t>(raw.size())); });
}

result<void> instance::reset_offsets(const window_list& windows) {
  if (!resets_offsets()) return fatal("this source cannot reset offsets");
  const auto raw = raw_windows(windows);
  return call(plugin_function::reset_offsets,
              [&] { return offered_.replay.reset_offsets(self_, raw.data(), static_cast<std::uint32_t>(raw.size())); });
}

// ---------------------------------------------------------------------------------------------------------- checks ---

std::vector<exclusive_user::resource> instance::exclusive() {
  std::vector<exclusive_user::resource> all;
  const auto add = [](void* to, pl_str kind, pl_str name, pl_str option) noexcept {
    guarded([&] {
      static_cast<std::vector<exclusive_user::resource>*>(to)->push_back(
          {text_of(kind, "uses"), text_of(name, "uses"), text_of(option, "uses")});
    });
  };
  if (offered_.exclusive.uses != nullptr) (void)call(uses, [&] { return offered_.exclusive.uses(self_, &all, add); });
  return all;
}

result<void> instance::rewritable() {
  if ((component_.caps & PL_IDEMPOTENT) != 0) return {};
  if (offered_.rewrite.rewritable == nullptr)
    return fatal(fmt::format("{} would write each record again", view(component_.name)));
  return call(plugin_function::rewritable, [&] { return offered_.rewrite.rewritable(self_); });
}

}  // namespace pl::engine
