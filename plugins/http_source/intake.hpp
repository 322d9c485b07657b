// SPDX-License-Identifier: Apache-2.0
// From requests into the spool, on the connections' threads.
#pragma once

#include "body.hpp"
#include "options.hpp"
#include "server.hpp"

#include <pipeline/context.hpp>

#include <json_telemetry/path_pattern.hpp>
#include <spool_common/spool.hpp>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace http {

// Which paths are ours, and what their segments are called.
class path_matcher {
 public:
  // Throws pl::invalid_options("path", ...).
  explicit path_matcher(std::string path);
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  // values[i]: the segment called names()[i], without its %XX. False: the path is another one, or a segment is no text.
  bool match(std::string_view path, std::vector<std::string>& values) const;

 private:
  std::string path_;
  std::vector<std::string> names_;
  std::optional<json_telemetry::path_pattern> pattern_;
};

// Who may send: nobody is told apart by how long the answer takes.
class gatekeeper {
 public:
  explicit gatekeeper(const source_options& o);
  [[nodiscard]] bool lets_in(std::optional<std::string_view> authorization) const;
  [[nodiscard]] bool is_open() const noexcept { return digests_.empty(); }

 private:
  using digest = std::array<unsigned char, 32>;
  static digest digest_of(std::string_view credentials);
  std::vector<digest> digests_;  // of "bearer <token>", "basic <base64>"
};

class intake final : public service {
 public:
  // `o` and `paths` outlive it.
  intake(pl::context ctx, const source_options& o, const path_matcher& paths, std::shared_ptr<spool::log> to);

  std::optional<answer> admit(const request_head& head) override;
  answer take(const request_head& head, std::string_view remote, std::string_view body) override;
  answer refuse(const refusal& why) override;
  void answered(int status, std::chrono::nanoseconds after) override;
  void connections(std::size_t open) override;
  void handshake_failed(std::string_view remote, std::string_view why) override;

 private:
  [[nodiscard]] std::optional<form> form_of_body(const request_head& head) const;
  std::optional<answer> refuse_what_body_it_has(const request_head& head);
  pl::result<void> store(const request_head& head, std::string_view remote,
                         const std::vector<std::string_view>& records);
  answer wait_a_moment(int status, const std::string& why) const;

  const pl::context ctx_;
  const source_options& options_;
  const path_matcher& paths_;
  const gatekeeper gatekeeper_;
  const std::shared_ptr<spool::log> spool_;
  std::map<int, pl::counter> requests_;
  pl::counter records_, bytes_;
  pl::gauge connections_;
  pl::histogram seconds_;
  std::atomic<bool> failing_{false}, full_{false};
};

}  // namespace http
