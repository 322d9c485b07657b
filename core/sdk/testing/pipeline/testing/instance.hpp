// SPDX-License-Identifier: Apache-2.0
// Options for tests as C++ values, and one living instance of a component under a fake_host.
//
//   pl::testing::instance alerts(host, *component, {{"rules", list({object({{"name", "hot"}, {"above", 80.0}})})}});
//   alerts.create();
#pragma once

#include <pipeline/component.hpp>
#include <pipeline/options.hpp>
#include <pipeline/testing/fake_host.hpp>

#include <algorithm>
#include <deque>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace pl::testing {

// A value of a configuration. Durations: std::chrono; sizes: byte_size or an integer.
struct config_value {
  enum class shape { scalar, list, map } is = shape::scalar;
  pl::scalar value;
  std::vector<config_value> items;
  std::vector<std::pair<std::string, config_value>> fields;

  config_value() = default;
  config_value(const char* text) : value(std::string(text)) {}  // NOLINT(google-explicit-constructor)
  config_value(std::string text) : value(std::move(text)) {}    // NOLINT(google-explicit-constructor)
  config_value(bool v) : value(v) {}                            // NOLINT(google-explicit-constructor)
  config_value(int v) : value(std::int64_t{v}) {}               // NOLINT(google-explicit-constructor)
  config_value(std::int64_t v) : value(v) {}                    // NOLINT(google-explicit-constructor)
  config_value(double v) : value(v) {}                          // NOLINT(google-explicit-constructor)
  template <class Rep, class Period>
  config_value(std::chrono::duration<Rep, Period> d)  // NOLINT(google-explicit-constructor)
      : value(std::int64_t{std::chrono::duration_cast<std::chrono::nanoseconds>(d).count()}) {}
  config_value(byte_size s) : value(static_cast<std::int64_t>(s.bytes)) {}  // NOLINT(google-explicit-constructor)
};
using config_fields = std::vector<std::pair<std::string, config_value>>;

inline config_value list(std::vector<config_value> items) {
  config_value v;
  v.is = config_value::shape::list;
  v.items = std::move(items);
  return v;
}
inline config_value object(config_fields fields) {  // also for maps
  config_value v;
  v.is = config_value::shape::map;
  v.fields = std::move(fields);
  return v;
}

// The cells of an array of options, as the host passes them to `create`.
class config_cells {
 public:
  config_cells(const pl_option* options, std::uint32_t n, const config_fields& given) {
    cells_ = fill(options, n, given);
  }
  [[nodiscard]] const pl_cell* raw() const noexcept { return cells_; }

 private:
  const pl_cell* fill(const pl_option* options, std::uint32_t n, const config_fields& given) {
    auto& to = memory_.emplace_back(n == 0 ? 1 : n, null_cell());
    for (const auto& [key, value] : given) {
      std::uint32_t i = 0;
      while (i < n && view(options[i].key) != key) ++i;
      if (i == n) throw std::invalid_argument("no option '" + key + "'");
      to[i] = convert(options[i], options[i].kind, value);
    }
    for (std::uint32_t i = 0; i < n; ++i)
      if (is_null(to[i]) && options[i].def.n != 0) to[i] = parse_default(options[i]);
    return to.data();
  }
  pl_cell text(std::string t) { return text_cell(texts_.emplace_back(std::move(t))); }
  pl_cell convert(const pl_option& o, std::uint32_t kind, const config_value& v) {
    if (kind == PL_OPT_OBJECT) return {PL_OBJECT, o.nfields, {.items = fill(o.fields, o.nfields, v.fields)}};
    if (kind == PL_OPT_LIST) {
      auto& to = memory_.emplace_back();
      for (const auto& item : v.items) to.push_back(convert(o, o.element, item));
      return {PL_LIST, static_cast<std::uint32_t>(to.size()), {.items = to.data()}};
    }
    if (kind == PL_OPT_MAP) {
      auto& to = memory_.emplace_back();
      for (const auto& [key, item] : v.fields) {
        to.push_back(text(key));
        to.push_back(convert(o, o.element, item));
      }
      return {PL_MAP, static_cast<std::uint32_t>(v.fields.size()), {.items = to.data()}};
    }
    return scalar_cell(kind, v.value);
  }
  pl_cell scalar_cell(std::uint32_t kind, const pl::scalar& s) {
    if (const auto* b = std::get_if<bool>(&s)) return bool_cell(*b);
    if (const auto* i = std::get_if<std::int64_t>(&s))
      return kind == PL_OPT_FLOAT ? real_cell(static_cast<double>(*i)) : int_cell(*i);
    if (const auto* d = std::get_if<double>(&s)) return real_cell(*d);
    if (const auto* t = std::get_if<std::string>(&s)) return text(*t);
    return null_cell();
  }
  // Parse the defaults of simple kinds, for components written in C. Components that use the SDK keep their member
  // initialisers if the cell is null.
  pl_cell parse_default(const pl_option& o) {
    const std::string def(view(o.def));
    switch (o.kind) {
      case PL_OPT_TEXT:
      case PL_OPT_CHOICE:
        return text(def);
      case PL_OPT_BOOL:
        return bool_cell(def == "true");
      case PL_OPT_INT:
        return int_cell(std::stoll(def));
      case PL_OPT_FLOAT:
        return real_cell(std::stod(def));
      default:
        return null_cell();
    }
  }
  std::deque<std::vector<pl_cell>> memory_;
  std::deque<std::string> texts_;
  const pl_cell* cells_ = nullptr;
};

