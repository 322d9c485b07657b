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
    --format) COMPREPLY=($(compgen -W 'text markdown' -- "$cur")); return ;;
    --plugin-dir) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    describe) COMPREPLY=($(compgen -W "$(pipeline-host plugins 2>/dev/null | cut -d' ' -f1)" -- "$cur")); return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W 'run validate plugins schema completion help --help --version' -- "$cur")); return
  fi
  case $verb in
    run) COMPREPLY=($(compgen -W '--set --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    validate) COMPREPLY=($(compgen -W '--connect --set --plugin-dir --log-level --log-format --help' -- "$cur") $(compgen -f -X '!*.y?(a)ml' -- "$cur") $(compgen -d -- "$cur")) ;;
    plugins) COMPREPLY=($(compgen -W 'describe --plugin-dir --help' -- "$cur")) ;;
    schema) COMPREPLY=($(compgen -W '--plugin-dir --help' -- "$cur")) ;;
    completion) COMPREPLY=($(compgen -W 'bash zsh fish' -- "$cur")) ;;
  esac
}
complete -o filenames -F _pipeline_host pipeline-host
)sh";

constexpr std::string_view fish = R"sh(set -l verbs run validate plugins schema completion help
complete -c pipeline-host -n "not __fish_seen_subcommand_from $verbs" -f -a "$verbs"
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate" -l set -r -d 'Override a value: PATH=VALUE'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate" -l log-level -r -f -a 'trace debug info warn error'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate" -l log-format -r -f -a 'text json'
complete -c pipeline-host -n "__fish_seen_subcommand_from validate" -l connect -d 'Also ask the servers'
complete -c pipeline-host -n "__fish_seen_subcommand_from run validate plugins schema" -l plugin-dir -r -d 'Where to look for plugins first'
complete -c pipeline-host -n "__fish_seen_subcommand_from plugins" -f -a 'describe'
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
