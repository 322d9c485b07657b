// SPDX-License-Identifier: Apache-2.0
// What was sent and what became of it, message by message: the sums of the verification are made here.
#pragma once

#include "fleet.hpp"
#include "histogram.hpp"

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

namespace pl::load {

// Messages are counted by their number, copies as often as they were sent. "Good" are those that aren't broken on purpose.
struct tally {
  std::uint64_t messages = 0;         // made and sent at least once
  std::uint64_t sent = 0;             // with those that were sent twice on purpose
  std::uint64_t acknowledged = 0;     // of sent
  std::uint64_t broken = 0;           // of messages
  std::uint64_t maybe_twice = 0;      // were on their way when a connection broke: the broker may have them twice
  std::uint64_t expected = 0;         // rows that must be there
  std::uint64_t stored = 0;           // rows that are there
  std::uint64_t lost = 0;             // rows that must be there, and are not there nor in the dead letters
  std::uint64_t duplicated = 0;       // rows more than were sent
  std::uint64_t altered = 0;          // rows that say something else than was sent
  std::uint64_t dead_lettered = 0;    // messages, good or broken
  std::uint64_t good_letters = 0;     // good messages among the dead letters
  std::uint64_t broken_stored = 0;    // broken messages that were stored
  std::uint64_t broken_vanished = 0;  // broken messages that are nowhere; only known where dead letters are looked at
  std::vector<std::uint64_t> lost_examples, duplicated_examples;  // numbers of messages, a few
};

struct tally_options {
  bool one_row_each = false;   // the table keeps one row of a message, however often it was sent
  bool letters_known = false;  // dead letters were looked at
};

// A row of the database, as it was found.
struct stored_row {
  std::uint64_t seq = 0;
  std::uint32_t device = 0;
  std::optional<std::int32_t> centi;
};

// Used by the sender and the watcher of the database at once. 32 bytes for each message.
class ledger {
 public:
  // A message is made, and gets its number.
  std::uint64_t make(const reading& r);
  // A copy of it leaves; `due_us` is when it was meant to, and counts for the first copy.
  void note_sent(std::uint64_t seq, std::int64_t due_us);
  void note_acknowledged(std::uint64_t seq, std::int64_t at_us);
  // The connection broke before the acknowledgement: it will be sent again, and may arrive twice.
  void note_resent(std::uint64_t seq);
  // The database shows it, for the first time.
  void note_seen(std::uint64_t seq, std::int64_t at_us);

  // The last look: each row and each letter once. Begin it anew with clear_stored.
  void clear_stored();
  void note_stored(const stored_row& row);
  void note_letter(std::uint64_t seq);

  [[nodiscard]] bool acknowledged(std::uint64_t seq) const;
  [[nodiscard]] tally count(const tally_options& options) const;

  struct progress {
    std::uint64_t sent = 0, acknowledged = 0, seen = 0, expected = 0;  // expected: good messages that were acknowledged
    std::uint64_t good = 0;                                            // good messages that were sent
    latency to_broker, to_database;
  };
  [[nodiscard]] progress so_far() const;
  // When the oldest message that the database has not shown was measured; nothing where all have been seen.
  [[nodiscard]] std::optional<std::int64_t> oldest_unseen_us();

 private:
  enum flag : std::uint8_t { is_broken = 1, is_seen = 2, has_letter = 4 };
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
