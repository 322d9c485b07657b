// SPDX-License-Identifier: Apache-2.0
#include "host/verbs.hpp"

#include <cstdio>
#include <string_view>

namespace pl::host {

namespace {

constexpr std::string_view bash = R"sh(_pipeline_host() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}
  case $prev in
    --log-level) COMPREPLY=($(compgen -W 'trace debug info warn error' -- "$cur")); return ;;
    --log-format) COMPREPLY=($(compgen -W 'text json' -- "$cur")); return ;;
    --format) [ "$verb" != plugins ] && COMPREPLY=($(compgen -W 'text ndjson' -- "$cur")) || COMPREPLY=($(compgen -W 'text markdown' -- "$cur")); return ;;
    --plugin-dir) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    describe) COMPREPLY=($(compgen -W "$(pipeline-host plugins 2>/dev/null | cut -d' ' -f1)" -- "$cur")); return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W 'run validate test plugins dead-letters replay alerts spools eval schema completion help --help --version' -- "$cur")); return
  fi
  case $verb in
    run) COMPREPLY=($(compgen -W '--fresh --fail-on-rejects --set --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    validate) COMPREPLY=($(compgen -W '--connect --set --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    test) COMPREPLY=($(compgen -W '--only --junit --require-coverage --set --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    plugins) COMPREPLY=($(compgen -W 'describe --plugin-dir --help' -- "$cur")) ;;
    dead-letters)
      if [ "$COMP_CWORD" -eq 2 ]; then COMPREPLY=($(compgen -W 'list show retry --help' -- "$cur")); return; fi
      local options='--set --help'
      case ${COMP_WORDS[2]} in
        list) options="$options --node --reason --since --stream --each --format" ;;
        retry) options="$options --node --reason --since --stream --pipeline --source --sink --dry-run --yes --plugin-dir --log-level --log-format" ;;
      esac
      COMPREPLY=($(compgen -W "$options" -- "$cur") $(compgen -f -X '!*.@(yaml|yml|ndjson)' -- "$cur") $(compgen -d -- "$cur")) ;;
    replay) COMPREPLY=($(compgen -W '--set --from --to --partition --stream --sink --pipeline --source --dry-run --format --reset-offsets --yes --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    spools)
      if [ "$COMP_CWORD" -eq 2 ]; then COMPREPLY=($(compgen -W 'list adopt --help' -- "$cur")); return; fi
      local options='--set --plugin-dir --help'
      case ${COMP_WORDS[2]} in
        list) options="$options --format" ;;
        adopt) options="$options --spool --pipeline --source --dry-run --yes --log-level --log-format" ;;
      esac
      COMPREPLY=($(compgen -W "$options" -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    alerts) COMPREPLY=($(compgen -W '--set --pipeline --json --stored --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    eval) COMPREPLY=($(compgen -W '--with --json --help' -- "$cur")) ;;
    schema) COMPREPLY=($(compgen -W '--plugin-dir --help' -- "$cur")) ;;
    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$cur")) ;;
  esac
}
complete -o filenames -F _pipeline_host pipeline-host
)sh";

constexpr std::string_view fish =
    R"sh(set -l verbs run validate test plugins dead-letters replay alerts spools eval schema completion help
complete -c pipeline-host -n "not __fish_seen_subcommand_from $verbs" -f -a "$verbs"
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate test dead-letters replay alerts spools" -l set -r -d 'Override a value: PATH=VALUE'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate test retry replay adopt alerts" -l log-level -r -f -a 'trace debug info warn error'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate test retry replay adopt alerts" -l log-format -r -f -a 'text json'
complete -c pipeline-host -n "__fish_seen_subcommand_from test" -l only -r -d 'Run only the cases whose name contains this text'
complete -c pipeline-host -n "__fish_seen_subcommand_from test" -l junit -r -F -d 'Also write the results as JUnit XML'
complete -c pipeline-host -n "__fish_seen_subcommand_from test" -l require-coverage -d 'Fail if a part of the pipeline is not reached'
complete -c pipeline-host -n "__fish_seen_subcommand_from run" -l fresh -d 'Start over'
complete -c pipeline-host -n "__fish_seen_subcommand_from run" -l fail-on-rejects -d 'End with exit code 4 if a record was rejected'
complete -c pipeline-host -n "__fish_seen_subcommand_from alerts" -l stored -d 'Read the stored state'
complete -c pipeline-host -n "__fish_seen_subcommand_from alerts" -l json -d 'Print a JSON array'
complete -c pipeline-host -n "__fish_seen_subcommand_from validate" -l connect -d 'Also check the servers'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate test plugins schema retry replay spools alerts" -l plugin-dir -r -d 'Directory to search first for plugins'
complete -c pipeline-host -n "__fish_seen_subcommand_from plugins" -f -a 'describe'
complete -c pipeline-host -n "__fish_seen_subcommand_from dead-letters; and not __fish_seen_subcommand_from list show retry" -f -a 'list show retry'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry" -l node -r -f -d 'Only dead letters from this node'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry" -l reason -r -f -d 'Only dead letters whose reason contains this text'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry" -l since -r -f -d 'Only dead letters rejected at or after'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry replay" -l stream -r -f -d 'Only this stream'
complete -c pipeline-host -n "__fish_seen_subcommand_from list" -l each -d 'Print each dead letter on one line'
complete -c pipeline-host -n "__fish_seen_subcommand_from list replay" -l format -r -f -a 'text ndjson'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay adopt alerts" -l pipeline -r -f -d 'The pipeline, if there are several'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay adopt" -l source -r -f -d 'The source, if there are several'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay adopt" -l dry-run -d 'Write nothing'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay adopt" -l yes -d 'Do not ask for confirmation'
complete -c pipeline-host -n "__fish_seen_subcommand_from spools; and not __fish_seen_subcommand_from list adopt" -f -a 'list adopt'
complete -c pipeline-host -n "__fish_seen_subcommand_from adopt" -l spool -r -d 'Only this spool'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l from -r -f -d 'Where to begin: a time, an age, an offset'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l to -r -f -d 'Where to end'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l partition -r -f -d 'Only this partition'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay" -l sink -r -f -d 'Only this sink'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l reset-offsets -d "Read nothing; reset the group's offsets"
complete -c pipeline-host -n "__fish_seen_subcommand_from eval" -l with -r -f -d 'Columns of the row, as a JSON object'
complete -c pipeline-host -n "__fish_seen_subcommand_from eval" -l json -d 'Print one JSON value'
complete -c pipeline-host -n "__fish_seen_subcommand_from describe" -f -a '(pipeline-host plugins 2>/dev/null | cut -d" " -f1)'
complete -c pipeline-host -n "__fish_seen_subcommand_from completion" -f -a 'bash zsh fish'
)sh";

}  // namespace

int print_completion(const arguments& args) {
  if (args.shell == "zsh") std::fputs("autoload -U +X bashcompinit && bashcompinit\n", stdout);
  std::fwrite((args.shell == "fish" ? fish : bash).data(), 1, (args.shell == "fish" ? fish : bash).size(), stdout);
  return exit_ok;
}

}  // namespace pl::host
