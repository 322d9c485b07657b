// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "host/eval.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pl::host {

// Exit codes, as documented in docs/cli.md.
enum exit_code {
  exit_ok = 0,  // done, or stopped on request with all records settled
  // A pipeline failed while it ran, a server check failed (validate --connect), a dead letter does not exist
  // (dead-letters show), a record was rejected again (dead-letters retry), an evaluation failed (eval), or a test case
  // failed (test).
  exit_failed = 1,
  exit_usage = 2,      // the command line, the configuration or an expression is wrong; nothing was started
  exit_unsettled = 3,  // stopped, but shutdown_timeout was too short; records in flight are read again next time
  exit_rejects = 4,    // done, but records were rejected (run --fail-on-rejects)
  exit_at_once = 130   // stopped by a second signal
};

// Arguments of `dead-letters`. Comments name the verb that a member belongs to.
struct dead_letter_arguments {
  std::vector<std::string> from;  // list, show: configurations or dead-letter files
  std::string pipeline, node, reason, stream, source;
  std::vector<std::string> sinks;  // retry
  std::string since;
  std::string position;               // show
  std::string format = "text";        // list
  bool each = false;                  // list
  bool dry_run = false, yes = false;  // retry
};

// Arguments of `replay`.
struct replay_arguments {
  std::string pipeline, source, from, until;
  std::vector<std::string> streams, sinks;
  std::vector<std::uint32_t> partitions;
  std::string format = "text";
  bool dry_run = false, reset_offsets = false, yes = false;
};

// Arguments of `alerts`.
struct alert_arguments {
  std::string pipeline;
  bool json = false, stored = false;
};

// Arguments of `spools`.
struct spool_arguments {
  std::string pipeline, source;       // adopt
  std::vector<std::string> folders;   // adopt
  std::string format = "text";        // list
  bool dry_run = false, yes = false;  // adopt
};

// Arguments of `test`.
struct test_arguments {
  std::string config;
  std::vector<std::string> cases;  // files; empty: those beside the configuration
  std::string only;                // part of the name of a case
  std::string junit;               // file
  bool require_coverage = false;
};

// The parsed command line. Comments name the verb that a member belongs to.
struct arguments {
  std::vector<std::string> configs;
  std::vector<std::string> plugin_dirs;
  std::vector<std::string> sets;
  std::optional<std::string> log_level, log_format;
  bool fresh = false, fail_on_rejects = false;  // run
  bool connect = false;                         // validate
  std::string component;                        // plugins describe
  std::string describe_as = "text";
  std::string shell;  // completion
  dead_letter_arguments dead_letters;
  replay_arguments replay;
  alert_arguments alerts;
  spool_arguments spools;
  eval_arguments eval;
  test_arguments test;
};

}  // namespace pl::host
