// SPDX-License-Identifier: Apache-2.0
// intake checks requests and stores their records in the spool, on the connections' threads.
#pragma once

#include "body.hpp"
#include "options.hpp"
#include "record.hpp"

#include <pipeline/context.hpp>

#include <http/server.hpp>
#include <json_common/path_pattern.hpp>
#include <spool_common/spool.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace http {

using pl::http::early_close;
using pl::http::memory_claim;
using pl::http::refusal;
using pl::http::request_head;
using pl::http::response;

// path_matcher checks paths against the option `path` and extracts their named segments.
class path_matcher {
 public:
  // Throws pl::invalid_options("path", ...).
  explicit path_matcher(std::string path);
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  // Set values[i] to the segment names()[i], percent-decoded. Return false if the path does not match, or a segment is
  // not valid text.
  bool match(std::string_view path, std::vector<std::string>& values) const;

 private:
  std::string path_;
  std::vector<std::string> names_;
  std::optional<json::path_pattern> pattern_;
};

// authenticator checks the Authorization header in constant time.
class authenticator {
 public:
  explicit authenticator(const source_options& o);
  [[nodiscard]] bool accepts(std::optional<std::string_view> authorization) const;
  [[nodiscard]] bool is_open() const noexcept { return digests_.empty(); }

 private:
  using digest = std::array<unsigned char, 32>;
  static digest digest_of(std::string_view credentials);
  std::vector<digest> digests_;  // of "bearer <token>", "basic <base64>"
};

class intake final : public pl::http::service {
 public:
  // `o` and `paths` must outlive this object.
  intake(pl::context ctx, const source_options& o, const path_matcher& paths, std::shared_ptr<spool::log> to);

  std::optional<response> admit(const request_head& head) override;
  response take(const request_head& head, std::string_view remote, std::string_view body,
                memory_claim& memory) override;
  std::optional<response> refuse(const refusal& why) override;
  void responded(int status, std::chrono::nanoseconds after) override;
  void connections(std::size_t open) override;
  void closed_early(early_close why) override;
  void handshake_failed(std::string_view remote, std::string_view why) override;

  // Return why records cannot be stored now; empty if they can.
  [[nodiscard]] std::string why_not();

 private:
  bool check_room();
  [[nodiscard]] std::optional<form> form_of_body(const request_head& head) const;
  std::optional<response> check_body_type(const request_head& head);
  std::optional<response> check_sizes(const request_head& head, const std::vector<std::string>& segments) const;
  [[nodiscard]] record_start start_of_records(const request_head& head, std::string_view remote) const;
  response store(const request_head& head, const record_start& start, const std::vector<std::string_view>& records,
                 memory_claim& memory);
  response append(const std::vector<spool::log::parts>& bodies);
  [[nodiscard]] bool claim_space(std::uint64_t bytes);
  response retry_later(int status, const std::string& why) const;

  const pl::context ctx_;
  const source_options& options_;
  const path_matcher& paths_;
  const authenticator authenticator_;
  const std::shared_ptr<spool::log> spool_;
  std::map<int, pl::counter> requests_;
  pl::counter records_, bytes_;
  pl::gauge connections_;
  pl::histogram seconds_;
  std::map<early_close, pl::counter> closed_;
  std::atomic<bool> failing_{false}, full_{false};
  std::atomic<std::uint64_t> claimed_{0};  // bytes of the spool that current requests will write
  std::atomic<std::uint64_t> needed_{0};   // bytes of a request for which the spool had no room; 0: none
};

}  // namespace http
