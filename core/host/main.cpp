// SPDX-License-Identifier: Apache-2.0
// The program's entry point parses the command line. Each verb is implemented in a separate file.
#include "config/diagnostics.hpp"
#include "host/crash_report.hpp"
#include "host/verbs.hpp"
#include "host/version.hpp"

#include <pipeline/text.hpp>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace {

using pl::host::arguments;

constexpr const char* exit_codes =
    "Exit codes: 0 done; 1 failed while running; 2 wrong command line or configuration; 3 stopped with records "
    "unsettled;\n"
    "4 records were rejected (run --fail-on-rejects); 130 stopped by a second signal.";

void add_configs(CLI::App& verb, arguments& args) {
  verb.add_option("config", args.configs, "Configuration files; each YAML document is a pipeline")
      ->required()
      ->type_name("CONFIG");
  verb.add_option("--set", args.sets, "Override a value: --set sinks.store.batch.rows=500 (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

void add_plugin_dirs(CLI::App& verb, arguments& args) {
  verb.add_option("--plugin-dir", args.plugin_dirs,
                  "Directory to search first for plugins (repeatable; see also PIPELINE_PLUGIN_PATH)")
      ->type_name("DIR")
      ->allow_extra_args(false);
}

void add_logging(CLI::App& verb, arguments& args) {
  verb.add_option("--log-level", args.log_level,
                  "trace, debug, info, warn or error (default: from the configuration, else info)")
      ->type_name("LEVEL")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}));
  verb.add_option("--log-format", args.log_format, "text or json (default: from the configuration, else text)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json"}));
}

using verb_function = int (*)(const arguments&);

void add_dead_letter_filters(CLI::App& verb, arguments& args) {
  auto& l = args.dead_letters;
  verb.add_option("--node", l.node, "Only dead letters from this node")->type_name("NODE");
  verb.add_option("--reason", l.reason, "Only dead letters whose reason contains this text")->type_name("TEXT");
  verb.add_option("--since", l.since, "Only dead letters rejected at or after: 2026-11-24, 2026-11-24T18:10:23Z")
      ->type_name("TIME");
  verb.add_option("--stream", l.stream, "Only dead letters of this stream: iot-stream/3")->type_name("STREAM");
}

constexpr const char* dead_letter_place_help =
    "Configuration (*.yaml) that names the dead-letter file, or a dead-letter file";

