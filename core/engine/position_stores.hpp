// SPDX-License-Identifier: Apache-2.0
// The sinks that keep positions, and how a lane claims a stream in all of them (docs/decisions/0007-exactly-once.md).
// Runs on the lane's thread.
#pragma once

#include "engine/instance.hpp"

#include <pipeline/context.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

class sink_node;

// One sink that keeps positions.
struct position_store {
  std::shared_ptr<sink_node> sink;
  std::unique_ptr<instance> store;  // for its "position_store/1": an instance beside the writers, never started
};

// Key of the state watermark in a stream's state; its node's name is empty. Persisted: never change it.
constexpr std::string_view state_watermark_key = "seen_until";

// A claim of one stream, and what was found with it.
struct stream_claim {
  std::uint64_t start = 0;          // reading begins here: transforms need the records from here on
  std::uint64_t settled = 0;        // every branch has all records below
  std::uint64_t epoch = 0;          // the same in each store
  std::vector<std::uint64_t> next;  // by store: the sink has all records below
  bool has_state = false;           // a state watermark was found
  std::size_t state_store = 0;      // the one store that keeps the stream's state, so that snapshots may be incremental
};

// The parameters of a claim.
struct claim_request {
  start_reason why;
  std::uint64_t proposed;    // the start position that the source proposes
  std::uint64_t held_epoch;  // of this lane's earlier claim, if the stream was revoked and not announced since; else 0
  bool marks_start;          // transforms keep state: write a state watermark with the claim
  std::size_t state_store;   // which is to keep it, if none does yet
};

class position_stores {
 public:
  position_stores() = default;
  explicit position_stores(std::vector<position_store> all) : stores_(std::move(all)) {}

  [[nodiscard]] bool empty() const noexcept { return stores_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return stores_.size(); }
  [[nodiscard]] sink_node& sink(std::size_t store) const noexcept { return *stores_[store].sink; }
  // Return the index of the store that writes to the sink; empty: the sink keeps no positions.
  [[nodiscard]] std::optional<std::size_t> index_of(const sink_node& sink) const;
  [[nodiscard]] bool same_sinks(const position_stores& other) const;
  template <class Visit>
  void for_each_sink(Visit&& visit) {
    for (auto& s : stores_) visit(s.sink);
  }

  // Read the stores' positions of a stream, before the source reads its own committed position.
  result<void> look(std::string_view source, std::string_view stream);
  // Claim the stream in each store. status::retry: another host was faster, or a sink is unreachable; begin again with
  // `look`. status::fenced: there was no `look`, and another host has claimed the stream since `held_epoch`.
  result<stream_claim> claim(std::string_view source, std::string_view stream, const claim_request& request);
  // For a stream that is moved to another source. Read the positions that the stores keep for the old source, by store.
  result<std::vector<pl_position>> positions(std::string_view source, std::string_view stream);
  // Store them for the new source, unless it has positions of its own that are as high. A store without a position (epoch
  // 0) is left out.
  result<void> adopt(std::string_view source, std::string_view stream, const std::vector<pl_position>& from);

  // Read the stream's state from one store.
  using entry = std::function<result<void>(std::string_view node, std::string_view key, std::string_view value)>;
  result<void> load(std::string_view source, std::string_view stream, std::size_t store, const entry& each);
  // Return the streams of a source that one store knows.
  result<std::vector<std::string>> streams(std::string_view source, std::size_t store) {
    return stores_[store].store->streams(source);
  }

 private:
  result<void> claim_in(std::size_t store, std::string_view source, std::string_view stream, pl_position seen,
                        pl_position wanted, const pl_state_watermark& watermark);

  std::vector<position_store> stores_;
  std::map<std::string, std::vector<pl_position>, std::less<>> seen_;  // by stream, as looked up
};

}  // namespace pl::engine
