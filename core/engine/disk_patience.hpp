// SPDX-License-Identifier: Apache-2.0
// Decides when lanes wait for a sink, although its queue could store batches on disk. A sink that works, but is slower than
// its source, makes room again within milliseconds: to wait for it costs nothing, while the disk costs about as much CPU
// time as the rest of the pipeline, and would hold a whole backlog of the source twice. A sink that is down or slow must not
// be waited for, because the other sinks would wait with it. Not synchronized: the queue's lock protects it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

namespace pl::engine {

class disk_patience {
 public:
  using time = std::chrono::steady_clock::time_point;
  // Without a write that succeeds; a quarter of it for a sink that has not written anything so far. An outage delays the
  // other sinks once, by this time.
  static constexpr auto usual_wait = std::chrono::milliseconds(200);
  // Bytes of memory a second that a sink must write to be waited for: about 16,000 small records.
  static constexpr std::uint64_t quick = std::uint64_t{16} << 20U;

  // With a wait of 0, lanes never wait, and no batch exceeds the memory.
  explicit disk_patience(std::chrono::nanoseconds wait) : wait_(wait) {}
  [[nodiscard]] bool any() const noexcept { return wait_.count() != 0; }

  // A batch was queued. used_up: the queue has no memory for the next one.
  void queued(time now, bool used_up) {
    if (!used_up)
      used_up_since_.reset();
    else if (!used_up_since_)
      used_up_since_ = now;
  }
  // A batch was stored on disk; waiting: lanes wait, but this one had begun before. Lanes that wait store less than is
  // written, so that the disk is empty again before the source has nothing more to read.
  void stored(std::uint64_t bytes, bool waiting) noexcept { owed_ = (waiting ? owed_ : 0) + 2 * bytes; }

  void begin_write(time now) noexcept { writing_since_ = now; }
  // Small writes say nothing about the speed.
  void end_write(std::uint64_t bytes, time now) noexcept {
    owed_ -= std::min(owed_, bytes);
    written_at_ = now;
    if (writing_since_ && bytes >= large_write) {
      const auto took = std::chrono::duration<double>(now - *writing_since_).count();
      quick_ = static_cast<double>(bytes) >= took * static_cast<double>(quick);
    }
    writing_since_.reset();
  }

  // Whether lanes wait for a queue whose memory is used up.
  [[nodiscard]] bool waits(time now, bool on_disk) const noexcept {
    if (!quick_ || !used_up_since_ || (on_disk && owed_ == 0)) return false;
    return now - std::max(*used_up_since_, written_at_) < (written_at_ == time{} ? wait_ / 4 : wait_);
  }

 private:
  static constexpr std::uint64_t large_write = std::uint64_t{1} << 20U;
  std::chrono::nanoseconds wait_;
  std::optional<time> used_up_since_, writing_since_;
  time written_at_{};
  std::uint64_t owed_ = 0;  // bytes to be written before the next batch is stored
  bool quick_ = true;       // as far as is known
};

}  // namespace pl::engine
