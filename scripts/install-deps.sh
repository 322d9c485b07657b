#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs, and only those that are missing.
#
#   scripts/install-deps.sh [build|package|test|lint|demo]...     (no argument: build)
#
# A run with nothing missing takes a moment and touches no network. No service is started by what is
# installed: the tests and the demo start their own servers, on free ports.
set -euo pipefail

# Alternatives are written a|b: any one that is installed will do, else the first that exists here.
# Debian 12 has the first of each; the second is what Debian 13 calls it.
build_packages=(
  g++ cmake ninja-build make ccache mold pkg-config
  librdkafka-dev libpqxx-dev libpq-dev libpaho-mqtt-dev libmosquitto-dev libyaml-cpp-dev rapidjson-dev
  libboost-dev libboost-filesystem-dev libboost-system-dev
  doctest-dev libcli11-dev libspdlog-dev libfmt-dev prometheus-cpp-dev libcpp-httplib-dev
  libsqlite3-dev libcurl4-openssl-dev libssl-dev zlib1g-dev
)
# dpkg-shlibdeps finds out which libraries a package needs.
package_packages=(dpkg-dev file gzip)
demo_packages=(mosquitto mosquitto-clients postgresql python3 sqlite3)
# libclang-common-15-dev and libclang-rt-19-dev hold the sanitizer and fuzzer runtimes.
test_packages=(
  "${demo_packages[@]}" "${package_packages[@]}"
  pgbouncer kcat maven 'openjdk-17-jre-headless|openjdk-21-jre-headless'
  debootstrap debian-archive-keyring openssl
  python3-pytest python3-yaml faketime git lintian man-db strace systemd
  'clang-15|clang-19' 'libclang-common-15-dev|libclang-rt-19-dev'
)
lint_packages=('clang-format-15|clang-format-19' 'clang-tidy-15|clang-tidy-19' shellcheck
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

# The packages of one purpose, one a line.
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

# The first alternative that apt can install; the first at all if none, so that apt's error names it.
choose() {
  local alternative
  for alternative in ${1//|/ }; do
    if apt-cache show "$alternative" >/dev/null 2>&1; then
      printf '%s\n' "$alternative"
      return
    fi
  done
  printf '%s\n' "${1%%|*}"
}

become_root() {
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null ||
      die "these packages are missing and neither root nor sudo is at hand to install them: $*"
    as_root=(sudo)
  fi
}

# Writes a temporary file as root, for remove_made to take away again.
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

# Debian starts a server as soon as it is installed, on its default port. Nobody asked for that.
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
  command -v dpkg-query >/dev/null || die "this needs Debian or one of its children (no dpkg-query)"
  for purpose in "$@"; do
    list=$(packages_for "$purpose")
    mapfile -t -O "${#wanted[@]}" wanted <<<"$list"
  done

  mapfile -t missing < <(missing_of "${wanted[@]}" | sort -u)
  if [[ ${#missing[@]} -eq 0 ]]; then
    echo "install-deps: everything for '$*' is installed"
    return
  fi
  become_root "${missing[*]}"

  # Two runs at once would take away each other's temporary files. Any file will do to lock, as long
  # as every user can open it.
  exec 9</usr/bin/apt-get
  flock 9
  trap remove_made EXIT
  trap 'exit 130' INT TERM
  keep_services_down
  # A third party's archive that is out of order must not stop us: what counts is what installs.
  apt update || echo "install-deps: apt-get update failed; trying with the lists at hand" >&2
  for purpose in "${missing[@]}"; do
    chosen+=("$(choose "$purpose")")
  done
  echo "install-deps: installing ${chosen[*]}"
  apt install --no-install-recommends "${chosen[@]}"
}

main "$@"
