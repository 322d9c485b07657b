// SPDX-License-Identifier: Apache-2.0
// Check a node's options against its component's table, and convert them to the cells that `create` receives.
#pragma once

#include "config/diagnostics.hpp"
#include "config/pipeline.hpp"
#include "config/secret_mask.hpp"

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

/// Owns cells and their memory, whose addresses stay the same when this object is moved. Immutable, so any thread may
/// read it. Must outlive the instance created from it.
class bound_options {
 public:
  bound_options();
  bound_options(bound_options&&) noexcept;
  bound_options& operator=(bound_options&&) noexcept;
  ~bound_options();

  /// One cell for each option, in the order of the table, as `pl_component.create` expects. Never null.
  [[nodiscard]] const pl_cell* cells() const;
  [[nodiscard]] std::size_t size() const;

  /// Return the position of an option such as "table" or "rules[2].for". For an option that is not specified, return
  /// the position of its nearest specified parent, or of the node. "where@12" is byte 12 of the option's text;
  /// "rename.a@key" is the key of a member of a map.
  [[nodiscard]] location position_of(std::string_view option_path) const;

  /// Return whether an error was reported for the value of an option before it was bound, such as a variable that is not
  /// set. The option has a null cell then, so that what its component reports about it is a consequence of that error.
  [[nodiscard]] bool broken(std::string_view option_path) const;

  /// Return the mask of the node's secrets, for messages of its component.
  [[nodiscard]] const secret_mask& secrets() const;

  /// Return the options (PL_FILE) whose files have changed since they were bound, or differ from those of `before`: paths
  /// such as "tls.cert".
  [[nodiscard]] std::vector<std::string> changed_files() const;
  [[nodiscard]] std::vector<std::string> changed_files(const bound_options& before) const;

  /// Return whether both have the same values, including secrets. Positions are ignored.
  friend bool equal(const bound_options& a, const bound_options& b);

 private:
  friend class binder;
  struct memory;
  std::unique_ptr<memory> memory_;
};

bool equal(const bound_options& a, const bound_options& b);

/// Check every key of `n.options` and apply the defaults. Never fails: an invalid option is reported and has a null
/// cell. Do not create an instance if errors were added to `problems`.
[[nodiscard]] bound_options bind(const node& n, const pl_component& component, diagnostics& problems);

/// Run the checks that need the components: each plugin must exist and have the role in which it is used, and each
/// `from` must name an existing port. Ports that depend on options (PL_OPTION_PORTS) are not known here.
void check_components(const pipeline& p, std::span<const pl_component* const> components, diagnostics& problems);

/// Return the component of that name, or null.
[[nodiscard]] const pl_component* find_component(std::span<const pl_component* const> components,
                                                 std::string_view name);

/// Return the names of a component's outputs, unless they depend on its options.
[[nodiscard]] std::vector<std::string> port_names(const pl_component& component);

/// Return the index of the named output; 0 if `port` is empty, nothing if there is no such port.
[[nodiscard]] std::optional<std::uint32_t> port_index(std::span<const std::string> ports, std::string_view port);

/// Report that a `from` names none of the outputs of `of`.
void report_unknown_port(const input& in, const node& of, std::span<const std::string> ports, diagnostics& problems);

}  // namespace pl::config
