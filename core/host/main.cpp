// SPDX-License-Identifier: Apache-2.0
// The command line: parsed here, carried out in one file for each verb.
#include "config/diagnostics.hpp"
#include "host/verbs.hpp"
#include "host/version.hpp"

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
    "130 stopped by a second signal.";

void add_configs(CLI::App& verb, arguments& args) {
  verb.add_option("config", args.configs, "Configuration files; each document is a pipeline")
      ->required()
      ->type_name("CONFIG");
  verb.add_option("--set", args.sets, "Override a value: --set sinks.store.batch.rows=500 (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

void add_plugin_dirs(CLI::App& verb, arguments& args) {
  verb.add_option("--plugin-dir", args.plugin_dirs,
                  "Where to look for plugins first (repeatable; also PIPELINE_PLUGIN_PATH)")
      ->type_name("DIR")
      ->allow_extra_args(false);
}

void add_logging(CLI::App& verb, arguments& args) {
  verb.add_option("--log-level", args.log_level,
                  "trace, debug, info, warn or error (default: the configuration's, else info)")
      ->type_name("LEVEL")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}));
  verb.add_option("--log-format", args.log_format, "text or json (default: the configuration's, else text)")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"text", "json"}));
}

using verb_function = int (*)(const arguments&);

void add_letter_filters(CLI::App& verb, arguments& args) {
  auto& l = args.letters;
  verb.add_option("--node", l.node, "Only those that this node has rejected")->type_name("NODE");
  verb.add_option("--reason", l.reason, "Only those whose reason has this text in it")->type_name("TEXT");
  verb.add_option("--since", l.since, "Only those rejected since: 2026-11-24, or 2026-11-24T18:10:23Z")
      ->type_name("TIME");
  verb.add_option("--stream", l.stream, "Only those of this stream: iot-stream/3")->type_name("STREAM");
}

constexpr const char* letter_place_help =
    "Configuration (*.yaml), whose file_sink for dead letters is looked up, or a file of letters";

