// SPDX-License-Identifier: Apache-2.0
#include "config/secret_mask.hpp"

#include "config/secrets.hpp"

#include <pipeline/text.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace pl::config {

namespace {

constexpr std::string_view mark = "<secret>";
constexpr std::size_t max_parts = 12;
constexpr auto npos = std::string_view::npos;

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain =
        is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'z') || std::string_view("-._~").find(c) != npos;
    if (plain)
      out.push_back(c);
    else
      append_percent(out, c);
  }
  return out;
}

std::string json_escaped(std::string_view text) {
  std::string quoted;
  append_json_string(quoted, text);
  return quoted.substr(1, quoted.size() - 2);
}

// Many programs write percent escapes in lower case.
std::string with_lower_escapes(std::string text) {
  for (std::size_t i = 0; i + 2 < text.size(); ++i) {
    if (text[i] != '%') continue;
    text[i + 1] = to_lower(text[i + 1]);
    text[i + 2] = to_lower(text[i + 2]);
  }
  return text;
}

// Return whether a parameter of a URL has the name of a secret.
bool names_secret(std::string_view name) {
  static constexpr std::array<std::string_view, 9> words = {"key",  "secret", "token", "pass",      "pwd",
                                                            "auth", "sig",    "code",  "credential"};
  std::string lower(name);
  for (auto& c : lower) c = to_lower(c);
  return std::any_of(words.begin(), words.end(), [&](std::string_view w) { return lower.find(w) != npos; });
}

struct credentials {
  std::string_view user, password;
};

// The user and the password of a URL: between "://" and the last '@' before the query, divided at the first ':'.
std::optional<credentials> url_credentials(std::string_view text) {
  const auto scheme = text.find("://");
  if (scheme == npos) return std::nullopt;
  const auto begin = scheme + 3;
  auto host = text.rfind('@');
  if (host == npos || host < begin) return std::nullopt;
  // A query may contain an '@', too.
  if (const auto query = text.rfind('?', host);
      query != npos && query > begin && text.substr(query, host - query).find('=') != npos)
    if (const auto before = text.rfind('@', query); before != npos && before >= begin) host = before;
  const auto colon = text.find(':', begin);
  if (colon == npos || colon >= host) return std::nullopt;
  return credentials{text.substr(begin, colon - begin), text.substr(colon + 1, host - colon - 1)};
}

}  // namespace

void secret_mask::add(std::string_view secret) {
  if (secret.empty()) return;
  secrets_.emplace_back(secret);
  if (secret.find("://") != npos) {  // of a URL, the host and the path are needed in messages
    add_from(secret);
    // The parameters of a database's URL, such as sslmode, are not secret, those of a web service may all be.
    if (secret.starts_with("http")) add_parameters(secret, true);
    return;
  }
  std::vector<std::size_t> begins;
  for (std::size_t at = 0; at < secret.size() && begins.size() < max_parts;) {
    begins.push_back(at);
    const auto end = std::min(secret.find_first_of(" \t@/:?#", at), secret.size());
    for (const auto begin : begins) add_forms(secret.substr(begin, end - begin));
    at = end + 1;
  }
}

void secret_mask::add_from(std::string_view text) {
  if (text.find("://") != npos) add_parameters(text, false);
  if (const auto found = url_credentials(text)) {
    add(found->password);
    add_user(found->user);
    if (const auto decoded = percent_decode(found->user); decoded && *decoded != found->user) add_user(*decoded);
    text.remove_prefix(static_cast<std::size_t>(found->password.data() - text.data()) + found->password.size());
  }
  for (const auto& range : find_secrets(text)) add(trim(text.substr(range.begin, range.end - range.begin), "\"' "));
}

// Add the values of the parameters of a URL: those whose name is that of a secret, or also all long ones.
void secret_mask::add_parameters(std::string_view url, bool long_ones) {
  constexpr std::size_t long_value = 8;
  auto at = url.find('?', url.find("://"));
  while (at != npos) {
    const auto end = url.find_first_of("&;# \t\"'<>", at + 1);
    const auto item = url.substr(at + 1, end == npos ? npos : end - at - 1);
    const auto equals = item.find('=');
    if (equals != npos && (names_secret(item.substr(0, equals)) || (long_ones && item.size() - equals > long_value))) {
      std::string value(item.substr(equals + 1));
      add(value);
      std::replace(value.begin(), value.end(), '+', ' ');  // as a server decodes it
      if (value != item.substr(equals + 1)) add(value);
    }
    at = end != npos && (url[end] == '&' || url[end] == ';') ? end : npos;
  }
}

void secret_mask::add_user(std::string_view name) {
  if (!name.empty()) users_.emplace_back(name);
}

void secret_mask::add_forms(std::string_view value) {
  const auto add_encoded = [this](std::string_view text) {
    add_form(std::string(text));
    add_form(json_escaped(text));
    auto encoded = percent_encoded(text);
    add_form(with_lower_escapes(encoded));
    add_form(std::move(encoded));
  };
  add_encoded(value);
  add_form(with_lower_escapes(std::string(value)));
  if (const auto decoded = percent_decode(value); decoded && *decoded != value) add_encoded(*decoded);
}

void secret_mask::add_form(std::string form) {
  if (form.size() >= min_bytes) values_.push_back(std::move(form));
}

void secret_mask::finish() {
  for (const auto& secret : secrets_) {
    add_forms(secret);
    const auto decoded = percent_decode(secret);
    for (const auto& user : users_) {
      add_form(base64(user + ":" + secret));
      if (decoded && *decoded != secret) add_form(base64(user + ":" + *decoded));
    }
  }
  secrets_.clear();
  users_.clear();
  std::sort(values_.begin(), values_.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  });
  values_.erase(std::unique(values_.begin(), values_.end()), values_.end());
}

std::string secret_mask::masked(std::string_view text) const {
  std::string out(text);
  for (const auto& value : values_)
    for (auto at = out.find(value); at != npos; at = out.find(value, at + mark.size()))
      out.replace(at, value.size(), mark);
  std::string_view rest = out;
  for (const std::string_view dots : {"...", "\xE2\x80\xA6"})
    if (rest.ends_with(dots)) rest.remove_suffix(dots.size());
  for (const auto& value : values_) {
    for (auto size = std::min(value.size() - 1, rest.size()); size >= min_bytes; --size) {
      if (!rest.ends_with(std::string_view(value).substr(0, size))) continue;
      return out.replace(rest.size() - size, size, mark);
    }
  }
  return out;
}

}  // namespace pl::config
