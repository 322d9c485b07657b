// SPDX-License-Identifier: Apache-2.0
// Creates the tables of abi.h from C++ classes. A plugin needs one line: PL_EXPORT("1.0.0", my_source, my_sink)
#pragma once

#include <pipeline/component.hpp>

#include <array>
#include <concepts>
#include <memory>

namespace pl::detail {

template <class T>
struct instance {
  instance(const pl_host* h, typename T::options o) : host(h), object(std::move(o), context(h)) {}
  const pl_host* host;
  T object;
  column_set columns{};  // pl_columns.kinds points here until the next call
};

inline pl_status report(const pl_host* host, const failure& why) noexcept {
  if (!why.message.empty() || !why.option.empty()) host->error(host->ctx, borrow(why.message), borrow(why.option));
  return static_cast<pl_status>(why.code);
}

// Call `body`, which returns a result<void>, and turn an exception into PL_FATAL with its what(): no exception may
// cross the boundary.
template <class F>
pl_status guard(const pl_host* host, F&& body) noexcept {
  try {
    const result<void> r = body();
    return r.ok() ? static_cast<pl_status>(PL_OK) : report(host, r.why());
  } catch (const invalid_options& e) {
    return report(host, bad_option(e.option(), e.what()));
  } catch (const std::bad_alloc&) {
    host->error(host->ctx, borrow("out of memory"), pl_str{});
  } catch (const std::exception& e) {
    host->error(host->ctx, borrow(e.what()), pl_str{});
  } catch (...) {
    host->error(host->ctx, borrow("an exception that is not a std::exception"), pl_str{});
  }
  return PL_FATAL;
}

template <class T, class F>
pl_status call(void* self, F&& body) noexcept {
  auto& i = *static_cast<instance<T>*>(self);
  return guard(i.host, [&] { return body(i.object, i.host); });
}

// The functions that every component has. The host calls them through C pointers, so none of them may throw: `guard`
// catches what the component throws.
template <class T>
struct life {
  static pl_status create(const pl_host* host, const pl_cell* config, void** self) noexcept {
    return guard(host, [&]() -> result<void> {
      typename T::options o;
      table_of<typename T::options>().decode(config, o);
      *self = new instance<T>(host, std::move(o));
      return {};
    });
  }
  static pl_status check(void* self) noexcept {
    return call<T>(self, [](T& t, auto) { return t.check(); });
  }
  static pl_status start(void* self) noexcept {
    return call<T>(self, [](T& t, auto) { return t.start(); });
  }
  static pl_status stop(void* self) noexcept {
    return call<T>(self, [](T& t, auto) { return t.stop(); });
  }
  static void destroy(void* self) noexcept {
    const auto* host = static_cast<instance<T>*>(self)->host;
    (void)guard(host, [&]() -> result<void> {
      delete static_cast<instance<T>*>(self);
      return {};
    });
  }
};

template <class T>
struct calls {
  static pl_status poll(void* self, std::uint32_t max_rows, std::size_t max_bytes, std::int64_t timeout,
                        pl_batch** out) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      auto got = t.poll({max_rows, max_bytes, std::chrono::nanoseconds(timeout)});
      if (!got.ok()) return got.why();
      *out = got->release();
      return *out ? result<void>{} : nothing_yet();
    });
  }
  static void settle(void* self, const pl_range* ranges, std::uint32_t n) noexcept {
    (void)call<T>(self, [&](T& t, auto) -> result<void> {
      t.settle({ranges, n});
      return {};
    });
  }
  static pl_status apply(void* self, pl_batch* b, void* to, pl_emit emit) noexcept {
    return call<T>(self, [&](T& t, const pl_host* host) {
      emitter out(host, to, emit);
      return t.apply(batch_view(b), out);
    });
  }
  static pl_status tick(void* self, std::int64_t now, void* to, pl_emit emit) noexcept {
    return call<T>(self, [&](T& t, const pl_host* host) {
      emitter out(host, to, emit);
      return t.tick(timestamp(std::chrono::nanoseconds(now)), out);
    });
  }
  static void revoked(void* self, pl_str stream) noexcept {
    (void)call<T>(self, [&](T& t, auto) -> result<void> {
      t.revoked(view(stream));
      return {};
    });
  }
  static pl_status write(void* self, pl_batch* const* batches, std::uint32_t n) noexcept {
    return call<T>(self, [&](T& t, auto) { return t.write(batch_list(batches, n)); });
  }
  static pl_status columns(void* self, const pl_columns* in, std::uint32_t port, pl_columns* out) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      auto found = t.typed_columns(column_set::of(*in), port);
      if (!found.ok()) return found.why();
      auto& last = static_cast<instance<T>*>(self)->columns;
      last = *std::move(found);
      *out = last.raw();
      return {};
    });
  }
  static pl_status position(void* self, pl_str source, pl_str stream, pl_position* out) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      auto at = t.position(view(source), view(stream));
      if (!at.ok()) return at.why();
      *out = *at;
      return {};
    });
  }
  static pl_status claim(void* self, pl_str source, pl_str stream, pl_position seen, pl_position wanted,
                         pl_state_watermark watermark) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      auto claimed = t.claim(view(source), view(stream), seen, wanted, watermark);
      if (!claimed.ok()) return claimed.why();
      return *claimed ? result<void>{} : nothing_yet();
    });
  }
  static pl_status load(void* self, pl_str source, pl_str stream, void* to, pl_entry entry) noexcept {
    return call<T>(self, [&](T& t, auto) {
      return t.load(view(source), view(stream),
                    [&](std::string_view node, std::string_view key, std::string_view value) {
                      entry(to, borrow(node), borrow(key), borrow(value));
                    });
    });
  }
  static pl_status streams(void* self, pl_str source, void* to, pl_stream_entry entry) noexcept {
    return call<T>(self, [&](T& t, auto) {
      return t.streams(view(source), [&](std::string_view stream) { entry(to, borrow(stream)); });
    });
  }
  static pl_status open_alerts(void* self, void* to, pl_alert_entry entry) noexcept {
    return call<T>(self,
                   [&](T& t, auto) { return t.open_alerts([&](std::string_view json) { entry(to, borrow(json)); }); });
  }
  static pl_status restore(void* self, pl_str stream, pl_str key, pl_str value) noexcept {
    return call<T>(self, [&](T& t, auto) { return t.restore(view(stream), view(key), view(value)); });
  }
  static pl_status restored(void* self, pl_str stream, std::uint32_t flags) noexcept {
    return call<T>(self, [&](T& t, auto) {
      if ((flags & PL_RESTORED_DELIVERED) != 0) t.restored_delivered(view(stream));
      return t.restored(view(stream), (flags & PL_RESTORED_OFFSET_RESET) != 0);
    });
  }
  static pl_status snapshot(void* self, pl_str stream) noexcept {
    return call<T>(self, [&](T& t, auto) { return t.snapshot(view(stream)); });
  }
  static pl_status windows(void* self, pl_bound from, pl_bound until, void* to, pl_window_entry entry) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      const auto found = t.windows(from, until);
      if (!found.ok()) return found.why();
      for (const auto& w : *found) {
        const pl_window raw{borrow(w.stream), w.first, w.next, w.oldest, w.newest};
        entry(to, &raw);
      }
      return {};
    });
  }
  static std::vector<replayable::window> windows_of(const pl_window* raw, std::uint32_t n) {
    std::vector<replayable::window> all;
    for (std::uint32_t i = 0; i < n; ++i)
      all.push_back({std::string(view(raw[i].stream)), raw[i].first, raw[i].next, raw[i].oldest, raw[i].newest});
    return all;
  }
  static pl_status select(void* self, const pl_window* windows, std::uint32_t n) noexcept {
    return call<T>(self, [&](T& t, auto) { return t.select(windows_of(windows, n)); });
  }
  static pl_status reset_offsets(void* self, const pl_window* windows, std::uint32_t n) noexcept {
    return call<T>(self, [&](T& t, auto) { return t.reset_offsets(windows_of(windows, n)); });
  }
  static pl_status may_rewrite(void* self) noexcept {
    return call<T>(self, [](T& t, auto) { return t.may_rewrite(); });
  }
  static pl_status uses(void* self, void* to, pl_exclusive_entry entry) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      for (const auto& r : t.exclusive()) entry(to, borrow(r.kind), borrow(r.name), borrow(r.option));
      return {};
    });
  }
  static pl_status ports(void* self, void* to, pl_port_entry entry) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      for (const auto& name : t.ports()) entry(to, borrow(name));
      return {};
    });
  }
  static pl_status used(void* self, void* to, pl_column_entry entry, std::uint32_t* passes_on) noexcept {
    return call<T>(self, [&](T& t, auto) -> result<void> {
      const auto use = t.used_columns();
      for (const auto& column : use.columns) entry(to, borrow(column));
      if (use.everything) entry(to, pl_str{});
      *passes_on = use.passes_on ? 1 : 0;
      return {};
    });
  }
  static const void* extension(void*, pl_str name) noexcept {
    if constexpr (std::derived_from<T, columns_aware>) {
      static constexpr pl_ext_columns table{sizeof(pl_ext_columns), &columns};
      if (view(name) == PL_EXT_COLUMNS) return &table;
    }
    if constexpr (std::derived_from<T, position_store>) {
      static constexpr pl_ext_position_store table{sizeof(pl_ext_position_store), &position, &claim, &load, &streams};
      if (view(name) == PL_EXT_POSITION_STORE) return &table;
    }
    if constexpr (std::derived_from<T, stateful>) {
      static constexpr pl_ext_state table{sizeof(pl_ext_state), &restore, &restored, &snapshot};
      if (view(name) == PL_EXT_STATE) return &table;
    }
    if constexpr (std::derived_from<T, alerting>) {
      static constexpr pl_ext_alerts table{sizeof(pl_ext_alerts), &open_alerts};
      if (view(name) == PL_EXT_ALERTS) return &table;
    }
    if constexpr (std::derived_from<T, replayable>) {
      static constexpr pl_ext_replay table{sizeof(pl_ext_replay), &windows, &select, &reset_offsets};
      if (view(name) == PL_EXT_REPLAY) return &table;
    }
    if constexpr (std::derived_from<T, rewritable>) {
      static constexpr pl_ext_rewrite table{sizeof(pl_ext_rewrite), &may_rewrite};
      if (view(name) == PL_EXT_REWRITE) return &table;
    }
    if constexpr (std::derived_from<T, exclusive_user>) {
      static constexpr pl_ext_exclusive table{sizeof(pl_ext_exclusive), &uses};
      if (view(name) == PL_EXT_EXCLUSIVE) return &table;
    }
    if constexpr (std::derived_from<T, option_ports>) {
      static constexpr pl_ext_ports table{sizeof(pl_ext_ports), &ports};
      if (view(name) == PL_EXT_PORTS) return &table;
    }
    if constexpr (std::derived_from<T, column_user>) {
      static_assert(std::derived_from<T, transform>, "only a transform declares the columns that it uses");
      static constexpr pl_ext_demand table{sizeof(pl_ext_demand), &used};
      if (view(name) == PL_EXT_DEMAND) return &table;
    }
    return nullptr;
  }
};