void add_set_of_letters(CLI::App& verb, arguments& args) {
  verb.add_option("--set", args.sets, "Override a value of the configuration (repeatable)")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

void add_retry(CLI::App& letters, arguments& args, verb_function& verb) {
  auto* retry = letters.add_subcommand("retry",
                                       "Put the original records through the pipeline again, after a fix; sinks that "
                                       "have one already get it again");
  add_configs(*retry, args);
  add_letter_filters(*retry, args);
  auto& l = args.letters;
  retry->add_option("--pipeline", l.pipeline, "Which pipeline, where the configuration has several")->type_name("NAME");
  retry->add_option("--source", l.source, "In the place of which source, where there are several")->type_name("NAME");
  retry->add_flag("--dry-run", l.dry_run, "Only say what would be put through");
  retry->add_flag("--yes", l.yes, "Don't ask");
  add_plugin_dirs(*retry, args);
  add_logging(*retry, args);
  retry->callback([&] { verb = pl::host::retry_dead_letters; });
}

void add_dead_letters(CLI::App& app, arguments& args, verb_function& verb) {
  auto* letters = app.add_subcommand("dead-letters", "What was rejected, and why; put it through again after a fix");
  letters->require_subcommand(1);
  auto& l = args.letters;

  auto* list = letters->add_subcommand("list", "How many letters there are, by node and reason");
  list->add_option("from", l.from, letter_place_help)->required()->type_name("CONFIG|FILE");
  add_set_of_letters(*list, args);
  add_letter_filters(*list, args);
  list->add_flag("--each", l.each, "Each letter on a line: time, node, stream, position, reason");
  list->add_option("--format", l.format, "text or ndjson (with --each: the letters as they are)")
      ->check(CLI::IsMember({"text", "ndjson"}))
      ->type_name("FORMAT");
  list->callback([&] { verb = pl::host::list_dead_letters; });

  auto* show =
      letters->add_subcommand("show", "All of a letter, and the record's original bytes as text or hexadecimal");
  show->add_option_function<std::string>(
          "from", [&l](const std::string& place) { l.from = {place}; }, letter_place_help)
      ->required()
      ->type_name("CONFIG|FILE");
  add_set_of_letters(*show, args);
  show->add_option("stream", l.stream, "The record's stream: iot-stream/3")->required()->type_name("STREAM");
  show->add_option("position", l.position, "Its position in the stream: for Kafka the offset")
      ->required()
      ->type_name("POSITION");
  show->callback([&] { verb = pl::host::show_dead_letter; });

  add_retry(*letters, args, verb);
}

void add_replay(CLI::App& app, arguments& args, verb_function& verb) {
  auto* replay = app.add_subcommand(
      "replay", "Put a part of the past through a pipeline again, beside the host that runs it; or try rules on it");
  add_configs(*replay, args);
  auto& r = args.replay;
  replay
      ->add_option(
          "--from", r.from,
          "Where to begin: a time (2026-11-24, 2026-11-24T18:10:23Z), how long ago (7d, 2h), an offset of each "
          "partition, or beginning")
      ->required()
      ->type_name("TIME|OFFSET");
  replay
      ->add_option("--to", r.until,
                   "Where to end, before this (default: where the pipeline stands, so that nothing is read by both)")
      ->type_name("TIME|OFFSET");
  replay->add_option("--partition", r.partitions, "Only this partition (repeatable)")
      ->type_name("N")
      ->allow_extra_args(false);
  replay->add_option("--stream", r.streams, "Only this stream: iot-stream/3 (repeatable)")
      ->type_name("STREAM")
      ->allow_extra_args(false);
  replay->add_option("--sink", r.sinks, "Into this sink (repeatable; default: each sink where it leaves no duplicates)")
      ->type_name("NAME")
      ->allow_extra_args(false);
  replay->add_option("--pipeline", r.pipeline, "Which pipeline, where the configuration has several")
      ->type_name("NAME");
  replay->add_option("--source", r.source, "Which source, where the pipeline has several")->type_name("NAME");
  replay->add_flag("--dry-run", r.dry_run,
                   "Read and check, but write nothing anywhere: how many records, what would be stored, rejected, and "
                   "which alerts the rules would have raised");
  replay->add_option("--format", r.format, "Of the alerts of a dry run: text or ndjson")
      ->check(CLI::IsMember({"text", "ndjson"}))
      ->type_name("FORMAT");
  replay->add_flag("--order", r.order,
                   "Read nothing: reset the group's offsets, while no host runs, so that the next start reads on from "
                   "there, into all sinks");
  replay->add_flag("--yes", r.yes, "Don't ask");
  add_plugin_dirs(*replay, args);
  add_logging(*replay, args);
  replay->callback([&] { verb = pl::host::replay; });
}

// CLI11 says only that a verb is missing.
bool is_unknown_verb(const CLI::App& app, std::string_view word) {
  if (word.starts_with('-')) return false;
  std::vector<std::string> names;
  for (const auto* verb : app.get_subcommands([](const CLI::App*) { return true; })) names.push_back(verb->get_name());
  const std::vector<std::string_view> verbs(names.begin(), names.end());
  if (std::find(verbs.begin(), verbs.end(), word) != verbs.end()) return false;
  const auto guess = pl::config::did_you_mean(word, verbs);
  fmt::print(stderr, "error: unknown verb '{}'{}{}\nRun with --help for more information.\n", word,
             guess.empty() ? "" : "; ", guess);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
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
      "Run pipelines until they end or a signal comes (SIGTERM, SIGINT: finish what is in flight; SIGHUP: reload)");
  add_configs(*run, args);
  add_plugin_dirs(*run, args);
  add_logging(*run, args);
  run->callback([&] { verb = pl::host::run; });

  auto* validate = app.add_subcommand("validate", "Check configurations and their plugins' options, and start nothing");
  add_configs(*validate, args);
  add_plugin_dirs(*validate, args);
  add_logging(*validate, args);
  validate->add_flag("--connect", args.connect, "Also ask the servers: the topic exists, the table has the columns");
  validate->callback([&] { verb = pl::host::validate; });

  auto* plugins = app.add_subcommand("plugins", "List the plugins");
  add_plugin_dirs(*plugins, args);
  plugins->require_subcommand(0, 1);
  auto* describe = plugins->add_subcommand("describe", "Options, defaults, ports and an example of a plugin");
  describe
      ->add_option("name", args.component,
                   "The plugin, as in `plugin:`; `configuration` and `metrics` for the host's own")
      ->required()
      ->type_name("NAME");
  describe->add_option("--format", args.describe_as, "text or markdown")
      ->check(CLI::IsMember({"text", "markdown"}))
      ->type_name("FORMAT");
  add_plugin_dirs(*describe, args);
  plugins->callback([&] { verb = describe->parsed() ? pl::host::describe_plugin : pl::host::list_plugins; });

  add_dead_letters(app, args, verb);
  add_replay(app, args, verb);

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
  auto* help = app.add_subcommand("help", "Help for a verb: pipeline-host help run");
  help->add_option("verb", topic, "The verb")->type_name("VERB");
  help->callback([&] {
    fmt::print("{}", topic.empty() ? app.help()
                                   : app.get_subcommand(topic)->help(app.get_name()));  // throws where there is none
    verb = [](const arguments&) -> int { return pl::host::exit_ok; };
  });

  try {
    if (argc > 1 && is_unknown_verb(app, argv[1])) return pl::host::exit_usage;
    app.parse(argc, argv);
    return verb(args);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? pl::host::exit_ok : pl::host::exit_usage;
  } catch (const std::exception& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return pl::host::exit_failed;
  }
}
