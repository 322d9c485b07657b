// SPDX-License-Identifier: Apache-2.0
#include "engine/local_letters.hpp"

#include <pipeline/json.hpp>
#include <pipeline/posix.hpp>

#include <fmt/format.h>

#include <system_error>

namespace pl::engine {

std::filesystem::path local_letters_file(const std::filesystem::path& state_dir, const std::string& pipeline) {
  return state_dir / (pipeline + ".dead-letters.ndjson");
}

result<void> local_letters::append(batch_view of, row_index row) {
  std::string line;
  append_json_row(line, of, row);
  line += '\n';
  const std::scoped_lock lock(mutex_);
  const auto failed = [&](std::error_code why) {
    return fatal(fmt::format("cannot write {}: {}", file_.string(), why.message()));
  };
  if (const auto error = make_folders(file_.parent_path())) return failed(error);
  const descriptor out(::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, data_file_mode));
  if (!out) return failed(last_error());
  const auto before = ::lseek(out.get(), 0, SEEK_END);
  auto error = write_all(out.get(), line);
  if (!error) error = sync_file(out.get());
  if (error) {
    if (::ftruncate(out.get(), before) != 0)
      return fatal(fmt::format("cannot write {}: {}; an incomplete line may remain at its end", file_.string(),
                               error.message()));
    return failed(error);
  }
  if (before == 0)
    if (const auto why = sync_folder_of(file_.string())) return failed(why);
  return {};
}

}  // namespace pl::engine
