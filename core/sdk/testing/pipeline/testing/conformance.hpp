// SPDX-License-Identifier: Apache-2.0
// The conformance tests check the rules of abi.h that apply to every component. Every plugin must pass them.
//
//   for (const auto& problem : pl::testing::check_plugin(plugin)) FAIL(problem);
//   for (const auto& problem : pl::testing::check_life(component, options)) FAIL(problem);
#pragma once

#include <pipeline/testing/instance.hpp>

#include <dlfcn.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace pl::testing {

using problems = std::vector<std::string>;

// Load a built plugin as the host does. The plugin is never unloaded.
inline const pl_plugin* load_plugin(const std::string& file, std::string& error) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    error = dlerror();
    return nullptr;
  }
  const auto* plugin = static_cast<const pl_plugin*>(dlsym(library, "pl_plugin_v1"));
  if (plugin == nullptr) error = file + " does not export pl_plugin_v1";
  return plugin;
}

inline const pl_component* find_component(const pl_plugin& plugin, std::string_view name) {
  for (std::uint32_t i = 0; i < plugin.ncomponents; ++i)
    if (view(plugin.components[i]->name) == name) return plugin.components[i];
  return nullptr;
}

namespace detail {

inline bool is_snake_case(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(),
                                   [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

inline void check_options(const std::string& where, const pl_option* options, std::uint32_t n, problems& found) {
  std::set<std::string_view> keys;
  for (std::uint32_t i = 0; i < n; ++i) {
    const auto& o = options[i];
    const auto name = where + "." + std::string(view(o.key));
    if (!is_snake_case(view(o.key))) found.push_back(name + ": the key is not snake_case");
    if (!keys.insert(view(o.key)).second) found.push_back(name + ": declared twice");
    if (o.doc.n < 10) found.push_back(name + ": has no documentation");
    if (o.kind < PL_OPT_TEXT || o.kind > PL_OPT_ANY) found.push_back(name + ": unknown kind");
    if ((o.flags & PL_REQUIRED) && o.def.n) found.push_back(name + ": required, but has a default");
    if (o.kind == PL_OPT_CHOICE && o.allowed.n == 0) found.push_back(name + ": a choice without allowed values");
    if ((o.kind == PL_OPT_LIST || o.kind == PL_OPT_MAP) &&
        (o.element == PL_OPT_LIST || o.element == PL_OPT_MAP || o.element == 0))
      found.push_back(name + ": elements must be scalars or objects");
    if (o.kind == PL_OPT_OBJECT || o.element == PL_OPT_OBJECT) {
      if (o.nfields == 0) found.push_back(name + ": an object without fields");
      check_options(name, o.fields, o.nfields, found);
    }
  }
}

// Check that a batch is complete when it is handed over.
inline void check_batch(const std::string& where, batch_view b, problems& found) {
  const auto* raw = b.raw();
  for (column_index c = 0; c < b.columns(); ++c)
    if (raw->cols[c] == nullptr && raw->rows != 0)
      found.push_back(where + ": column '" + std::string(b.name(c)) + "' is not set");
  if (raw->sel == nullptr && raw->nsel != raw->rows)
    found.push_back(where + ": nsel differs from rows, and there is no selection");
  for (std::uint32_t i = 0; raw->sel != nullptr && i < raw->nsel; ++i)
    if (raw->sel[i] >= raw->rows || (i > 0 && raw->sel[i] <= raw->sel[i - 1]))
      found.push_back(where + ": the selection is not ascending");
  for (const auto& r : b.ranges())
    if (r.first > r.next) found.push_back(where + ": a range ends before it begins");
  for (const auto row : b.selection()) {
    if (raw->origin && raw->origin[row] >= raw->nranges) {
      found.push_back(where + ": a row's origin is not an index into the ranges");
      break;
    }
    if (!raw->pos || raw->nranges == 0) continue;
    const auto& r = raw->ranges[b.origin(row)];
    if (raw->pos[row] < r.first || raw->pos[row] >= r.next) {
      found.push_back(where + ": a row's position is outside its range");
      break;
    }
  }
}

inline batch batch_of(fake_host& host, const std::vector<std::string>& columns, cell value, std::uint32_t rows,
                      std::uint64_t first) {
  std::vector<std::pair<std::string, std::vector<cell>>> data;
  for (const auto& name : columns) data.emplace_back(name, std::vector<cell>(rows, value));
  return host.make_batch(data, "test/0", first);
}

// Make unusual batches that a component must handle: without rows, all null, each kind in each column, other columns.
inline std::vector<batch> odd_batches(fake_host& host, const std::vector<std::string>& columns) {
  std::vector<batch> all;
  const cell kinds[] = {null_cell(),
                        bool_cell(true),
                        int_cell(INT64_MIN),
                        int_cell(INT64_MAX),
                        real_cell(-0.0),
                        real_cell(1e308),
                        time_cell(INT64_MIN),
                        time_cell(INT64_MAX),
                        text_cell(""),
                        text_cell("a'b\"c\\d\te\nf"),
                        text_cell("\xF0\x9F\x98\x80"),
                        bytes_cell(std::string_view("\0\xFF\xFE", 3)),
                        json_cell("{}")};
  std::uint64_t first = 0;
  all.push_back(batch_of(host, columns, null_cell(), 0, first));
  for (const auto& k : kinds) {
    all.push_back(batch_of(host, columns, k, 3, first));
    first += 3;
  }
  all.push_back(batch_of(host, {"some", "other", "columns"}, int_cell(1), 2, first));
  all.push_back(batch_of(host, {}, null_cell(), 0, first + 2));
  return all;
}

// Return the role whose components may set a bit of pl_component.caps; 0: the bit is reserved.
inline std::uint32_t role_of_cap(std::uint32_t bit) {
  switch (bit) {
    case PL_REPLAYABLE:
    case PL_RECORDS_UNREAD:
      return PL_SOURCE;
    case PL_DETERMINISTIC:
    case PL_ALERTS:
    case PL_OPTION_PORTS:
      return PL_TRANSFORM;
    case PL_TRANSACTIONAL:
    case PL_IDEMPOTENT:
      return PL_SINK;
    default:
      return 0;
  }
}

inline void check_caps(const std::string& name, const pl_component& c, problems& found) {
  for (std::uint32_t i = 0; i < 32; ++i)
    if (const auto bit = std::uint32_t{1} << i; (c.caps & bit) != 0 && role_of_cap(bit) != c.role)
      found.push_back(name + ": bit " + std::to_string(i) + " of caps is reserved, or belongs to another role");
  if (c.dead_letters.n != 0 && c.role != PL_SINK) found.push_back(name + ": sets dead_letters, but is not a sink");
}

// Check that the extension tables of an instance fit its role and are complete.
inline void check_extensions(const pl_component& c, void* self, problems& found) {
  const auto table = [&]<class Table>(std::string_view name, const Table*) {
    return c.extension ? static_cast<const Table*>(c.extension(self, borrow(name))) : nullptr;
  };
  const auto needs = [&](const char* name, bool complete, bool fits) {
    if (!complete) found.push_back(std::string(name) + " lacks a function");
    if (!fits) found.push_back(std::string(name) + " is offered by a component of another role");
  };
  const auto* store = table(PL_EXT_POSITION_STORE, static_cast<const pl_ext_position_store*>(nullptr));
  if (store) needs(PL_EXT_POSITION_STORE, store->position && store->claim && store->load, c.role == PL_SINK);
  if ((store != nullptr) != ((c.caps & PL_TRANSACTIONAL) != 0))
    found.emplace_back("PL_TRANSACTIONAL and position_store/1 go together");
  if (const auto* s = table(PL_EXT_STATE, static_cast<const pl_ext_state*>(nullptr)))
    needs(PL_EXT_STATE, s->restore && s->restored && s->snapshot, c.role == PL_TRANSFORM);
  if (const auto* r = table(PL_EXT_REPLAY, static_cast<const pl_ext_replay*>(nullptr)))
    needs(PL_EXT_REPLAY, r->windows && r->select, c.role == PL_SOURCE);
  if (const auto* a = table(PL_EXT_ALERTS, static_cast<const pl_ext_alerts*>(nullptr)))
    needs(PL_EXT_ALERTS, a->open_alerts, c.role == PL_TRANSFORM);
  if (const auto* r = table(PL_EXT_REWRITE, static_cast<const pl_ext_rewrite*>(nullptr)))
    needs(PL_EXT_REWRITE, r->rewritable, c.role == PL_SINK);
  const auto* ports = table(PL_EXT_PORTS, static_cast<const pl_ext_ports*>(nullptr));
  if (ports) needs(PL_EXT_PORTS, ports->ports, c.role == PL_TRANSFORM);
  if ((ports != nullptr) != ((c.caps & PL_OPTION_PORTS) != 0))
    found.emplace_back("PL_OPTION_PORTS and ports/1 go together");
  if (const auto* e = table(PL_EXT_EXCLUSIVE, static_cast<const pl_ext_exclusive*>(nullptr)))
    needs(PL_EXT_EXCLUSIVE, e->uses, true);
}

// Call "columns/1" with an unknown input, as `validate` does after a component that cannot state its output.
inline void check_columns(const pl_component& c, void* self, problems& found) {
  const auto* table =
      c.extension ? static_cast<const pl_ext_columns*>(c.extension(self, borrow(PL_EXT_COLUMNS))) : nullptr;
  if (table == nullptr) return;
  const pl_columns unknown{};
  for (std::uint32_t port = 0; port < count_ports(c, self); ++port) {
    pl_columns out{};
    if (table->columns(self, &unknown, port, &out) != PL_OK) found.emplace_back("columns failed on an unknown input");
    if (c.role == PL_SINK && out.schema != nullptr) found.emplace_back("columns of a sink returned an output");
    for (std::uint32_t i = 0; out.schema != nullptr && out.kinds != nullptr && i < out.schema->ncols; ++i)
      if (out.kinds[i] > PL_JSON) found.emplace_back("columns returned a kind that no cell of a batch has");
  }
}

// Return what the component states for this input, before it starts; without a schema if it states nothing.
inline column_set stated_columns(fake_host& host, const pl_component& c, const config_fields& options,
                                 const pl_schema* in, std::uint32_t port) {
  column_set stated;
  instance asked(host, c, options);
  if (c.extension == nullptr || asked.create() != PL_OK) return stated;
  if (c.extension(asked.self(), borrow(PL_EXT_COLUMNS)) == nullptr) return stated;
  return ask_columns(c, asked.self(), column_set{in}, port, stated) == PL_OK ? stated : column_set{};
}

// Check that a batch has the columns and kinds that its component has stated.
inline void check_stated(const std::string& where, batch_view b, const column_set& stated, problems& found) {
  if (stated.schema == nullptr) return;
  if (stated.schema != &b.schema()) return found.push_back(where + " does not have the stated columns");
  for (column_index c = 0; c < b.columns(); ++c)
    for (const auto row : b.selection())
      if (const auto kind = b.at(c, row).kind; kind != PL_NULL && stated.kind(c) != PL_NULL && kind != stated.kind(c)) {
        found.push_back(where + ": column '" + std::string(b.name(c)) + "' has a cell of the kind " +
                        std::string(kind_name(kind)) + ", but its stated kind is " +
                        std::string(kind_name(stated.kind(c))));
        break;
      }
}

inline bool is_status(pl_status s) { return s >= PL_OK && s <= PL_FATAL; }

inline void check_transform(instance& i, fake_host& host, const config_fields& options,
                            const std::vector<std::string>& columns, problems& found) {
  for (auto& b : odd_batches(host, columns)) {
    if (!is_status(i.apply(b.get()))) found.emplace_back("apply returned an invalid status");
    for (auto& e : i.output()) {
      check_batch("an emitted batch", e.data.get(), found);
      check_stated("an emitted batch", e.data.get(),
                   stated_columns(host, i.component(), options, &b.get().schema(), e.port), found);
      if (e.port >= count_ports(i.component(), i.self())) found.emplace_back("emitted on a port that does not exist");
      if (e.data.get().ranges().size() != b.get().ranges().size())
        found.emplace_back("an emitted batch does not have the ranges of its input");
    }
    i.output().clear();
  }
  if (!is_status(i.tick(1'700'000'000'000'000'000))) found.emplace_back("tick returned an invalid status");
  i.revoked("test/0");
  i.revoked("never/seen");
  i.output().clear();
}

inline void check_sink(instance& i, fake_host& host, const std::vector<std::string>& columns, problems& found) {
  auto batches = odd_batches(host, columns);
  for (auto& b : batches)
    if (!is_status(i.write(b.get()))) found.emplace_back("write returned an invalid status");
  if (i.write(std::vector<batch_view>{}) != PL_OK) found.emplace_back("writing nothing failed: " + host.error_text());
}

inline void check_source(instance& i, fake_host& host, const config_fields& options, problems& found) {
  const auto stated = stated_columns(host, i.component(), options, nullptr, 0);
  batch out;
  if (const auto s = i.poll(out, 0, 0, std::chrono::nanoseconds(0)); s == PL_OK && out && out.get().rows() != 0)
    found.emplace_back("poll returned rows although there was no room");
  for (int k = 0; k < 10; ++k) {
    const auto s = i.poll(out, 3, 1 << 20, std::chrono::milliseconds(100));
    if (!is_status(s)) found.emplace_back("poll returned an invalid status");
    if (s != PL_OK) continue;
    if (out.get().rows() > 3) found.emplace_back("poll returned more rows than there was room for");
    if (!out.get().has_positions() && out.get().rows() != 0) found.emplace_back("a source's rows have no positions");
    check_batch("a polled batch", out.get(), found);
    check_stated("a polled batch", out.get(), stated, found);
  }
}

}  // namespace detail

// Check the tables: names, documentation, functions, options.
inline problems check_plugin(const pl_plugin& plugin) {
  problems found;
  if (plugin.size < sizeof(pl_plugin)) found.emplace_back("plugin: size is too small");
  if (plugin.ncomponents == 0) found.emplace_back("plugin: no components");
  if (plugin.version.n == 0) found.emplace_back("plugin: no version");
  for (std::uint32_t i = 0; i < plugin.ncomponents; ++i) {
    const auto& c = *plugin.components[i];
    const std::string name(view(c.name));
    if (!detail::is_snake_case(name)) found.push_back("component '" + name + "': the name is not snake_case");
    if (c.doc.n < 10) found.push_back(name + ": has no documentation");
    if (view(c.example).find("plugin: " + name) == std::string_view::npos)
      found.push_back(name + ": the example has no 'plugin: " + name + "'");
    if (!c.create || !c.start || !c.stop || !c.destroy)
      found.push_back(name + ": create, start, stop and destroy are required");
    if (c.role == PL_SOURCE      ? !c.poll || !c.settle
        : c.role == PL_TRANSFORM ? !c.apply
        : c.role == PL_SINK      ? !c.write
                                 : true)
      found.push_back(name + ": a function of its role is missing");
    if (c.extension && c.extension(nullptr, borrow("no/such")) != nullptr)
      found.push_back(name + ": returns a table for an extension that does not exist");
    detail::check_caps(name, c, found);
    detail::check_options(name, c.options, c.noptions, found);
  }
  return found;
}

// Run one life of a component under unusual input. options: the required options. columns: the columns that it reads.
// started: false if `start` needs a server that does not run; the component is then not started and gets no batches.
inline problems check_life(const pl_component& component, const config_fields& options,
                           const std::vector<std::string>& columns = {"value"}, bool started = true) {
  problems found;
  fake_host host;
  for (int k = 0; k < 100; ++k) {
    instance i(host, component, options);
    if (i.create() != PL_OK) return {"create failed: " + host.error_text()};
  }
  {
    instance i(host, component, options);
    if (i.create() != PL_OK) return {"create failed: " + host.error_text()};
    detail::check_extensions(component, i.self(), found);
    detail::check_columns(component, i.self(), found);
    if (started) {
      if (i.start() != PL_OK) return {"start failed: " + host.error_text()};
      if (component.role == PL_TRANSFORM) detail::check_transform(i, host, options, columns, found);
      if (component.role == PL_SINK) detail::check_sink(i, host, columns, found);
      if (component.role == PL_SOURCE) detail::check_source(i, host, options, found);
      if (i.stop() != PL_OK) found.push_back("stop failed: " + host.error_text());
    }
  }
  if (host.live_batches() != 0) found.push_back(std::to_string(host.live_batches()) + " batches were never released");
  for (const auto& v : host.violations()) found.push_back(v);
  return found;
}

}  // namespace pl::testing
