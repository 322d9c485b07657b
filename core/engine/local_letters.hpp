// SPDX-License-Identifier: Apache-2.0
// The last resort for dead letters that the dead-letter sink rejects even without their content: an NDJSON file in the
// state directory, in the format of file_sink, which `dead-letters` reads. Any thread.
#pragma once

#include <pipeline/batch.hpp>
#include <pipeline/result.hpp>

#include <filesystem>
#include <mutex>
#include <string>

namespace pl::engine {

// Return the file's path.
[[nodiscard]] std::filesystem::path local_letters_file(const std::filesystem::path& state_dir,
                                                       const std::string& pipeline);

class local_letters {
 public:
  explicit local_letters(std::filesystem::path file) : file_(std::move(file)) {}
  [[nodiscard]] const std::filesystem::path& file() const noexcept { return file_; }
  // Append a dead letter, and wait until it would survive a power cut. After an error the file is as it was before.
  result<void> append(batch_view of, row_index row);

 private:
  std::mutex mutex_;
  const std::filesystem::path file_;
};

}  // namespace pl::engine
