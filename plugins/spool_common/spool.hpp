// SPDX-License-Identifier: Apache-2.0
// A log on the local disk. What a push source takes in is appended here before it is acknowledged to its sender; the lane
// reads it from here, and what is settled is deleted. So such a source can be read again from a position: the number of the
// record, which goes up by one with each.
//
// Threads: append and pressure from any; read, settle and the rest from one (the lane's).
// Ownership: one process has the folder (a lock file); a second one is told so.
// Errors: `retry` with the system's words; the file is then as it was before.
#pragma once

#include "age.hpp"
#include "segment.hpp"

#include <pipeline/result.hpp>

#include <sys/uio.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>

namespace spool {

// When what was appended is on the disk, so that a power cut does not take it. A process that is killed loses nothing under
// any of these.
enum class durability {
  always,    // before append returns; appends of several threads share one sync
  interval,  // soon
  never      // when the system likes
};

struct settings {
  std::filesystem::path folder = {};
  durability fsync = durability::interval;
  std::chrono::nanoseconds interval = std::chrono::milliseconds(100);
  std::uint64_t max_bytes = 1ULL << 30U;
  std::uint64_t segment_bytes = 16ULL << 20U;  // a new file is begun beyond that
  std::chrono::nanoseconds max_age{0};         // 0: nothing is too old
  clocks time = clocks::system();
};

// What was found and mended when it was opened, for people.
using notice = std::function<void(std::string_view text)>;

class log {
 public:
  static pl::result<std::unique_ptr<log>> open(settings given, const notice& say);
  ~log();
  log(const log&) = delete;
  log& operator=(const log&) = delete;

  // Appends one record, whose body is these parts. Once it returns the record is as safe as `fsync` says.
  pl::result<void> append(std::span<const std::string_view> body);

  // Appends several, each with a body of two parts, behind each other and all with one number after the other. On failure
  // there is none of them; only a process that is killed right then leaves the first of them behind.
  using parts = std::array<std::string_view, 2>;
  pl::result<void> append_all(std::span<const parts> bodies);

  // Whether the sender should be held back: little room is left within max_bytes, or on the disk. What is on its way still
  // finds room: the limit is passed by that. While the disk is full this looks once a second whether it still is.
  [[nodiscard]] bool pressed();

  // Records from `next` on, in order, at most so many, until `take` answers false: it is given the number and the body.
  // Answers the number of the record after the last. A record that is damaged on the disk is told and passed over.
  pl::result<std::uint64_t> read(std::uint64_t next, std::size_t at_most,
                                 const std::function<bool(std::uint64_t number, std::string_view body)>& take,
                                 const notice& say);
  // Until there may be something to read from `next` on.
  void wait(std::uint64_t next, std::chrono::nanoseconds at_most);

  // The next record's number is at least this from now on: whoever stores what is read has seen numbers below.
  pl::result<void> go_on_at(std::uint64_t next);

  // Files whose newest record is older than max_age go, if nobody has read of them yet: `next` is how far that was. Answers
  // where to read on, and says what is lost. What was read and is not settled stays.
  std::uint64_t expire(std::uint64_t next, const notice& say);

  // Everything below is done with; files of which that is true go.
  void settle(std::uint64_t next);

  [[nodiscard]] const std::string& id() const noexcept { return id_; }  // of this log: 16 hexadecimal digits
  [[nodiscard]] std::uint64_t settled() const noexcept { return settled_; }
  [[nodiscard]] std::uint64_t begin() const;  // of the oldest record that is kept
  [[nodiscard]] std::uint64_t end() const;    // the number that the next record gets
  [[nodiscard]] std::uint64_t bytes() const;  // on the disk

 private:
  explicit log(settings given) : settings_(std::move(given)) {}

  pl::result<void> lock();
  pl::result<void> identify();
  [[nodiscard]] std::uint64_t noted(const char* name) const;
  pl::result<void> recover(const notice& say);
  pl::result<void> take_up(const segment& last, const notice& say);
  pl::result<void> begin_segment(std::uint64_t first);
  pl::result<void> make_room();
  void look_for_room();
  pl::result<void> write(std::span<const std::string_view> body);
  pl::result<void> write(std::span<iovec> bytes, std::uint64_t records);
  pl::result<void> appended(std::unique_lock<std::mutex>& held);
  pl::result<void> make_durable(std::uint64_t number, std::unique_lock<std::mutex>& held);
  void sync_now(std::unique_lock<std::mutex>& held);
  void sync_every_interval(const std::stop_token& stop);
  [[nodiscard]] std::uint64_t readable() const;
  [[nodiscard]] const segment* segment_with(std::uint64_t number) const;
  bool place_reader(std::uint64_t next);
  std::uint64_t skip_damage(std::uint64_t at, const notice& say);
  void note_settled() const;
  [[nodiscard]] std::uint64_t end_of_old(std::uint64_t next);
  void remove_between(std::uint64_t next, std::uint64_t until);

  const settings settings_;
  std::string id_;
  file lock_;
  std::uint64_t settled_ = 0;
  std::uint64_t expired_ = 0;  // a gap below is no damage
  std::optional<file_ages> ages_;
  nanoseconds looked_{};

  mutable std::mutex mutex_;
  std::condition_variable appended_, synced_;
  std::deque<segment> segments_;  // the last is written to
  file active_;
  std::uint64_t bytes_ = 0, durable_ = 0;  // durable_: all records below are on the disk
  bool syncing_ = false, no_room_ = false;
  std::string sync_failure_;

  std::optional<segment_reader> reader_;
  std::uint64_t reader_segment_ = 0;  // first record of the file that it reads
  std::chrono::steady_clock::time_point noted_{}, looked_for_room_{};
  std::jthread syncer_;  // last: it uses the others
};

}  // namespace spool
