// SPDX-License-Identifier: Apache-2.0
// The battery that every plugin passes: rules of abi.h that can be checked without knowing what a component is for.
//
//   for (const auto& problem : pl::testing::check_plugin(plugin)) FAIL(problem);
//   for (const auto& problem : pl::testing::check_life(component, options)) FAIL(problem);
#pragma once

#include <pipeline/testing/instance.hpp>

#include <dlfcn.h>

#include <set>
#include <string>
#include <vector>

namespace pl::testing {

using problems = std::vector<std::string>;

// A built plugin, loaded as the host loads it. Never unloaded.
inline const pl_plugin* load_plugin(const std::string& file, std::string& error) {
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    error = dlerror();
    return nullptr;
  }
  const auto* plugin = static_cast<const pl_plugin*>(dlsym(library, "pl_plugin_v1"));
  if (plugin == nullptr) error = file + " exports no pl_plugin_v1";
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
    if ((o.flags & PL_REQUIRED) && o.def.n) found.push_back(name + ": required, and yet has a default");
    if (o.kind == PL_OPT_CHOICE && o.allowed.n == 0) found.push_back(name + ": a choice of nothing");
    if ((o.kind == PL_OPT_LIST || o.kind == PL_OPT_MAP) &&
        (o.element == PL_OPT_LIST || o.element == PL_OPT_MAP || o.element == 0))
      found.push_back(name + ": elements must be scalars or objects");
    if (o.kind == PL_OPT_OBJECT || o.element == PL_OPT_OBJECT) {
      if (o.nfields == 0) found.push_back(name + ": an object without fields");
      check_options(name, o.fields, o.nfields, found);
    }
  }
}

// A batch that is handed over must be whole.
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
      found.push_back(where + ": a row's origin is no range");
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

// Batches that a component may meet: empty, all null, each kind in each column.
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

inline bool is_status(pl_status s) { return s >= PL_OK && s <= PL_FATAL; }

inline void check_transform(instance& i, fake_host& host, const std::vector<std::string>& columns, problems& found) {
  for (auto& b : odd_batches(host, columns)) {
    if (!is_status(i.apply(b.get()))) found.emplace_back("apply returned no status");
    for (auto& e : i.output()) {
      check_batch("an emitted batch", e.data.get(), found);
      if (e.port >= std::max(1U, i.component().nports)) found.emplace_back("emitted on a port that isn't there");
      if (e.data.get().ranges().size() != b.get().ranges().size())
        found.emplace_back("an emitted batch lost its ranges");
    }
    i.output().clear();
  }
  if (!is_status(i.tick(1'700'000'000'000'000'000))) found.emplace_back("tick returned no status");
  i.drop("test/0");
  i.drop("never/seen");
  i.output().clear();
}

inline void check_sink(instance& i, fake_host& host, const std::vector<std::string>& columns, problems& found) {
  auto batches = odd_batches(host, columns);
  for (auto& b : batches)
    if (!is_status(i.write(b.get()))) found.emplace_back("write returned no status");
  if (i.write(std::vector<batch_view>{}) != PL_OK) found.emplace_back("writing nothing failed: " + host.error_text());
}

inline void check_source(instance& i, problems& found) {
  batch out;
  if (const auto s = i.poll(out, 0, 0, std::chrono::nanoseconds(0)); s == PL_OK && out && out.get().rows() != 0)
    found.emplace_back("poll returned rows where there was no room");
  for (int k = 0; k < 10; ++k) {
    const auto s = i.poll(out, 3, 1 << 20, std::chrono::milliseconds(100));
    if (!is_status(s)) found.emplace_back("poll returned no status");
    if (s != PL_OK) continue;
    if (out.get().rows() > 3) found.emplace_back("poll returned more rows than there was room for");
    if (!out.get().has_positions() && out.get().rows() != 0) found.emplace_back("a source's rows have no positions");
    check_batch("a polled batch", out.get(), found);
  }
}

}  // namespace detail

// The tables: names, documentation, functions, options.
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
      found.push_back(name + ": create, start, stop and destroy are needed");
    if (c.role == PL_SOURCE      ? !c.poll || !c.seek || !c.settle
        : c.role == PL_TRANSFORM ? !c.apply
        : c.role == PL_SINK      ? !c.write
                                 : true)
      found.push_back(name + ": the functions of its role are not all there");
    if (c.extension && c.extension(nullptr, borrow("no/such")) != nullptr)
      found.push_back(name + ": answers for an extension that isn't");
    detail::check_options(name, c.options, c.noptions, found);
  }
  return found;
}

// A life under odd input. `options`: what the component needs; `columns`: names that it reads. Where start needs a server
// that isn't there, set `started` to false: everything but the flow is checked.
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
    if (started) {
      if (i.start() != PL_OK) return {"start failed: " + host.error_text()};
      if (component.role == PL_TRANSFORM) detail::check_transform(i, host, columns, found);
      if (component.role == PL_SINK) detail::check_sink(i, host, columns, found);
      if (component.role == PL_SOURCE) detail::check_source(i, found);
      if (i.stop() != PL_OK) found.push_back("stop failed: " + host.error_text());
    }
  }
  if (host.live_batches() != 0) found.push_back(std::to_string(host.live_batches()) + " batches were never released");
  for (const auto& v : host.violations()) found.push_back(v);
  return found;
}

}  // namespace pl::testing
