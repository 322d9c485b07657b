// SPDX-License-Identifier: Apache-2.0
// `pipeline-host eval`: evaluate one expression for one row, without a pipeline.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace pl::host {

struct arguments;

// Arguments of `eval`.
struct eval_arguments {
  std::string expression;
  std::string with = "{}";
  bool json = false;
};

// Declare the verb's arguments.
void add_eval_arguments(CLI::App& verb, eval_arguments& args);

// Return the program's arguments without its name, with `--` before the expression of `eval`, so that an expression may
// begin with a minus sign.
[[nodiscard]] std::vector<std::string> separate_expression(int argc, const char* const* argv);

// Report the second of several expressions in the result of separate_expression, if there is one.
bool report_second_expression(const std::vector<std::string>& words);

int eval(const arguments& args);

// Print the operators and functions, for `help expressions` and `plugins describe expressions`.
int print_expressions(bool markdown);

}  // namespace pl::host
