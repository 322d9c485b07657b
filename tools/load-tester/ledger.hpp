// SPDX-License-Identifier: Apache-2.0
// Records for each message whether it was sent, acknowledged and stored, and computes the totals of the verification.
#pragma once

#include "fleet.hpp"
#include "histogram.hpp"

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace pl::load {

// Counts of messages and of their copies. A message is "good" if it was not broken on purpose.
struct tally {
  std::uint64_t messages = 0;            // messages that were sent at least once
  std::uint64_t sent = 0;                // copies, including those that were sent twice on purpose
  std::uint64_t acknowledged = 0;        // acknowledged copies
  std::uint64_t broken = 0;              // broken messages
  std::uint64_t maybe_twice = 0;         // in flight when a connection broke: the broker may have them twice
  std::uint64_t expected = 0;            // rows that must exist
  std::uint64_t stored = 0;              // rows that exist
  std::uint64_t lost = 0;                // missing rows whose message is not dead-lettered
  std::uint64_t duplicated = 0;          // rows in excess of the copies that were sent
  std::uint64_t altered = 0;             // rows that differ from the message
  std::uint64_t dead_lettered = 0;       // dead-lettered messages, good or broken
  std::uint64_t good_dead_lettered = 0;  // good messages among the dead letters
  std::uint64_t broken_stored = 0;       // broken messages that were stored
  std::uint64_t broken_vanished = 0;     // broken messages neither stored nor dead-lettered; needs dead_letters_read
  std::vector<std::uint64_t> lost_examples, duplicated_examples;  // numbers of the first few messages
};

struct tally_options {
  bool one_row_each = false;       // the table keeps one row of a message, even if it was sent twice
  bool dead_letters_read = false;  // the dead letters were read
};

// A row of this run in the database.
struct stored_row {
  std::uint64_t seq = 0;
  std::uint32_t device = 0;
  std::optional<std::int32_t> centi;
};

// Thread-safe: the sender and the watcher of the database use it concurrently. Takes 32 bytes for each message.
class ledger {
 public:
  // Add a message and return its number.
  std::uint64_t make(const reading& r);
  // Record a sent copy. due_us: the scheduled time; the time of the first copy counts.
  void note_sent(std::uint64_t seq, std::int64_t due_us);
  void note_acknowledged(std::uint64_t seq, std::int64_t at_us);
  // Record that the connection broke before the acknowledgement: the message is sent again and may arrive twice.
  void note_resent(std::uint64_t seq);
  // Record that the message became visible in the database.
  void note_seen(std::uint64_t seq, std::int64_t at_us);

  // For the final count, note each row and each dead letter once. clear_stored restarts the count of rows.
  void clear_stored();
  void note_stored(const stored_row& row);
  void note_dead_letter(std::uint64_t seq);

  [[nodiscard]] bool acknowledged(std::uint64_t seq) const;
  [[nodiscard]] tally count(const tally_options& options) const;

  struct progress {
    std::uint64_t sent = 0, acknowledged = 0, seen = 0, expected = 0;  // expected: good messages that were acknowledged
    std::uint64_t good = 0;                                            // good messages that were sent
    latency to_broker, to_database;
  };
  [[nodiscard]] progress so_far() const;
  // Return the time of the oldest message that is not visible in the database yet; std::nullopt if all are.
  [[nodiscard]] std::optional<std::int64_t> oldest_unseen_us();

 private:
  enum flag : std::uint8_t { is_broken = 1, is_seen = 2, is_dead_lettered = 4 };
  struct entry {
    std::int64_t time_us = 0, due_us = 0;
    std::uint32_t device = 0;
    std::int32_t centi = 0;
    std::uint8_t sent = 0, acknowledged = 0, resent = 0, stored = 0, flags = 0;
    [[nodiscard]] bool is(flag f) const noexcept { return (flags & f) != 0; }
  };
  static void add(tally& t, std::uint64_t seq, const entry& e, const tally_options& options);
  static void add_good(tally& t, std::uint64_t seq, const entry& e, const tally_options& options);

  mutable std::mutex lock_;
  std::vector<entry> entries_;
  std::uint64_t sent_ = 0, acknowledged_ = 0, seen_ = 0, expected_ = 0, good_ = 0, altered_ = 0;
  std::size_t first_unseen_ = 0;
  histogram to_broker_, to_database_;
};

}  // namespace pl::load
