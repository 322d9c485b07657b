// SPDX-License-Identifier: Apache-2.0
// The result of a plugin's function: a value, or a failure with its status and message.
#pragma once

#include <pipeline/abi.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace pl {

enum class status : pl_status {
  ok = PL_OK,
  again = PL_AGAIN,    // poll: no records now
  end = PL_END,        // poll: no further records will ever arrive
  retry = PL_RETRY,    // a later call with the same arguments may succeed
  reject = PL_REJECT,  // some rows can never be written
  fenced = PL_FENCED,  // another host has claimed the stream
  fatal = PL_FATAL     // only a change by an operator helps
};

// Describes a failed call. message: what happened and what to do. option: the path of the invalid option
// ("rules[2].for"), which the host reports with file, line and column. "where@12" is byte 12 of the option's text.
struct failure {
  status code = status::fatal;
  std::string message;
  std::string option;
};

[[nodiscard]] inline failure retry(std::string message) { return {status::retry, std::move(message), {}}; }
[[nodiscard]] inline failure rejected(std::string message) { return {status::reject, std::move(message), {}}; }
[[nodiscard]] inline failure fenced(std::string message) { return {status::fenced, std::move(message), {}}; }
[[nodiscard]] inline failure fatal(std::string message) { return {status::fatal, std::move(message), {}}; }
[[nodiscard]] inline failure bad_option(std::string option, std::string message) {
  return {status::fatal, std::move(message), std::move(option)};
}
[[nodiscard]] inline failure nothing_yet() { return {status::again, {}, {}}; }
[[nodiscard]] inline failure end_of_stream() { return {status::end, {}, {}}; }

// A value or a failure.
template <class T>
class [[nodiscard]] result {
 public:
  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}    // NOLINT(google-explicit-constructor)
  result(failure why) : state_(std::in_place_index<1>, std::move(why)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] T& value() & { return std::get<0>(state_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(state_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(state_)); }
  [[nodiscard]] const failure& why() const { return std::get<1>(state_); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, failure> state_;
};

template <>
class [[nodiscard]] result<void> {
 public:
  result() = default;
  result(failure why) : why_(std::move(why)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const noexcept { return !why_; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const failure& why() const { return *why_; }

 private:
  std::optional<failure> why_;
};

[[nodiscard]] constexpr std::string_view view(pl_str s) noexcept {
  return s.n == 0 ? std::string_view{} : std::string_view{s.p, s.n};
}
[[nodiscard]] constexpr pl_str borrow(std::string_view s) noexcept { return {s.data(), s.size()}; }

}  // namespace pl
