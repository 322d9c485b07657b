#!/usr/bin/env bash
# Install the Debian packages that a purpose needs, if they are missing.
#
#   scripts/install-deps.sh [build|package|test|lint|demo]...     (no argument: build)
#
# If no package is missing, the script takes a moment and does not use the network. The installed
# packages start no services: the tests and the demo start their own servers, on free ports.
set -euo pipefail

# Alternatives are written a|b. An installed one is sufficient; otherwise the first available one is
# installed. The first is the name in Debian 12, and the second the name in Debian 13.
build_packages=(
  g++ cmake ninja-build make ccache mold pkg-config python3
  librdkafka-dev libpqxx-dev libpq-dev libpaho-mqtt-dev libmosquitto-dev libyaml-cpp-dev rapidjson-dev
  libboost-dev libboost-filesystem-dev libboost-system-dev
  doctest-dev libcli11-dev libspdlog-dev libfmt-dev prometheus-cpp-dev
  libsqlite3-dev libcurl4-openssl-dev libssl-dev zlib1g-dev libre2-dev libhowardhinnant-date-dev
)
# dpkg-shlibdeps determines the libraries that a package depends on.
package_packages=(dpkg-dev file gzip)
demo_packages=(mosquitto mosquitto-clients postgresql sqlite3
  python3 python3-confluent-kafka python3-paho-mqtt python3-psycopg2)
# libclang-rt-dev contains the runtimes of the sanitizers and the fuzzer.
test_packages=(
  "${demo_packages[@]}" "${package_packages[@]}"
  pgbouncer kcat maven 'openjdk-17-jre-headless|openjdk-21-jre-headless'
  debootstrap debian-archive-keyring openssl
  python3-pytest python3-pytest-timeout python3-yaml faketime git lintian man-db strace systemd
  clang libclang-rt-dev valgrind
)
lint_packages=('clang-format-15|clang-format-19' 'clang-tidy-15|clang-tidy-19' codespell shellcheck
  python3 python3-venv systemd)

policy=/usr/sbin/policy-rc.d
cluster_setting=/etc/postgresql-common/createcluster.d/pipeline-host.conf
as_root=()
made=()

die() {
  printf 'install-deps: error: %s\n' "$*" >&2
  exit 1
}

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0"
}

# Print the packages of one purpose, one per line.
packages_for() {
  case "$1" in
    build) printf '%s\n' "${build_packages[@]}" ;;
    package) printf '%s\n' "${package_packages[@]}" ;;
    demo) printf '%s\n' "${demo_packages[@]}" ;;
    test) printf '%s\n' "${test_packages[@]}" ;;
    lint) printf '%s\n' "${lint_packages[@]}" ;;
    *) die "unknown purpose '$1' (one of: build package test lint demo)" ;;
  esac
}

is_installed() {
  [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

any_installed() {
  local alternative
  for alternative in ${1//|/ }; do
    is_installed "$alternative" && return 0
  done
  return 1
}

missing_of() {
  local package
  for package in "$@"; do
    any_installed "$package" || printf '%s\n' "$package"
  done
}

# Print the first alternative that apt can install. If there is none, print the first alternative, so that apt's error
# names it.
choose() {
  local alternative
  for alternative in ${1//|/ }; do
    # Do not use `apt-cache show`: it succeeds for names that other packages only mention.
    if [[ -n $(apt-cache madison "$alternative" 2>/dev/null) ]]; then
      printf '%s\n' "$alternative"
      return
    fi
  done
  printf '%s\n' "${1%%|*}"
}

become_root() {
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null ||
      die "packages are missing: $*; install them as root, or install sudo"
    as_root=(sudo)
  fi
}

# Write a temporary file as root. remove_made deletes it.
make_temporary() {
  local path=$1 mode=$2 text=$3
  made+=("$path")
  "${as_root[@]}" mkdir -p "$(dirname "$path")"
  "${as_root[@]}" tee "$path" >/dev/null <<<"$text"
  "${as_root[@]}" chmod "$mode" "$path"
}

remove_made() {
  [[ ${#made[@]} -eq 0 ]] || "${as_root[@]}" rm -f "${made[@]}"
}

# Debian starts a server on its default port when its package is installed. Prevent that.
keep_services_down() {
  if [[ ! -e $policy ]]; then
    make_temporary "$policy" 755 $'#!/bin/sh\nexit 101'
  fi
  if ! is_installed postgresql-common && [[ ! -e $cluster_setting ]]; then
    make_temporary "$cluster_setting" 644 'create_main_cluster = false'
  fi
}

apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=900 "$@"
}

main() {
  local purpose list missing=() chosen=() wanted=()
  [[ ${1:-} == -h || ${1:-} == --help ]] && usage && return
  [[ $# -gt 0 ]] || set -- build
  command -v dpkg-query >/dev/null || die "dpkg-query is missing: this script requires Debian or a derived distribution"
  for purpose in "$@"; do
    list=$(packages_for "$purpose")
    mapfile -t -O "${#wanted[@]}" wanted <<<"$list"
  done

  mapfile -t missing < <(missing_of "${wanted[@]}" | sort -u)
  if [[ ${#missing[@]} -eq 0 ]]; then
    echo "install-deps: all packages for '$*' are installed"
    return
  fi
  become_root "${missing[*]}"

  # Concurrent runs would delete each other's temporary files. Lock a file that every user can open.
  exec 9</usr/bin/apt-get
  flock 9
  trap remove_made EXIT
  trap 'exit 130' INT TERM
  keep_services_down
  # A broken third-party archive must not prevent the installation from the other archives.
  apt update || echo "install-deps: apt-get update failed; trying with the existing package lists" >&2
  for purpose in "${missing[@]}"; do
    chosen+=("$(choose "$purpose")")
  done
  echo "install-deps: installing ${chosen[*]}"
  apt install --no-install-recommends "${chosen[@]}"
}

main "$@"
