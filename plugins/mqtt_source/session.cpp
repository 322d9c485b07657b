// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <pipeline/posix.hpp>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

namespace mqtt {
namespace {

// The file has one entry on each line: a word, a space, and the rest. Filters and ids contain no line feeds.
constexpr std::string_view broker_word = "broker", client_word = "client", filter_word = "filter",
                           removed_word = "removed";

}  // namespace

void session::load(const std::filesystem::path& folder) {
  file_ = folder / "session";
  broker_.clear();
  client_id_.clear();
  subscriptions_.clear();
  removed_.clear();
  std::ifstream in(file_);
  for (std::string line; std::getline(in, line);) {
    const auto space = std::min(line.find(' '), line.size());
    const auto word = std::string_view(line).substr(0, space);
    auto rest = line.substr(std::min(space + 1, line.size()));
    if (word == broker_word) {
      broker_ = std::move(rest);
    } else if (word == client_word) {
      client_id_ = std::move(rest);
    } else if (word == removed_word) {
      removed_.push_back(std::move(rest));
    } else if (word == filter_word) {
      subscription s;
      std::istringstream fields(rest);
      if (fields >> s.qos >> s.granted && fields.get() == ' ' && std::getline(fields, s.filter))
        subscriptions_.push_back(std::move(s));
    }
  }
}

void session::begin(std::string_view broker, std::string_view client_id) {
  broker_ = broker;
  client_id_ = client_id;
  subscriptions_.clear();
  removed_.clear();
}

void session::take_over(std::string_view broker, std::string_view client_id) {
  broker_ = broker;
  client_id_ = client_id;
  for (auto& s : subscriptions_) removed_.push_back(std::move(s.filter));
  subscriptions_.clear();
}

const subscription* session::find(std::string_view filter) const {
  const auto at = std::ranges::find(subscriptions_, filter, &subscription::filter);
  return at == subscriptions_.end() ? nullptr : &*at;
}

std::vector<std::string> session::without(const std::vector<std::string>& configured) const {
  auto others = removed_;
  for (const auto& s : subscriptions_) others.push_back(s.filter);
  std::erase_if(others, [&](const auto& f) { return std::ranges::find(configured, f) != configured.end(); });
  return others;
}

void session::expect(const std::vector<subscription>& configured) {
  const auto is_configured = [&](std::string_view filter) {
    return std::ranges::find(configured, filter, &subscription::filter) != configured.end();
  };
  for (const auto& s : subscriptions_) removed_.push_back(s.filter);
  std::erase_if(removed_, is_configured);
  std::ranges::sort(removed_);
  removed_.erase(std::unique(removed_.begin(), removed_.end()), removed_.end());
  subscriptions_ = configured;
}

pl::result<void> session::store() const {
  std::ostringstream text;
  text << broker_word << ' ' << broker_ << '\n' << client_word << ' ' << client_id_ << '\n';
  for (const auto& s : subscriptions_)
    text << filter_word << ' ' << s.qos << ' ' << s.granted << ' ' << s.filter << '\n';
  for (const auto& f : removed_) text << removed_word << ' ' << f << '\n';
  if (const auto error = pl::replace_file(file_.string(), text.str()))
    return pl::retry("cannot write " + file_.string() + ": " + error.message());
  return {};
}

void session::forget() {
  begin({}, {});
  std::error_code ignored;
  std::filesystem::remove(file_, ignored);
}

}  // namespace mqtt
