// SPDX-License-Identifier: Apache-2.0
// A file of the part of a queue that is on disk. It is allocated at its full size, filled from its start, and removed with
// its object. The name is for operators: everything is read and written through the descriptor.
#pragma once

#include "engine/batch_codec.hpp"
#include "telemetry/metrics.hpp"

#include <pipeline/posix.hpp>
#include <pipeline/result.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace pl::engine {

// What the files of a queue take. Thread-safe.
class disk_usage {
 public:
  explicit disk_usage(telemetry::gauge bytes) : meter_(std::move(bytes)) {}
  void add(std::uint64_t bytes) {
    used_ += bytes;
    meter_.add(static_cast<double>(bytes));
  }
  void sub(std::uint64_t bytes) {
    used_ -= bytes;
    meter_.add(-static_cast<double>(bytes));
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return used_; }
  // Memory that the entries of groups in the files take.
  void add_entry(std::uint64_t memory) noexcept { entries_ += memory; }
  void sub_entry(std::uint64_t memory) noexcept { entries_ -= memory; }
  [[nodiscard]] std::uint64_t entries() const noexcept { return entries_; }

 private:
  std::atomic<std::uint64_t> used_{0}, entries_{0};
  telemetry::gauge meter_;
};

// Thread-safe, but for `append` and `count_for`, which one thread may call at a time.
class queue_segment {
 public:
  // Create a file of this size, which must not exist. A part of the file system stays free for spools and state.
  static result<std::shared_ptr<queue_segment>> create(const std::string& path, std::uint64_t bytes,
                                                       std::shared_ptr<disk_usage> usage);
  ~queue_segment();
  queue_segment(const queue_segment&) = delete;
  queue_segment& operator=(const queue_segment&) = delete;

  [[nodiscard]] bool fits(std::size_t bytes) const noexcept { return bytes <= size_ - end_; }
  // Return the offset of the bytes. After a failure, nothing was appended.
  result<std::uint64_t> append(std::string_view bytes);
  // Write bytes, to see whether it is possible; the next ones replace them.
  result<void> try_append(std::string_view bytes);
  // Read `to.size()` bytes.
  result<void> read(std::uint64_t offset, std::string& to) const;
  // Count the memory of a group's entry.
  void add_entry(std::uint64_t memory) noexcept;
  void sub_entry(std::uint64_t memory) noexcept;
  // Count the file for another queue, which took it over.
  void count_for(const std::shared_ptr<disk_usage>& usage);

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] schema_numbers& schemas() noexcept { return schemas_; }

 private:
  queue_segment(std::string path, descriptor file, std::uint64_t bytes, std::shared_ptr<disk_usage> usage);

  const std::string path_;
  const descriptor file_;
  const std::uint64_t size_;
  std::uint64_t end_ = 0;
  std::atomic<std::uint64_t> entries_{0};
  std::shared_ptr<disk_usage> usage_;
  schema_numbers schemas_;  // of the batches in this file
};

// The names of a pipeline's segments: <state_dir>/<pipeline>.<sink>.<writer>.<number>.queue
[[nodiscard]] std::string segment_name(std::string_view state_dir, std::string_view pipeline, std::string_view sink,
                                       unsigned writer, std::uint64_t number);

// Remove the segments that hosts left because they were killed, also those of pipelines that have another name since. Those
// that a running host uses stay.
struct removed_segments {
  std::uint64_t files = 0, bytes = 0;
};
removed_segments remove_old_segments(const std::string& state_dir);

}  // namespace pl::engine
