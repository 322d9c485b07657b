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
    COMPREPLY=($(compgen -W 'run validate plugins dead-letters replay schema completion help --help --version' -- "$cur")); return
  fi
  case $verb in
    run) COMPREPLY=($(compgen -W '--set --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    validate) COMPREPLY=($(compgen -W '--connect --set --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    plugins) COMPREPLY=($(compgen -W 'describe --plugin-dir --help' -- "$cur")) ;;
    dead-letters)
      if [ "$COMP_CWORD" -eq 2 ]; then COMPREPLY=($(compgen -W 'list show retry --help' -- "$cur")); return; fi
      local letters='--set --help'
      case ${COMP_WORDS[2]} in
        list) letters="$letters --node --reason --since --stream --each --format" ;;
        retry) letters="$letters --node --reason --since --stream --pipeline --source --dry-run --yes --plugin-dir --log-level --log-format" ;;
      esac
      COMPREPLY=($(compgen -W "$letters" -- "$cur") $(compgen -f -X '!*.@(yaml|yml|ndjson)' -- "$cur") $(compgen -d -- "$cur")) ;;
    replay) COMPREPLY=($(compgen -W '--set --from --to --partition --stream --sink --pipeline --source --dry-run --format --order --yes --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    schema) COMPREPLY=($(compgen -W '--plugin-dir --help' -- "$cur")) ;;
    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$cur")) ;;
  esac
}
complete -o filenames -F _pipeline_host pipeline-host
)sh";

constexpr std::string_view fish = R"sh(set -l verbs run validate plugins dead-letters replay schema completion help
complete -c pipeline-host -n "not __fish_seen_subcommand_from $verbs" -f -a "$verbs"
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate dead-letters replay" -l set -r -d 'Override a value: PATH=VALUE'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate retry replay" -l log-level -r -f -a 'trace debug info warn error'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate retry replay" -l log-format -r -f -a 'text json'
complete -c pipeline-host -n "__fish_seen_subcommand_from validate" -l connect -d 'Also ask the servers'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate plugins schema retry replay" -l plugin-dir -r -d 'Where to look for plugins first'
complete -c pipeline-host -n "__fish_seen_subcommand_from plugins" -f -a 'describe'
complete -c pipeline-host -n "__fish_seen_subcommand_from dead-letters; and not __fish_seen_subcommand_from list show retry" -f -a 'list show retry'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry" -l node -r -f -d 'Only those of this node'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry" -l reason -r -f -d 'Only those with this text in the reason'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry" -l since -r -f -d 'Only those rejected since'
complete -c pipeline-host -n "__fish_seen_subcommand_from list retry replay" -l stream -r -f -d 'Only those of this stream'
complete -c pipeline-host -n "__fish_seen_subcommand_from list" -l each -d 'Each letter on a line'
complete -c pipeline-host -n "__fish_seen_subcommand_from list replay" -l format -r -f -a 'text ndjson'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay" -l pipeline -r -f -d 'Which pipeline'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay" -l source -r -f -d 'In the place of which source'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay" -l dry-run -d 'Write nothing'
complete -c pipeline-host -n "__fish_seen_subcommand_from retry replay" -l yes -d "Don't ask"
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l from -r -f -d 'Where to begin: a time, how long ago, an offset'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l to -r -f -d 'Where to end'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l partition -r -f -d 'Only this partition'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l sink -r -f -d 'Into this sink'
complete -c pipeline-host -n "__fish_seen_subcommand_from replay" -l order -d "Reset the group's offsets instead"
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
