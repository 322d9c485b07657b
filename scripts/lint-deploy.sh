#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What deploys: YAML, the Dockerfile, Compose, Kubernetes, the unit, the package's scripts. A part of `make lint`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kubernetes=1.31.0  # the oldest that docker/kubernetes is for

die() {
  printf 'lint: error: %s\n' "$*" >&2
  exit 1
}

# The linters of scripts/lint-requirements.txt, installed once into build/, anew when that file changes.
linters=build/lint
if ! cmp -s scripts/lint-requirements.txt "$linters/requirements.txt"; then
  rm -rf "$linters"
  { python3 -m venv "$linters" &&
    "$linters/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r scripts/lint-requirements.txt; } ||
    die "can't install the linters of scripts/lint-requirements.txt: see above; without them docker/ is not checked"
  cp scripts/lint-requirements.txt "$linters/requirements.txt"
fi
for linter in yamllint hadolint check-jsonschema kubernetes-validate; do
  [[ -x $linters/bin/$linter ]] || die "$linter is not in $linters: remove that folder and try again"
done
for program in systemd-analyze shellcheck; do
  command -v "$program" >/dev/null || die "$program is not installed: scripts/install-deps.sh lint"
done

mapfile -t documents < <(git ls-files '*.yaml' '*.yml' | grep -v /fuzz/)
"$linters/bin/yamllint" --strict -c .yamllint.yaml "${documents[@]}"

"$linters/bin/hadolint" docker/Dockerfile
complaints=$("$linters/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker/compose.yaml 2>&1) ||
  die "docker/compose.yaml: $complaints"

# Kinds of Kubernetes itself. kustomize's, KEDA's and the Prometheus operator's have no schema here: tests/packaging looks
# at what of them matters.
mapfile -t manifests < <(grep -LE '^kind: (Kustomization|Component|ScaledObject|ServiceMonitor)$' docker/kubernetes/{,*/}*.yaml |
  grep -v '^docker/kubernetes/config/')
"$linters/bin/kubernetes-validate" --strict --quiet -k "$kubernetes" "${manifests[@]}"

unit=$(mktemp -d)
trap 'rm -rf "$unit"' EXIT
# The program need not be installed here, so another stands in for it.
sed 's|/usr/bin/pipeline-host|/bin/true|' 'cmake/packaging/pipeline-host@.service' >"$unit/pipeline-host@lint.service"
complaints=$(systemd-analyze verify --man=no "$unit/pipeline-host@lint.service" 2>&1) || true
[[ -z $complaints ]] || die "systemd-analyze verify: $complaints"
systemd-analyze security --offline=true --threshold=15 "$unit/pipeline-host@lint.service" >"$unit/security" ||
  die "systemd-analyze security: $(cat "$unit/security")"

shellcheck cmake/packaging/{postinst,prerm,postrm}
