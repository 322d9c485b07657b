// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pl::host {

// Exit codes, as documented in docs/cli.md.
enum exit_code {
  exit_ok = 0,      // done, or stopped as asked with everything settled
  exit_failed = 1,  // a pipeline failed while it ran, a server did not fit (validate --connect), a letter isn't there
                    // (dead-letters show) or was rejected again (dead-letters retry)
  exit_usage = 2,   // the command line or the configuration is wrong; nothing was started
  exit_unsettled = 3,  // stopped, but shutdown_timeout was too short for what was in flight; it is read again next time
  exit_at_once = 130   // stopped by a second signal
};

// What stands behind `dead-letters`.
struct letter_arguments {
  std::vector<std::string> from;  // list, show: configurations, or files of letters
  std::string pipeline, node, reason, stream, source;
  std::string since;
  std::string position;               // show
  std::string format = "text";        // list
  bool each = false;                  // list
  bool dry_run = false, yes = false;  // retry
};

// What stands behind `replay`.
struct replay_arguments {
  std::string pipeline, source, from, until;
  std::vector<std::string> streams, sinks;
  std::vector<std::uint32_t> partitions;
  std::string format = "text";
  bool dry_run = false, order = false, yes = false;
};

// The command line, as far as it is common to the verbs.
struct arguments {
  std::vector<std::string> configs;
  std::vector<std::string> plugin_dirs;
  std::vector<std::string> sets;
  std::optional<std::string> log_level, log_format;
  bool connect = false;   // validate
  std::string component;  // plugins describe
  std::string describe_as = "text";
  std::string shell;  // completion
  letter_arguments letters;
  replay_arguments replay;
};

}  // namespace pl::host
