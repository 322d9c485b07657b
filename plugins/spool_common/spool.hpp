// SPDX-License-Identifier: Apache-2.0
// A log on the local disk. A push source appends records before it acknowledges them to the sender. The lane reads the
// log, and settled records are deleted. The position of a record is its number, so the source is replayable.
//
// After a failed write or sync nothing is appended until a new file has been created and synced: the log then continues
// there. What was acknowledged and not synced yet is written to the new file first, from memory, because the system may
// have dropped it (after a failed fsync, a second one returns success). Damaged records are skipped, reported and kept
// aside; the log continues with the next intact record.
//
// Threads: any thread may call append, append_all, full, has_room and fault; only the lane's thread may call the others.
// Processes: one process owns the folder (lock file).
// Errors: `retry` with the system's message; the log is then unchanged.
#pragma once

#include "age.hpp"
#include "gaps.hpp"
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

// When appended records are synced to the disk, which protects them from a power cut. If the process is killed, no
// record is lost with any of these.
enum class durability {
  always,    // before append returns; several threads share one sync
  interval,  // periodically
  never      // when the operating system writes them
};

struct settings {
  std::filesystem::path folder = {};
  durability fsync = durability::interval;
  std::chrono::nanoseconds interval = std::chrono::milliseconds(100);
  std::uint64_t max_bytes = 1ULL << 30U;
  std::uint64_t segment_bytes = 16ULL << 20U;  // size limit of a file
  std::chrono::nanoseconds max_age{0};         // 0: no limit
  clocks time = clocks::system();
};

// Receives messages for operators.
enum class severity { info, warning, error };
using notice = std::function<void(severity how, std::string_view text)>;

// Return "record 7" or "records 7 to 9 (3 records)".
[[nodiscard]] std::string range_text(std::uint64_t first, std::uint64_t next);

// Copy damaged bytes of a file to another one beside it, for a person to look at.
void keep_aside(const std::filesystem::path& file, std::uint64_t offset, std::string_view bytes, const notice& report);

class log {
 public:
  // Fail if the folder or a file cannot be read or written now. Files are never changed because of that.
  static pl::result<std::unique_ptr<log>> open(settings given, const notice& report);
  ~log();
  log(const log&) = delete;
  log& operator=(const log&) = delete;
  // Sync, store the positions, and accept no more records. Fail if acknowledged records may be lost in a power cut.
  pl::result<void> close();

  // Append one record with the concatenated parts as body. When this returns, the record is as durable as `fsync`
  // specifies. On failure, the record is not in the log.
  pl::result<void> append(std::span<const std::string_view> body);

  // Append several records, each with a body of two parts and with consecutive numbers, or none of them on failure. All
  // are in one file, so that they are deleted together. If the process is killed during the call, only the first records
  // may remain.
  using parts = std::array<std::string_view, 2>;
  pl::result<void> append_all(std::span<const parts> bodies);

  // Return whether the source should apply back-pressure: max_bytes is reached, or the disk is full. Records in flight
  // can still be appended, beyond the limit. While the disk is full, the log checks once a second for space.
  [[nodiscard]] bool full() const;
  // Return why no record can be appended: a write or a sync failed. Empty: they can. The log tries to continue, once a
  // second.
  [[nodiscard]] std::string fault() const;
  // Report what happened since the last call. Call it at each poll.
  void report(const notice& to);

  // Return whether `more` bytes fit below max_bytes. If they do not, the files of settled records are deleted early, also
  // the last one, with the next free_settled or settle.
  [[nodiscard]] bool has_room(std::uint64_t more);
  // Call it at each poll.
  void free_settled();

  // Read records from `next` on, in order, at most `at_most`, until `take` returns false. Return the number after the
  // last record read. Damaged and missing records are reported as LOST, counted, kept aside and skipped.
  pl::result<std::uint64_t> read(std::uint64_t next, std::size_t at_most,
                                 const std::function<bool(std::uint64_t number, std::string_view body)>& take,
                                 const notice& report);
  // Return one record with a number below `end`; nothing if it is damaged or missing, which is not reported.
  pl::result<std::optional<std::string>> find(std::uint64_t number);
  // Wait until there may be records from `next` on.
  void wait(std::uint64_t next, std::chrono::nanoseconds at_most);

  // Make the next record's number at least `next`: the sinks have already seen lower numbers.
  pl::result<void> resume_at(std::uint64_t next);

  // Delete files whose newest record is older than max_age and that are not read yet; `next` is the read position.
  // Return the new read position, and report the lost records. Records that were read but not settled are kept.
  std::uint64_t expire(std::uint64_t next, const notice& report);

  // Mark all records below `next` as settled, and delete files that contain only settled records.
  void settle(std::uint64_t next);

