// SPDX-License-Identifier: Apache-2.0
// route sends each row to the ports whose conditions it meets. The options name the ports.
#pragma once

#include <pipeline/component.hpp>

#include <cel_common/expression_option.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace route {

enum class matching { first, all };
constexpr std::array<std::pair<std::string_view, matching>, 2> choices(matching) {
  return {{{"first", matching::first}, {"all", matching::all}}};
}

struct options {
  pl::ordered_map<std::string> routes;
  matching match = matching::first;

  static pl::option_table<options> table();
};

class route final : public pl::transform, public pl::columns_aware, public pl::column_user, public pl::option_ports {
 public:
  using options = ::route::options;

  static pl::description describe();
  route(const options& o, pl::context ctx);

  [[nodiscard]] std::vector<std::string> ports() const override { return ports_; }
  pl::result<const pl_schema*> columns(const pl_schema* in, std::uint32_t) override { return in; }
  pl::result<pl::column_set> typed_columns(const pl::column_set& in, std::uint32_t port) override;
  [[nodiscard]] pl::column_use used_columns() const override;
  pl::result<void> apply(pl::batch_view in, pl::emitter& out) override;

 private:
  void emit(pl::batch_view in, const std::vector<pl::row_index>& rows, std::uint32_t port, pl::emitter& out) const;

  pl::context ctx_;
  matching match_;
  std::vector<std::string> ports_;  // the routes, and `otherwise`
  std::vector<pl::cel::expression_option> conditions_;

  // Of the current call; kept to reuse their memory.
  std::vector<pl::row_index> all_, matched_, failed_, unmatched_, remaining_;
};

}  // namespace route