void add_set_of_dead_letters(CLI::App& verb, arguments& args) {
  verb.add_option("--set", args.sets, "Override a value of the configuration (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

void add_retry(CLI::App& dead_letters, arguments& args, verb_function& verb) {
  auto* retry =
      dead_letters.add_subcommand("retry",
                                  "Deliver dead letters again after a fix: rows to the sink that did not store "
                                  "them, records through the transform that refused them");
  add_configs(*retry, args);
  add_dead_letter_filters(*retry, args);
  auto& l = args.dead_letters;
  retry->add_option("--pipeline", l.pipeline, "The pipeline, if the configuration has several")->type_name("NAME");
  retry->add_option("--source", l.source, "The source that the records replace, if there are several")
      ->type_name("NAME");
  retry
      ->add_option("--sink", l.sinks,
                   "Only dead letters of this sink (repeatable). With --node: deliver the dead letters of that "
                   "node to this sink alone")
      ->type_name("NAME")
      ->allow_extra_args(false);
  retry->add_flag("--dry-run", l.dry_run, "Only print what would be retried");
  retry->add_flag("--yes", l.yes, "Do not ask for confirmation");
  add_plugin_dirs(*retry, args);
  add_logging(*retry, args);
  retry->callback([&] { verb = pl::host::retry_dead_letters; });
}

void add_dead_letters(CLI::App& app, arguments& args, verb_function& verb) {
  auto* dead_letters = app.add_subcommand("dead-letters", "List, show and retry rejected records");
  dead_letters->require_subcommand(1);
  auto& l = args.dead_letters;

  auto* list = dead_letters->add_subcommand("list", "Count dead letters by node and reason");
  list->add_option("from", l.from, dead_letter_place_help)->required()->type_name("CONFIG|FILE");
  add_set_of_dead_letters(*list, args);
  add_dead_letter_filters(*list, args);
  list->add_flag("--each", l.each, "Print each dead letter on one line: time, node, stream, position, reason");
  list->add_option("--format", l.format, "text or ndjson (with --each: the dead letters as stored)")
      ->check(CLI::IsMember({"text", "ndjson"}))
      ->type_name("FORMAT");
  list->callback([&] { verb = pl::host::list_dead_letters; });

  auto* show = dead_letters->add_subcommand(
      "show", "Show a dead letter, with the record's original bytes as text or hexadecimal");
  show->add_option_function<std::string>(
          "from", [&l](const std::string& place) { l.from = {place}; }, dead_letter_place_help)
      ->required()
      ->type_name("CONFIG|FILE");
  add_set_of_dead_letters(*show, args);
  show->add_option("stream", l.stream, "Stream of the record: iot-stream/3")->required()->type_name("STREAM");
  show->add_option("position", l.position, "Position of the record in the stream; for Kafka the offset")
      ->required()
      ->type_name("POSITION");
  show->callback([&] { verb = pl::host::show_dead_letter; });

  add_retry(*dead_letters, args, verb);
}

void add_replay(CLI::App& app, arguments& args, verb_function& verb) {
  auto* replay = app.add_subcommand(
      "replay", "Run past records through a pipeline again while its host keeps running, or test rules on them");
  add_configs(*replay, args);
  auto& r = args.replay;
  replay
      ->add_option(
          "--from", r.from,
          "Where to begin: a time (2026-11-24, 2026-11-24T18:10:23Z), an age (7d, 2h), an offset in each partition, or "
          "the word 'beginning'")
      ->required()
      ->type_name("TIME|OFFSET");
  replay
      ->add_option("--to", r.until,
                   "Where to end, exclusive (default: the group's committed offset; the host reads later records)")
      ->type_name("TIME|OFFSET");
  replay->add_option("--partition", r.partitions, "Only this partition (repeatable)")
      ->type_name("N")
      ->allow_extra_args(false);
  replay->add_option("--stream", r.streams, "Only this stream: iot-stream/3 (repeatable)")
      ->type_name("STREAM")
      ->allow_extra_args(false);
  replay->add_option("--sink", r.sinks, "Write to this sink (repeatable; default: every sink that avoids duplicates)")
      ->type_name("NAME")
      ->allow_extra_args(false);
  replay->add_option("--pipeline", r.pipeline, "The pipeline, if the configuration has several")->type_name("NAME");
  replay->add_option("--source", r.source, "The source, if the pipeline has several")->type_name("NAME");
  replay->add_flag("--dry-run", r.dry_run,
                   "Write nothing; report how many records would be stored and rejected, and which alerts the rules "
                   "would have raised");
  replay->add_option("--format", r.format, "Format of the alerts of a dry run: text or ndjson")
      ->check(CLI::IsMember({"text", "ndjson"}))
      ->type_name("FORMAT");
  replay->add_flag("--reset-offsets", r.reset_offsets,
                   "Read nothing; reset the group's offsets so that the next start reads from there into all sinks. No "
                   "host of the group may be running");
  // Deprecated name of --reset-offsets; not in the help text.
  replay
      ->add_flag_callback("--order",
                          [&r] {
                            fmt::print(stderr, "warning: --order is deprecated; use --reset-offsets\n");
                            r.reset_offsets = true;
                          })
      ->group("");
  replay->add_flag("--yes", r.yes, "Do not ask for confirmation");
  add_plugin_dirs(*replay, args);
  add_logging(*replay, args);
  replay->callback([&] { verb = pl::host::replay; });
}

void add_alerts(CLI::App& app, arguments& args, verb_function& verb) {
  auto* alerts = app.add_subcommand(
      "alerts", "List the open alerts: those of the running host, or else those in the stored state");
  add_configs(*alerts, args);
  alerts->add_option("--pipeline", args.alerts.pipeline, "Only this pipeline")->type_name("NAME");
  alerts->add_flag("--stored", args.alerts.stored, "Read the stored state, even if a host runs");
  alerts->add_flag("--json", args.alerts.json, "Print a JSON array, with one alert on each line");
  add_plugin_dirs(*alerts, args);
  add_logging(*alerts, args);
  alerts->callback([&] { verb = pl::host::list_alerts; });
}

void add_spools(CLI::App& app, arguments& args, verb_function& verb) {
  auto* spools = app.add_subcommand("spools", "List the spools of sources, and adopt those that no source reads");
  spools->require_subcommand(1);
  auto& s = args.spools;

  auto* list = spools->add_subcommand("list", "List the spools in the state directory, and which source reads each");
  add_configs(*list, args);
  list->add_option("--format", s.format, "text or ndjson")
      ->check(CLI::IsMember({"text", "ndjson"}))
      ->type_name("FORMAT");
  add_plugin_dirs(*list, args);
  list->callback([&] { verb = pl::host::list_spools; });

  auto* adopt = spools->add_subcommand(
      "adopt",
      "Move spools that no source reads to a source, which then reads them to their end. Its host may be running");
  add_configs(*adopt, args);
  adopt
      ->add_option(
          "--spool", s.folders,
          "Only this spool, as `list` shows it (repeatable; default: every spool that no source reads and that "
          "holds unsettled records)")
      ->type_name("FOLDER")
      ->allow_extra_args(false);
  adopt->add_option("--pipeline", s.pipeline, "The pipeline of the source, if the configuration has several")
      ->type_name("NAME");
  adopt->add_option("--source", s.source, "The source, if several can read the spool")->type_name("NAME");
  adopt->add_flag("--dry-run", s.dry_run, "Only print what would be moved");
  adopt->add_flag("--yes", s.yes, "Do not ask for confirmation");
  add_plugin_dirs(*adopt, args);
  add_logging(*adopt, args);
  adopt->callback([&] { verb = pl::host::adopt_spools; });
}

void add_test(CLI::App& app, arguments& args, verb_function& verb) {
  auto* test = app.add_subcommand(
      "test",
      "Run test cases through a pipeline without servers: records go in, and the rows that come out are compared");
  auto& t = args.test;
  test->add_option("config", t.config, "Configuration file; each YAML document is a pipeline")
      ->required()
      ->type_name("CONFIG");
  test->add_option(
          "cases", t.cases,
          "Files of test cases (default: NAME.test.yaml and NAME.*.test.yaml beside the configuration NAME.yaml)")
      ->type_name("CASES");
  test->add_option("--only", t.only, "Run only the cases whose name contains this text")->type_name("TEXT");
  test->add_option("--junit", t.junit, "Also write the results to this file, as JUnit XML")->type_name("FILE");
  test->add_flag("--require-coverage", t.require_coverage,
                 "Fail if a node, an output or an alert rule of the pipeline is not reached by any case");
  test->add_option("--set", args.sets, "Override a value: --set transforms.alerts.rules[0].above=70 (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  add_plugin_dirs(*test, args);
  add_logging(*test, args);
  test->callback([&] { verb = pl::host::run_tests; });
}

// Report an unknown verb, with a suggestion. CLI11 itself only reports that a verb is missing.
bool is_unknown_verb(const CLI::App& app, std::string_view word) {
  if (word.starts_with('-')) return false;
  std::vector<std::string> names;
  for (const auto* verb : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(verb->get_name());
  const std::vector<std::string_view> verbs(names.begin(), names.end());
  if (std::find(verbs.begin(), verbs.end(), word) != verbs.end()) return false;
  const auto guess = pl::did_you_mean(word, verbs);
  fmt::print(stderr, "error: unknown verb '{}'{}{}\nRun with --help for more information.\n", word,
             guess.empty() ? "" : "; ", guess);
  return true;
}

}  // namespace

namespace {

// NOLINTNEXTLINE(readability-function-size): one block for each verb
int run_verb(int argc, char** argv) {
  CLI::App app{"Runs pipelines: sources, transforms and sinks from plugins, wired together in YAML."};
  app.name("pipeline-host");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("pipeline-host ") + std::string(pl::host::version));
  app.footer(exit_codes);
  app.failure_message(CLI::FailureMessage::simple);
  arguments args;
  verb_function verb = nullptr;

  auto* run = app.add_subcommand(
      "run",
      "Run pipelines until they end or a signal arrives (SIGTERM, SIGINT: finish what is in flight; SIGHUP: reload)");
  add_configs(*run, args);
  run->add_flag("--fresh", args.fresh,
                "Start over: forget the positions and the state of transforms that earlier runs stored in state_dir");
  run->add_flag("--fail-on-rejects", args.fail_on_rejects, "End with exit code 4 if a record was rejected");
  add_plugin_dirs(*run, args);
  add_logging(*run, args);
  run->callback([&] { verb = pl::host::run; });

  auto* validate =
      app.add_subcommand("validate", "Check configurations and their plugins' options without starting anything");
  add_configs(*validate, args);
  add_plugin_dirs(*validate, args);
  add_logging(*validate, args);
  validate->add_flag("--connect", args.connect, "Also check the servers: the topic exists, the table has the columns");
  validate->callback([&] { verb = pl::host::validate; });

  auto* plugins = app.add_subcommand("plugins", "List the plugins");
  add_plugin_dirs(*plugins, args);
  plugins->require_subcommand(0, 1);
  auto* describe = plugins->add_subcommand("describe", "Show a plugin's options, defaults, ports and an example");
  describe
      ->add_option("name", args.component,
                   "Plugin name, as in `plugin:`; `configuration` or `metrics` for the host's own")
      ->required()
      ->type_name("NAME");
  describe->add_option("--format", args.describe_as, "text or markdown")
      ->check(CLI::IsMember({"text", "markdown"}))
      ->type_name("FORMAT");
  add_plugin_dirs(*describe, args);
  plugins->callback([&] { verb = describe->parsed() ? pl::host::describe_plugin : pl::host::list_plugins; });

  add_test(app, args, verb);
  add_dead_letters(app, args, verb);
  add_replay(app, args, verb);
  add_alerts(app, args, verb);
  add_spools(app, args, verb);

  auto* eval = app.add_subcommand("eval", "Evaluate an expression for one row, to try it out");
  add_eval_arguments(*eval, args.eval);
  eval->callback([&] { verb = pl::host::eval; });

  auto* schema = app.add_subcommand("schema", "Print the JSON Schema of configurations, for editors");
  add_plugin_dirs(*schema, args);
  schema->callback([&] { verb = pl::host::print_schema; });

  auto* completion =
      app.add_subcommand("completion", "Print shell completion: eval \"$(pipeline-host completion bash)\"");
  completion->add_option("shell", args.shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}))
      ->type_name("SHELL");
  completion->callback([&] { verb = pl::host::print_completion; });

  std::string topic;
  auto* help = app.add_subcommand(
      "help", "Show the help of a verb, or the functions of expressions: pipeline-host help expressions");
  help->add_option("verb", topic, "Name of the verb")->type_name("VERB");
  help->callback([&] {
    verb = [](const arguments&) -> int { return pl::host::exit_ok; };
    if (!topic.empty() && topic != "expressions" && is_unknown_verb(app, topic))
      return void(verb = [](const arguments&) -> int { return pl::host::exit_usage; });
    if (topic == "expressions") return (void)pl::host::print_expressions(false);
    fmt::print("{}", topic.empty() ? app.help()
                                   : app.get_subcommand(topic)->help(app.get_name()));  // throws for an unknown verb
  });

  try {
    if (argc > 1 && is_unknown_verb(app, argv[1])) return pl::host::exit_usage;
    auto words = pl::host::separate_expression(argc, argv);
    if (pl::host::report_second_expression(words)) return pl::host::exit_usage;
    std::reverse(words.begin(), words.end());  // as CLI11 expects a list of words
    app.parse(std::move(words));
    return verb(args);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? pl::host::exit_ok : pl::host::exit_usage;
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return pl::host::exit_failed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  pl::host::report_crashes();
  const int code = run_verb(argc, argv);
  pl::host::expect_exit();
  return code;
}
