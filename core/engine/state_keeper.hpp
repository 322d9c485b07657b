// SPDX-License-Identifier: Apache-2.0
// Keeps the state of a lane's transforms: it is restored when a stream is assigned, changes with the stream's records,
// and is written periodically as a snapshot, to a sink that keeps positions or else to a local database.
// Runs on the lane's thread.
#pragma once

#include "engine/arrival_clocks.hpp"
#include "engine/lane_graph.hpp"
#include "engine/stream_table.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

class stored_nodes;

// Some stores need a round trip or a message for each entry, others are limited by the bytes of keys and values.
struct snapshot_size {
  std::size_t entries = 0, bytes = 0;
  [[nodiscard]] bool reaches(const snapshot_size& limit) const noexcept {
    return entries >= limit.entries || bytes >= limit.bytes;
  }
  snapshot_size& operator+=(const snapshot_size& more) noexcept {
    entries += more.entries;
    bytes += more.bytes;
    return *this;
  }
};

class state_keeper {
 public:
  state_keeper(instance& source, lane_graph& graph, stream_table& streams, arrival_clocks& arrivals,
               lane_status& status)
      : source_(source), graph_(graph), streams_(streams), arrivals_(arrivals), status_(status) {}

  // Return whether a transform has state and there is a place to keep it.
  [[nodiscard]] bool enabled() const;

  // Restore the transforms' state of a stream, and move the claim's start to the position where that state ends.
  result<void> restore(std::string_view stream, start_reason why, stream_claim& claim);
  // Warn if there is stored state of the stream, although no transform has state.
  void report_unused(std::string_view stream);
  // Restore one transform's state of all assigned streams: it joined a lane that runs.
  result<void> restore(transform_slot& slot);
  // Return whether the stored state includes all that was read. Nothing must be in flight.
  [[nodiscard]] bool stored_completely() const;
  void stream_assigned(std::string_view stream, const stream_claim& claim);
  void stream_revoked(std::string_view stream);
  void clear();  // all streams will be assigned again

  // Take over the changes that a call made. They are written with the current batch.
  void collect(call_effects& effects);
  // Collect the removal of entries whose output is delivered by now.
  void collect_delivered();
  // Collect the snapshots whose records are settled at every branch, and take some if they are due: those of the streams
  // whose last ones are the oldest, until they are so large that the others must wait. So a large state is neither in
  // memory twice nor written as a whole.
  void snapshot_if_due();
  void snapshot_now();  // of all streams, unless they are heavy
  // Take a snapshot of everything that was read, although records are in flight. `collect_settled` collects it once they
  // are settled, also after a reload has replaced the transforms.
  void snapshot_in_flight();
  void collect_settled();
  // Return whether a complete snapshot would take long.
  [[nodiscard]] bool heavy() const noexcept;

  // Take the collected changes to write with a batch: the changes of the root's streams, or all changes without a root.
  [[nodiscard]] std::vector<state_change> take_changes(record_batch* root);
  // Write the collected changes to the local database. Changes that cannot be written are kept, and written later: at
  // most once a second there is another attempt.
  void write_locally();
  void write_soon() noexcept { next_write_ = {}; }  // make the next attempt at the next call
  // Return whether there is room for further changes that cannot be written. If not, nothing must be read.
  [[nodiscard]] bool has_room() const noexcept { return unwritten_ < most_unwritten; }

 private:
  using clock = std::chrono::steady_clock;
  // Larger snapshots are taken less often: one interval more for each light_size. heavy_size: they would take long.
  static constexpr snapshot_size light_size{20'000, std::size_t{4} << 20U}, heavy_size{100'000, std::size_t{80} << 20U};
  // A snapshot that is taken, and written once every record below the watermark is settled.
  struct snapshot {
    std::uint64_t watermark = PL_UNKNOWN;
    std::vector<state_change> changes;
    bool pending = false;
    clock::time_point taken{};
    snapshot_size last;  // of its changes when it was taken; nothing once there is nothing new
  };
  // An entry that is kept until the ranges of its stream below `flight` are delivered.
  struct receipt {
    std::string node, stream, key;
    std::uint64_t flight;
  };
  // An arrival clock that advances without records is stored when it has advanced by this much.
  static constexpr std::int64_t clock_interval = 30 * arrival_clock::second;
  static constexpr std::size_t most_unwritten = std::size_t{8} << 20U;  // bytes of changes that cannot be written
  using stream_entry = stream_table::map::value_type;
  [[nodiscard]] std::vector<const stream_entry*> oldest_first();
  void take_snapshots(std::int64_t least_advance, snapshot_size most);
  void take(const std::string& stream, std::uint64_t position, snapshot& s);
  void keep_unwritten(const failure& why);
  void measure_unwritten();
  [[nodiscard]] static bool is_level(const assigned_stream& stream, std::uint64_t position);
  void collect_if_settled(const assigned_stream& stream, snapshot& s);
  void drop_changes(std::string_view stream);
  void expect_delivery(const state_change& c);
  [[nodiscard]] std::uint64_t output_discarded(const stream_claim& claim) const;
  [[nodiscard]] bool was_delivered_with_state(const transform_slot& slot, std::size_t state_store) const;
  result<void> load(std::string_view stream, const position_stores::entry& each, stream_claim& claim);
  result<void> load_locally(std::string_view stream, const position_stores::entry& each);
  result<void> name_nodes(transform_slot& slot, std::string_view stream, stored_nodes& nodes);
  using entry_counts = std::map<std::string, std::size_t, std::less<>>;  // by node
  void warn_of_unused(const entry_counts& entries, std::string_view stream);

  instance& source_;
  lane_graph& graph_;
  stream_table& streams_;
  arrival_clocks& arrivals_;
  lane_status& status_;
  std::map<std::string, snapshot, std::less<>> snapshots_;  // by stream
  std::vector<state_change> changes_;                       // collected, not yet written
  std::vector<receipt> receipts_;
  clock::time_point next_snapshot_{};
  // While the local database cannot be written: the size of the first `measured_` collected changes, the next attempt.
  std::size_t unwritten_ = 0, measured_ = 0;
  clock::time_point next_write_{};
};

}  // namespace pl::engine
