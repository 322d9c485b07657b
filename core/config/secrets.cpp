// SPDX-License-Identifier: Apache-2.0
#include "config/secrets.hpp"

#include "config/text.hpp"
#include "config/value.hpp"

#include <array>

namespace pl::config {

namespace {

using range = source_text::range;
constexpr auto npos = std::string_view::npos;

constexpr std::array<std::string_view, 10> secret_words = {"password",    "passwd",    "passphrase", "secret",
                                                           "token",       "api_key",   "apikey",     "access_key",
                                                           "private_key", "credential"};

void find_url_passwords(std::string_view line, std::vector<range>& found) {
  for (auto at = line.find("://"); at != npos; at = line.find("://", at + 3)) {
    const auto user = at + 3;
    const auto stop = line.find_first_of(" \t\"'<>`", user);
    const auto host = line.substr(user, stop == npos ? npos : stop - user).rfind('@');
    if (host == npos) continue;
    const auto colon = line.substr(user, host).find(':');
    if (colon == npos || colon + 1 == host) continue;
    const range password{user + colon + 1, user + host};
    if (!is_mere_reference(line.substr(password.begin, password.end - password.begin))) found.push_back(password);
  }
}

// Return the end of the value that begins at `at`: the end of its quotes, flow item, word after '=', or line.
std::size_t value_end(std::string_view line, std::size_t at, char separator) {
  const char first = line[at];
  if (first == '"' || first == '\'') {
    for (auto i = at + 1; i < line.size(); ++i) {
      if (first == '"' && line[i] == '\\') {
        ++i;
      } else if (line[i] == first) {
        return i + 1;
      }
    }
    return line.size();
  }
  // a password may contain anything up to the end of the line; only a YAML separator ends it earlier
  const bool in_url = line.substr(0, at).find("://") != npos;  // there, '&' separates the parameters
  const auto stop = separator == '=' ? line.find_first_of(in_url ? " \t\"'&" : " \t\"'", at) : line.find(", ", at);
  auto end = stop == npos ? line.size() : stop;
  while (end > at && (line[end - 1] == ' ' || line[end - 1] == '\r' || line[end - 1] == '}')) --end;
  return end;
}

void find_named_secret(std::string_view line, std::string_view lower, std::string_view word,
                       std::vector<range>& found) {
  for (auto at = lower.find(word); at != npos; at = lower.find(word, at + 1)) {
    auto i = at + word.size();
    if (i < line.size() && lower[i] == 's') ++i;
    while (i < line.size() && (line[i] == '"' || line[i] == '\'' || line[i] == ' ')) ++i;
    if (i >= line.size() || (line[i] != ':' && line[i] != '=')) continue;
    const char separator = line[i++];
    if (separator == ':' && i < line.size() && line[i] != ' ' && line[i] != '\t') continue;
    while (i < line.size() && (line[i] == ' ' || line[i] == '\t')) ++i;
    if (i >= line.size() || line[i] == '#') continue;
    const range value{i, value_end(line, i, separator)};
    auto text = line.substr(value.begin, value.end - value.begin);
    if (text.size() > 1 && (text.front() == '"' || text.front() == '\'')) text = text.substr(1, text.size() - 2);
    if (line[i] == '$' && value.end < line.size() && line[value.end] == '}') text = line.substr(i, value.end + 1 - i);
    if (value.begin < value.end && !is_mere_reference(text)) found.push_back(value);
  }
}

}  // namespace

std::vector<range> find_secrets(std::string_view line) {
  std::vector<range> found;
  find_url_passwords(line, found);
  auto lower = to_lower(line);
  for (auto& c : lower) {
    if (c == '-') c = '_';
  }
  for (const auto word : secret_words) find_named_secret(line, lower, word, found);
  return found;
}

std::vector<range> find_private_keys(std::string_view text) {
  std::vector<range> found;
  for (auto at = text.find("-----BEGIN "); at != npos; at = text.find("-----BEGIN ", at + 1)) {
    const auto label_end = text.find("-----", at + 11);
    if (label_end == npos || text.substr(at, label_end - at).find("PRIVATE KEY") == npos) continue;
    const auto end = text.find("-----END ", label_end);
    found.push_back({label_end + 5, end == npos ? text.size() : end});
  }
  return found;
}

}  // namespace pl::config
