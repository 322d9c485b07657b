// SPDX-License-Identifier: Apache-2.0
// A node's options, checked against its component's table and turned into the cells that `create` gets.
#pragma once

#include "config/diagnostics.hpp"
#include "config/pipeline.hpp"

#include <pipeline/abi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

/// Cells and the memory behind them, which stays where it is while this object is moved. Immutable, so it may be read
/// from any thread. Must live as long as the instance created from it.
class bound_options {
 public:
  bound_options();
  bound_options(bound_options&&) noexcept;
  bound_options& operator=(bound_options&&) noexcept;
  ~bound_options();

  /// One for each option of the table, in its order: what `pl_component.create` takes. Never null.
  [[nodiscard]] const pl_cell* cells() const;
  [[nodiscard]] std::size_t size() const;

  /// Where the option is written: "table", "rules[2].for". What isn't written: the nearest parent that is, at last the
  /// node.
  [[nodiscard]] location position_of(std::string_view option_path) const;

  /// Whether both hold the same values (wherever they are written). Secrets count.
  friend bool equal(const bound_options& a, const bound_options& b);

 private:
  friend class binder;
  struct memory;
  std::unique_ptr<memory> memory_;
};

bool equal(const bound_options& a, const bound_options& b);

/// Checks every key of `n.options`, applies the defaults. Never fails: what is wrong is reported, and has a null cell.
/// Don't create an instance where `problems` got errors.
[[nodiscard]] bound_options bind(const node& n, const pl_component& component, diagnostics& problems);

/// What can be checked once the components are known: that each plugin exists and has the role it is used in, and that
/// each `from` names a port that is there.
void check_components(const pipeline& p, std::span<const pl_component* const> components, diagnostics& problems);

/// One node and all that an instance of it is created from.
struct bound_node {
  const config::node* node;
  const pl_component* component;
  bound_options options;
};

/// All of the above for a whole pipeline: check_components, and bind for each node whose plugin is there and fits.
/// In the order of p.nodes(). `p` and the components must outlive the result.
[[nodiscard]] std::vector<bound_node> bind_all(const pipeline& p, std::span<const pl_component* const> components,
                                               diagnostics& problems);

/// The component of that name, or null.
[[nodiscard]] const pl_component* find_component(std::span<const pl_component* const> components,
                                                 std::string_view name);

/// Index of the output that `in` reads: its port by name, 0 where none is named, nothing where there is no such port.
[[nodiscard]] std::optional<std::uint32_t> port_index(const pl_component& component, std::string_view port);

/// What is wrong with a component's option table itself (double keys, unknown kinds, defaults that don't parse, keys
/// that belong to the host). For the conformance battery and the loader. Empty: all is well.
[[nodiscard]] std::vector<std::string> faults_of(const pl_component& component);

}  // namespace pl::config
