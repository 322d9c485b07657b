// SPDX-License-Identifier: Apache-2.0
// The arrival clock of one stream: the latest time for which every record that arrived before it has been read. A pure
// function of its inputs; see docs/decisions/0011-arrival-clock.md. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace pl::engine {

// All times are in nanoseconds: wall time since 1970, or a reading, which is wall time less the length of all gaps.
class arrival_clock {
 public:
  static constexpr std::int64_t second = 1'000'000'000;
  static constexpr std::int64_t unknown = INT64_MIN;  // the arrival time of a record
  // Observations may pause for this long before the time counts as unproven. Records that follow each other within this
  // time prove it.
  static constexpr std::int64_t unproven_limit = 5 * second;
  // A claimed time is not needed for a record that is read this soon after the clock.
  static constexpr std::int64_t live_limit = 5 * second / 2;
  static constexpr std::size_t max_observations = 1024;

  // counts_unread: the source is PL_RECORDS_UNREAD. now: the stream is assigned.
  arrival_clock(bool counts_unread, std::int64_t now)
      : counts_unread_(counts_unread), disconnected_(now), observed_(now) {}

  // A source that is not PL_RECORDS_UNREAD cannot receive records from `at` on, or can again. Initially it cannot.
  void disconnected(std::int64_t at);
  void connected(std::int64_t at);

  // Every record that arrived before `before` has a position below `end`. position: up to here the stream is read.
  void observe(std::uint64_t end, std::int64_t before, std::uint64_t position, std::int64_t now);
  // A record was read. claimed: its arrival time was set by its producer. Return the reading at its arrival.
  std::int64_t read_record(std::uint64_t position, std::int64_t arrival, bool claimed, std::int64_t now);
  // The stream was read up to `position`.
  void read_to(std::uint64_t position) { pass_observations(position); }
  // Add a claimed time of a record that will be read, so that the first record alone does not start the clock.
  void expect_claim(std::int64_t arrival) {
    if (claims_ < claim_ring_.size()) remember_claim(arrival);
  }
  [[nodiscard]] bool has_claims() const noexcept { return claims_ != 0; }
  // The machine's wall clock was moved by that much.
  void wall_clock_moved(std::int64_t by);

  [[nodiscard]] bool started() const noexcept { return started_; }
  [[nodiscard]] std::int64_t reading() const noexcept { return clock_ - behind_; }
  [[nodiscard]] std::int64_t behind() const noexcept { return behind_; }
  [[nodiscard]] std::int64_t connected_at() const noexcept { return connected_; }  // a reading; INT64_MIN: no gap yet

  // The clock as an entry of the stream's state. `store` is followed by `unstored` of 0.
  [[nodiscard]] std::string store();
  [[nodiscard]] std::int64_t unstored() const noexcept { return started_ ? reading() - stored_ : 0; }
  // Continue a stored clock, before any other call. An entry that is not valid is ignored.
  void restore(std::string_view entry, std::int64_t now);

 private:
  struct gap {
    std::int64_t from, to;
    std::int64_t shortest;  // shorter parts of it count
  };
  struct observation {
    std::uint64_t end;
    std::int64_t seen, before;  // seen: the records below `end` arrived before
  };

  void start(std::int64_t at);
  void move_to(std::int64_t to, std::int64_t now);
  void skip(std::int64_t length);
  [[nodiscard]] std::int64_t place(std::int64_t arrival, bool claimed, std::int64_t now);
  void pass_observations(std::uint64_t position);
  void pass(const observation& o);
  void thin_out();
  void remember_claim(std::int64_t arrival);
  [[nodiscard]] std::int64_t usual_claim() const;
  void add(const gap& g);
  void proven(std::int64_t at);
  void cross(const gap& g, std::int64_t to);
  [[nodiscard]] std::optional<gap> open_gap(std::int64_t now) const;

  bool counts_unread_;
  bool started_ = false;
  std::int64_t clock_ = 0, behind_ = 0;  // clock_: wall time
  std::int64_t connected_ = INT64_MIN;
  std::int64_t stored_ = INT64_MIN / 2;  // the reading that was stored last

  std::deque<gap> gaps_;  // that have ended and that the clock has not passed, in the order of `from`
  std::optional<std::int64_t> disconnected_;
  std::int64_t observed_;  // the time that was proven last
  bool observed_once_ = false;
  std::deque<observation> observations_;  // whose end is not read yet; ends and times ascend

  bool moved_ = false, misdated_ = false;                        // by records since the last observation was passed
  bool started_by_claim_ = false;                                // and no observation was passed since
  std::array<std::int64_t, 31> claim_ring_{}, sorted_claims_{};  // sorted: the same values, in ascending order
  std::size_t claims_ = 0;                                       // seen so far
};

}  // namespace pl::engine