  [[nodiscard]] const std::string& id() const noexcept { return id_; }  // id of this log: 16 hexadecimal digits
  [[nodiscard]] std::uint64_t settled() const;
  [[nodiscard]] std::uint64_t start() const;                           // where to begin to read
  [[nodiscard]] std::uint64_t begin() const;                           // number of the oldest record
  [[nodiscard]] std::uint64_t end() const;                             // the number that the next record gets
  [[nodiscard]] std::uint64_t lag_end(std::uint64_t next) const;       // next + the number of records from there on
  [[nodiscard]] std::uint64_t bytes() const;                           // on the disk
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }  // records that damage has cost
  [[nodiscard]] std::uint64_t faults() const;                          // failed writes and syncs

 private:
  using clock = std::chrono::steady_clock;
  using lock_guard = std::unique_lock<std::mutex>;
  // An append that waits for a sync.
  struct waiting {
    std::uint64_t number;
    std::optional<bool> stored;
  };
  // Why appending has stopped.
  struct trouble {
    std::string why;
    bool file_is_good = false;  // its records are intact, and nothing follows them
    clock::time_point retry_at;
    std::uint64_t attempts = 0;
  };
  struct message {
    severity how;
    std::string text;
  };
  // What the file "settled" holds. Every record below `end` was stored.
  struct positions {
    std::uint64_t settled = 0, end = 0;
    bool closed = false;  // all records are synced, and none was appended since
    bool operator==(const positions&) const = default;
  };

  explicit log(settings given) : settings_(std::move(given)) {}

  // Opening: spool.cpp.
  pl::result<void> lock();
  pl::result<void> identify();
  pl::result<void> load_positions(const notice& report);
  pl::result<void> recover(const notice& report);
  pl::result<std::uint64_t> scan_files(const notice& report);
  pl::result<void> reopen_last(const notice& report);
  pl::result<void> sync_recovered();
  void keep(const std::stop_token& stop);
  bool store_positions(bool closed = false);
  [[nodiscard]] bool last_is_settled() const;
  pl::result<std::uint64_t> skip_unknown(std::uint64_t next);
  [[nodiscard]] bool store_expired(std::uint64_t number) const;

  // Appending: spool_append.cpp.
  pl::result<void> make_ready(lock_guard& held);
  // Returns the next bytes to write; empty: that was all. They are valid until the next call.
  using portions = std::function<std::span<iovec>()>;
  pl::result<void> write(std::size_t size, std::uint64_t records, const portions& next);
  pl::result<void> appended(lock_guard& held);
  void keep_copy(std::span<const iovec> pieces);
  pl::result<void> begin_segment(std::uint64_t first);
  void sync_now(lock_guard& held);
  void resolve(std::uint64_t below, bool stored);
  void sync_failed(pl::failure why);
  void stop_appending(pl::failure why, bool file_is_good);
  void note(severity how, std::string text);
  void cut_last();
  void repair(lock_guard& held);
  void continue_in(segment fresh, pl::descriptor file);
  void works_again(std::uint64_t rewritten);
  void stored_as_asked();
  void note_recovery(const std::string& more);
  void make_room(lock_guard& held);
  [[nodiscard]] bool copies() const noexcept { return settings_.fsync == durability::interval; }
  [[nodiscard]] bool has_unsynced() const noexcept;
  [[nodiscard]] bool reads_synced_only() const noexcept;
  [[nodiscard]] std::uint64_t readable() const;

  // Reading: spool_read.cpp.
  [[nodiscard]] const segment* segment_with(std::uint64_t number) const;
  [[nodiscard]] std::optional<segment> view_of(std::uint64_t number) const;
  [[nodiscard]] bool is_final(std::uint64_t number) const;
  pl::result<void> place_reader(const segment& in, std::uint64_t next);
  pl::result<std::uint64_t> pass_damage(const segment& in, std::uint64_t next, const notice& report);
  void pass_missing(std::uint64_t first, std::uint64_t next, const notice& report);
  void lose(std::uint64_t first, std::uint64_t next, std::string_view why, const notice& report);
  [[nodiscard]] bool worth_a_retry(std::uint64_t number);
  [[nodiscard]] std::uint64_t end_of_old(std::uint64_t next);
  void remove_between(std::uint64_t next, std::uint64_t until);

  const settings settings_;
  std::string id_;
  pl::descriptor lock_;
  std::uint64_t start_ = 0;
  std::uint64_t expired_ = 0;  // records below may be missing because of max_age
  number_gaps skipped_;        // numbers that no record has
  std::optional<file_ages> ages_;
  nanoseconds ages_checked_{};

  mutable std::mutex mutex_;
  std::condition_variable appended_, synced_;
  std::condition_variable_any wake_;  // of the thread that runs `keep`
  bool hurry_ = false;                // it has something to do at once
  std::deque<segment> segments_;      // the last one is being written
  pl::descriptor active_;
  std::uint64_t files_ = 0;  // opened so far, for segment::file
  std::uint64_t bytes_ = 0;
  std::uint64_t settled_ = 0;
  std::uint64_t durable_ = 0;        // all records below are synced
  std::uint64_t synced_bytes_ = 0;   // the end of the last of them, in the last file
  std::string copy_, syncing_copy_;  // the bytes after it: those to sync, and those that a thread is syncing
  bool syncing_ = false;
  bool closed_ = true;       // until it is completely opened
  bool no_room_ = false;     // for a new file; the last one still has some
  bool wants_room_ = false;  // has_room has returned false since a file was deleted early
  clock::time_point room_checked_{}, synced_at_{};
  std::optional<trouble> trouble_;
  std::optional<clock::time_point> faulty_since_;  // a fault was reported, and no recovery yet
  unsigned repairs_ = 0;                           // since a record was last stored
  std::vector<waiting*> waiting_;
  std::vector<message> messages_;  // for `report`
  std::uint64_t faults_ = 0;

  std::mutex storing_;  // locked before mutex_
  positions stored_;
  bool store_failed_ = false;
  clock::time_point stored_at_{};

  std::optional<segment_reader> reader_;
  std::uint64_t reader_file_ = 0;  // segment::file of the file that reader_ reads
  std::uint64_t lost_ = 0;
  std::uint64_t unreadable_ = 0;  // number of the record that the system could not read, and the attempts
  int unreadable_attempts_ = 0;
  std::jthread keeper_;  // last: its thread uses the other members
};

}  // namespace spool
