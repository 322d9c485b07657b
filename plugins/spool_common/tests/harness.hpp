// SPDX-License-Identifier: Apache-2.0
// A log in a temporary folder, and what it reported.
#pragma once

#include <pipeline/testing/temp_dir.hpp>

#include <doctest/doctest.h>
#include <spool_common/spool.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace spool::testing {

using records = std::map<std::uint64_t, std::string>;

class test_log {
 public:
  explicit test_log(std::filesystem::path folder, settings with = {}) : with_(std::move(with)) {
    with_.folder = std::move(folder);
    (void)open();
  }

  // Close it if it is open, and open it. Return whether that succeeded.
  bool open() {
    log_.reset();
    auto made = log::open(with_, notices());
    if (made.ok())
      log_ = std::move(*made);
    else
      failure = made.why().message;
    return made.ok();
  }
  void close() { log_.reset(); }
  log& operator*() { return *log_; }
  log* operator->() { return log_.get(); }

  pl::result<void> append(std::string_view body) {
    const std::array<std::string_view, 2> parts{body.substr(0, body.size() / 2), body.substr(body.size() / 2)};
    return log_->append(parts);
  }
  // Append as a source does: until it succeeds. Return the number of attempts.
  int append_until_stored(std::string_view body) {
    int attempts = 1;
    for (; !append(body).ok(); ++attempts) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return attempts;
  }

  records all(std::uint64_t from = 0) {
    records found;
    const auto end = log_->end();
    while (from < end) {
      const auto next = log_->read(
          from, 100, [&](std::uint64_t n, std::string_view body) { return found[n] = body, true; }, notices());
      REQUIRE_MESSAGE(next.ok(), next.why().message);
      if (*next == from) break;
      from = *next;
    }
    return found;
  }

  [[nodiscard]] std::size_t reports_of(std::string_view text) {
    if (log_) log_->report(notices());
    return static_cast<std::size_t>(
        std::ranges::count_if(reported, [&](const auto& r) { return r.find(text) != std::string::npos; }));
  }

  std::vector<std::string> reported;
  std::string failure;

 private:
  notice notices() {
    return [this](severity, std::string_view text) { reported.emplace_back(text); };
  }
  settings with_;
  std::unique_ptr<log> log_;
};

inline std::vector<std::filesystem::path> segments_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> all;
  for (const auto& e : std::filesystem::directory_iterator(folder))
    if (first_of(e.path())) all.push_back(e.path());
  std::ranges::sort(all);
  return all;
}

// Wait until a condition holds. Fail after two minutes.
inline void await(const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (!holds()) {
    REQUIRE(std::chrono::steady_clock::now() < until);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace spool::testing