// The table of one component, and the memory that it points to.
template <class T>
class component_table {
 public:
  component_table() : description_(T::describe()) {
    for (auto p : description_.ports) ports_.push_back(borrow(p));
    const auto& options = table_of<typename T::options>();
    raw_.size = sizeof raw_;
    raw_.caps = description_.abilities;
    raw_.name = borrow(description_.name);
    raw_.doc = borrow(description_.doc);
    raw_.example = borrow(description_.example);
    raw_.dead_letters = borrow(description_.dead_letters);
    raw_.options = options.raw();
    raw_.noptions = options.size();
    raw_.create = life<T>::create;
    raw_.check = life<T>::check;
    raw_.start = life<T>::start;
    raw_.stop = life<T>::stop;
    raw_.destroy = life<T>::destroy;
    raw_.extension = calls<T>::extension;
    set_role();
  }
  component_table(const component_table&) = delete;
  component_table& operator=(const component_table&) = delete;
  [[nodiscard]] const pl_component* raw() const noexcept { return &raw_; }

 private:
  void set_role() {
    if constexpr (std::derived_from<T, source>) {
      raw_.role = PL_SOURCE;
      raw_.poll = calls<T>::poll;
      raw_.settle = calls<T>::settle;
      set_ports();
    } else if constexpr (std::derived_from<T, transform>) {
      raw_.role = PL_TRANSFORM;
      raw_.apply = calls<T>::apply;
      raw_.tick = calls<T>::tick;
      raw_.revoked = calls<T>::revoked;
      set_ports();
    } else {
      static_assert(std::derived_from<T, sink>, "a component derives from pl::source, pl::transform or pl::sink");
      raw_.role = PL_SINK;
      raw_.write = calls<T>::write;
    }
  }
  void set_ports() {
    if constexpr (std::derived_from<T, option_ports>) {
      static_assert(std::derived_from<T, transform>, "only the ports of a transform depend on its options");
      raw_.caps |= PL_OPTION_PORTS;
      return;
    }
    raw_.ports = ports_.data();
    raw_.nports = static_cast<std::uint32_t>(ports_.size());
  }
  description description_;
  std::vector<pl_str> ports_;
  pl_component raw_{};
};

template <class... T>
pl_plugin make_plugin(std::string_view version) {
  static const std::tuple<component_table<T>...> tables;
  static const std::array<const pl_component*, sizeof...(T)> list{std::get<component_table<T>>(tables).raw()...};
  return {sizeof(pl_plugin), PL_ABI_MINOR, sizeof...(T), 0, list[0]->name, borrow(version), list.data()};
}

}  // namespace pl::detail

// Export the plugin: its version and the classes of its components. Use it once in a shared library, in the global
// namespace.
#define PL_EXPORT(version, ...) \
  extern "C" PL_PUBLIC const pl_plugin pl_plugin_v1 = pl::detail::make_plugin<__VA_ARGS__>(version);
