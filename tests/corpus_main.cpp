// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without a fuzzer: on each file of the folders in the arguments, and on about 64 prefixes of each.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace fs = std::filesystem;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::uint8_t> content_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void run(const fs::path& file) {
  const auto whole = content_of(file);
  // Print the name first: after an abort, the last line names the file.
  std::printf("%s\n", file.c_str());
  std::fflush(stdout);
  const std::size_t step = std::max<std::size_t>(1, whole.size() / 64);
  for (std::size_t size = 0; size < whole.size(); size += step) LLVMFuzzerTestOneInput(whole.data(), size);
  LLVMFuzzerTestOneInput(whole.data(), whole.size());
}

}  // namespace

int main(int argc, char** argv) try {
  std::size_t files = 0;
  for (int i = 1; i < argc; ++i)
    for (const auto& entry : fs::recursive_directory_iterator(argv[i]))
      if (entry.is_regular_file()) run(entry.path()), ++files;
  if (files == 0) std::fprintf(stderr, "no files in the corpus\n");
  return files == 0 ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "%s\n", e.what());
  return 1;
}
