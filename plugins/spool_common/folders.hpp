// SPDX-License-Identifier: Apache-2.0
// Spools as folders: <state_dir>/spool/<pipeline>/<source>/<lane>. This part finds them, inspects them without opening
// them for writing, and moves them to another source. For the host, and for sources that read the spools of other lanes.
#pragma once

#include <pipeline/posix.hpp>
#include <pipeline/result.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace spool {

// Return the folder of a source's spools, which has one folder for each lane.
[[nodiscard]] std::filesystem::path source_folder(const std::filesystem::path& state_dir, std::string_view pipeline,
                                                  std::string_view source);

struct lane_folder {
  std::uint32_t lane;
  std::filesystem::path path;
};
// Return the folders of lanes that no longer exist (lane `lanes` and above), or of adopted spools, that `lane` reads:
// they are distributed by number modulo the number of lanes. In ascending order.
[[nodiscard]] std::vector<lane_folder> folders_beyond(const std::filesystem::path& source, std::uint32_t lane,
                                                      std::uint32_t lanes);

// The plugin that wrote the records of a spool, which determines their format. Empty: not known.
[[nodiscard]] std::string plugin_of(const std::filesystem::path& folder);
[[nodiscard]] pl::result<void> set_plugin(const std::filesystem::path& folder, std::string_view plugin);

// What a spool holds.
struct spool_info {
  std::filesystem::path folder;
  std::string pipeline, source, plugin, stream;
  std::uint64_t settled = 0, unsettled = 0;  // records: position below which they are settled, and number of the others
  std::uint64_t bytes = 0;                   // on the disk
  bool in_use = false;                       // a process has it open
};
// Return all spools below a state directory, in the order of their paths.
[[nodiscard]] std::vector<spool_info> find_spools(const std::filesystem::path& state_dir);

// The lock of a spool that no process uses, held until destruction. Fail with retry if a process uses it.
[[nodiscard]] pl::result<pl::descriptor> lock_spool(const std::filesystem::path& folder);
// Return whether the source has no spool for the lane of this one yet: it was renamed, and has not been started since.
[[nodiscard]] bool is_unstarted(const std::filesystem::path& folder, const std::filesystem::path& source,
                                std::uint32_t lanes);
// Move a locked spool to a source with this many lanes: as the spool of the same lane if it has none, so that its stream
// continues; else as that of a further lane. Return its new folder. Survives a power cut.
[[nodiscard]] pl::result<std::filesystem::path> move_spool(const std::filesystem::path& folder,
                                                           const std::filesystem::path& source, std::uint32_t lanes);

}  // namespace spool
