// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace pl::telemetry {

// A sentence for a person: what failed and what to do about it.
struct error {
  std::string message;
};

// A value or an error. Reading the side that isn't there is a programming error: std::variant throws.
template <class Value>
class [[nodiscard]] result {
 public:
  result(Value value) : state_(std::in_place_index<0>, std::move(value)) {}
  result(telemetry::error failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  explicit operator bool() const noexcept { return state_.index() == 0; }
  Value& operator*() & { return std::get<0>(state_); }
  const Value& operator*() const& { return std::get<0>(state_); }
  Value&& operator*() && { return std::get<0>(std::move(state_)); }
  Value* operator->() { return &std::get<0>(state_); }
  const Value* operator->() const { return &std::get<0>(state_); }
  const telemetry::error& failure() const { return std::get<1>(state_); }

 private:
  std::variant<Value, telemetry::error> state_;
};

}  // namespace pl::telemetry
