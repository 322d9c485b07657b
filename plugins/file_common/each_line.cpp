// SPDX-License-Identifier: Apache-2.0
#include <file_common/each_line.hpp>

#include <cerrno>
#include <fstream>
#include <string>
#include <system_error>

namespace pl::files {

result<void> each_line(const std::filesystem::path& file, const std::function<void(std::string_view line)>& take) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(file))
    return fatal("cannot read " + file.string() + ": " + std::generic_category().message(errno != 0 ? errno : EISDIR));
  for (std::string line; std::getline(in, line);)
    if (!in.eof()) take(line);  // a last line without a newline is torn or still being written
  if (in.bad()) return fatal("cannot read " + file.string() + " to its end");
  return {};
}

}  // namespace pl::files
