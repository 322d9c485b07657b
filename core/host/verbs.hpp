// SPDX-License-Identifier: Apache-2.0
// One function for each verb. Each function returns the exit code.
#pragma once

#include "host/arguments.hpp"

namespace pl::host {

int run(const arguments& args);
int validate(const arguments& args);
int list_plugins(const arguments& args);
int describe_plugin(const arguments& args);
int print_schema(const arguments& args);
int print_completion(const arguments& args);
int list_dead_letters(const arguments& args);
int show_dead_letter(const arguments& args);
int retry_dead_letters(const arguments& args);
int replay(const arguments& args);
int list_alerts(const arguments& args);
int list_spools(const arguments& args);
int run_tests(const arguments& args);
int adopt_spools(const arguments& args);

}  // namespace pl::host