// A batch that a transform emitted, with one reference.
struct emitted {
  std::uint32_t port;
  batch data;
};

// Call "columns/1" of a component that offers it.
inline pl_status ask_columns(const pl_component& component, void* self, const column_set& in, std::uint32_t port,
                             column_set& out) {
  const auto* table = static_cast<const pl_ext_columns*>(component.extension(self, borrow(PL_EXT_COLUMNS)));
  const auto given = in.raw();
  pl_columns found{};
  const auto code = table->columns(self, &given, port, &found);
  out = column_set::of(found);
  return code;
}
// Call "columns/1" without kinds; `out` is null if the output is not known.
inline pl_status ask_columns(const pl_ext_columns& table, void* self, const pl_schema* in, std::uint32_t port,
                             const pl_schema*& out) {
  const pl_columns given{in, nullptr};
  pl_columns found{};
  const auto code = table.columns(self, &given, port, &found);
  out = found.schema;
  return code;
}

// Return the names of the output ports of a component with PL_OPTION_PORTS.
inline std::vector<std::string> ask_ports(const pl_component& component, void* self) {
  std::vector<std::string> names;
  const auto* table = static_cast<const pl_ext_ports*>(component.extension(self, borrow(PL_EXT_PORTS)));
  const auto add = [](void* to, pl_str name) { static_cast<std::vector<std::string>*>(to)->emplace_back(view(name)); };
  if (table == nullptr || table->ports(self, &names, add) != PL_OK) throw std::logic_error("no output ports");
  return names;
}
inline std::uint32_t count_ports(const pl_component& component, void* self) {
  if ((component.caps & PL_OPTION_PORTS) != 0) return static_cast<std::uint32_t>(ask_ports(component, self).size());
  return std::max(1U, component.nports);
}

// One instance of a component. The destructor calls `destroy` if `create` succeeded.
class instance {
 public:
  instance(fake_host& host, const pl_component& component, const config_fields& options = {})
      : host_(host), component_(component), cells_(component.options, component.noptions, options) {}
  instance(const instance&) = delete;
  instance& operator=(const instance&) = delete;
  ~instance() { destroy(); }

  pl_status create() { return created_ = component_.create(&host_.raw(), cells_.raw(), &self_), created_; }
  pl_status check() { return component_.check ? component_.check(self_) : PL_OK; }
  pl_status start() { return component_.start(self_); }
  pl_status stop() { return component_.stop(self_); }
  void destroy() {
    if (created_ == PL_OK && self_ != nullptr) component_.destroy(std::exchange(self_, nullptr));
  }

  pl_status apply(batch_view in) { return component_.apply(self_, in.raw(), this, take); }
  pl_status tick(std::int64_t now_ns) { return component_.tick ? component_.tick(self_, now_ns, this, take) : PL_OK; }
  void revoked(std::string_view stream) {
    if (component_.revoked) component_.revoked(self_, borrow(stream));
  }
  [[nodiscard]] std::vector<emitted>& output() noexcept { return output_; }

  pl_status write(const std::vector<batch_view>& batches) {
    std::vector<pl_batch*> raw;
    for (auto b : batches) raw.push_back(b.raw());
    return component_.write(self_, raw.data(), static_cast<std::uint32_t>(raw.size()));
  }
  pl_status write(batch_view b) { return write(std::vector{b}); }

  pl_status poll(batch& out, std::uint32_t max_rows = 1000, std::size_t max_bytes = 1 << 20,
                 std::chrono::nanoseconds timeout = std::chrono::seconds(1)) {
    pl_batch* raw = nullptr;
    const auto code = component_.poll(self_, max_rows, max_bytes, timeout.count(), &raw);
    out = batch(&host_.raw(), raw);
    return code;
  }
  void settle(std::string_view stream, std::uint64_t first, std::uint64_t next) {
    const auto r = range_of(borrow(stream), first, next);
    component_.settle(self_, &r, 1);
  }
  [[nodiscard]] void* self() const noexcept { return self_; }
  [[nodiscard]] const pl_component& component() const noexcept { return component_; }

 private:
  static void take(void* to, std::uint32_t port, pl_batch* b) {
    auto& i = *static_cast<instance*>(to);
    i.output_.push_back({port, batch(&i.host_.raw(), b)});
  }
  fake_host& host_;
  const pl_component& component_;
  config_cells cells_;
  void* self_ = nullptr;
  pl_status created_ = PL_FATAL;
  std::vector<emitted> output_;
};

// Return the columns of its input that a transform declares to use, in order, "all columns" if it declares that, and "*" if it
// passes columns on; nothing if it does not declare any ("demand/1").
inline std::vector<std::string> ask_used_columns(const pl_component& of, void* self) {
  const auto* raw = of.extension == nullptr ? nullptr : of.extension(self, borrow(PL_EXT_DEMAND));
  const auto table = complete_table<pl_ext_demand>(raw);
  std::vector<std::string> all;
  if (table.used == nullptr) return all;
  std::uint32_t passes_on = 0;
  const auto add = [](void* to, pl_str column) {
    static_cast<std::vector<std::string>*>(to)->emplace_back(column.p == nullptr ? "all columns" : view(column));
  };
  if (table.used(self, &all, add, &passes_on) != PL_OK) return {};
  if (passes_on != 0) all.emplace_back("*");
  return all;
}

}  // namespace pl::testing
