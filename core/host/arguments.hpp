// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace pl::host {

// Exit codes, as documented in docs/cli.md.
enum exit_code {
  exit_ok = 0,         // done, or stopped as asked with everything settled
  exit_failed = 1,     // a pipeline failed while it ran, or a server did not fit (validate --connect)
  exit_usage = 2,      // the command line or the configuration is wrong; nothing was started
  exit_unsettled = 3,  // stopped, but shutdown_timeout was too short for what was in flight; it is read again next time
  exit_at_once = 130   // stopped by a second signal
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
};

}  // namespace pl::host
