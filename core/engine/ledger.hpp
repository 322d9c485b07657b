// SPDX-License-Identifier: Apache-2.0
// What the sinks that keep positions know of a lane's streams, and how a lane claims a stream there: the first of the
// three rules in docs/decisions/0007-exactly-once.md. Used by the lane's thread alone.
#pragma once

#include "engine/instance.hpp"

#include <pipeline/context.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

class sink_node;

// One sink that keeps positions.
struct account {
  std::shared_ptr<sink_node> sink;
  std::unique_ptr<instance> store;  // its "store/1": an instance beside the writers, never started
};

// Under which key the stream's state says up to where transforms have seen the records; its node's name is empty.
constexpr std::string_view seen_until_key = "seen_until";

// How one stream was claimed.
struct claimed_stream {
  std::uint64_t start = 0;          // where reading begins: from here on transforms need the records
  std::uint64_t settled = 0;        // every branch has all below
  std::uint64_t epoch = 0;          // of the claim, the same at each sink
  std::vector<std::uint64_t> next;  // by account: the sink has all below
  bool has_state = false;           // a snapshot of the transforms' state was found
  std::size_t state_account = 0;    // which sink keeps it: one alone, so that snapshots may be of changes only
};

class ledger {
 public:
  ledger() = default;
  explicit ledger(std::vector<account> accounts) : accounts_(std::move(accounts)) {}

  [[nodiscard]] bool empty() const noexcept { return accounts_.empty(); }
  [[nodiscard]] const std::vector<account>& accounts() const noexcept { return accounts_; }

  // (a): where the sinks stand, before the source looks where its group stands.
  outcome look(std::string_view source, std::string_view stream);
  // (c) and (d). PL_RETRY: somebody was faster, or a sink is away: begin again with `look`. PL_FENCED: it was not looked up,
  // for it was ours under `held`, and now it is another's.
  // marked: state is kept; the claim notes from where on transforms see the records.
  outcome claim(std::string_view source, std::string_view stream, begin why, std::uint64_t proposed, std::uint64_t held,
                bool marked, claimed_stream& out);
  // The stream's state as one account has it.
  using entry = std::function<outcome(std::string_view node, std::string_view key, std::string_view value)>;
  outcome load(std::string_view source, std::string_view stream, std::size_t account, const entry& each);

 private:
  [[nodiscard]] static std::uint64_t lowest_next(const std::vector<pl_position>& seen);

  std::vector<account> accounts_;
  std::map<std::string, std::vector<pl_position>, std::less<>> seen_;  // by stream, as looked up
};

}  // namespace pl::engine
