// SPDX-License-Identifier: Apache-2.0
// Whether the group is being joined just now.
//
// An offset that is committed meanwhile reaches the broker after the JoinGroup request, with the generation from before
// it. The broker refuses it, and librdkafka takes that refusal ("illegal generation") as a sign that all partitions are
// lost: they are revoked without a commit, and read again. librdkafka keeps its own commits back until the group is
// whole again, but tells nobody when that is; the requests on the wire do.
#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>

namespace kafka {

// Must live as long as the client that it was installed for (client::keep).
class group_watch {
 public:
  void install(rd_kafka_conf_t* conf);
  // Partitions were given up: librdkafka will join again at once.
  void expect_join() noexcept { state_.joining = true; }
  [[nodiscard]] bool joining() const noexcept { return state_.joining; }
  // The coordinator has answered a request to join, with whatever.
  [[nodiscard]] bool answered() const noexcept { return state_.answered; }

  struct state {
    std::atomic<bool> joining{false}, answered{false};
  };

 private:
  state state_;
};

}  // namespace kafka
