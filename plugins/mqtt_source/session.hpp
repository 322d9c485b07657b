// SPDX-License-Identifier: Apache-2.0
// What the broker's session of this client holds. MQTT cannot list the subscriptions of a session, so they are remembered
// in a file beside the spool. Lane's thread.
#pragma once

#include <pipeline/result.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mqtt {

struct subscription {
  std::string filter;
  int qos = 0, granted = 0;  // requested and granted QoS
};

class session {
 public:
  // Load what is remembered. A file that cannot be read is treated as missing.
  void load(const std::filesystem::path& folder);

  [[nodiscard]] bool known() const noexcept { return !client_id_.empty(); }
  [[nodiscard]] bool is_of(std::string_view broker, std::string_view client_id) const noexcept {
    return broker == broker_ && client_id == client_id_;
  }
  [[nodiscard]] const std::string& client_id() const noexcept { return client_id_; }
  [[nodiscard]] const std::string& broker() const noexcept { return broker_; }

  // Begin a new session without subscriptions.
  void begin(std::string_view broker, std::string_view client_id);
  // Continue with a session of which it is not known what it holds: the filters known so far may be in it.
  void take_over(std::string_view broker, std::string_view client_id);

  // Return the subscription to a filter; null if the session has none.
  [[nodiscard]] const subscription* find(std::string_view filter) const;
  // Return the filters that the session has or had, without those that are configured: the broker may still send
  // messages that it queued for them.
  [[nodiscard]] std::vector<std::string> without(const std::vector<std::string>& configured) const;
  // The same for the filters of the last call of `expect`.
  [[nodiscard]] const std::vector<std::string>& removed() const noexcept { return removed_; }

  // Remember that these filters are subscribed to, or may be. Filters that are not among them become removed ones.
  void expect(const std::vector<subscription>& configured);

  // Store the session. It survives a power cut once this returns.
  [[nodiscard]] pl::result<void> store() const;
  // The connection keeps no session: forget it, and delete the file.
  void forget();

 private:
  std::filesystem::path file_;
  std::string broker_, client_id_;
  std::vector<subscription> subscriptions_;
  std::vector<std::string> removed_;
};

}  // namespace mqtt
