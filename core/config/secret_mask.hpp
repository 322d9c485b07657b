// SPDX-License-Identifier: Apache-2.0
// Remove the values of secrets from messages: a server or a library may repeat the text that it received, also in part.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pl::config {

/// The secret values of one node, in the forms in which they occur in messages: as written, percent-encoded (with
/// escapes in upper and lower case) and decoded, escaped as in JSON, and as credentials of Basic authentication. Values with fewer than four bytes are not masked,
/// because they would occur in many words.
class secret_mask {
 public:
  static constexpr std::size_t min_bytes = 4;

  /// Add a secret, and its parts, also several in a row, between spaces, '@', '/', ':', '?' and '#': a parser of URLs may
  /// split it there. If it is a URL, only its password and the values of its parameters are added besides the whole.
  void add(std::string_view secret);
  /// Add the secrets that occur in a text that is not a secret: the user and the password of a URL, "password=...", and
  /// the parameters of a URL whose name is that of a secret, such as key, sig or code.
  void add_from(std::string_view text);
  /// Add a user name, which forms the credentials of Basic authentication with each secret.
  void add_user(std::string_view name);
  /// Call this after the last addition.
  void finish();

  [[nodiscard]] bool empty() const { return values_.empty(); }
  /// Return the text with "<secret>" in place of each value, and of a value's beginning at the end of the text, where a
  /// long message was cut.
  [[nodiscard]] std::string masked(std::string_view text) const;

 private:
  void add_form(std::string form);
  void add_forms(std::string_view value);
  void add_parameters(std::string_view url, bool long_ones);

  std::vector<std::string> secrets_, users_;
  std::vector<std::string> values_;  // longest first
};

}  // namespace pl::config
