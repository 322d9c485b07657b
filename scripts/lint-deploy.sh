#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Check the deployment files: YAML, Dockerfile, Compose, Kubernetes, systemd unit, package scripts. `make lint`
# runs this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
kubernetes=1.31.0  # the oldest version that docker/kubernetes supports

die() {
  printf 'lint: error: %s\n' "$*" >&2
  exit 1
}

# Install the linters of scripts/lint-requirements.txt into build/, again only if that file changes.
linters=build/lint
if ! cmp -s scripts/lint-requirements.txt "$linters/requirements.txt"; then
  rm -rf "$linters"
  { /usr/bin/python3 -m venv "$linters" &&
    "$linters/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r scripts/lint-requirements.txt; } ||
    die "cannot install the linters of scripts/lint-requirements.txt: see the errors above"
  cp scripts/lint-requirements.txt "$linters/requirements.txt"
fi
for linter in yamllint hadolint check-jsonschema kubernetes-validate; do
  [[ -x $linters/bin/$linter ]] || die "$linter is missing in $linters: remove that folder and try again"
done
for program in systemd-analyze shellcheck; do
  command -v "$program" >/dev/null || die "$program is not installed: scripts/install-deps.sh lint"
done

mapfile -t documents < <(git ls-files '*.yaml' '*.yml' | grep -v /fuzz/)
"$linters/bin/yamllint" --strict -c .yamllint.yaml "${documents[@]}"

"$linters/bin/hadolint" docker/Dockerfile
complaints=$("$linters/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker/compose.yaml 2>&1) ||
  die "docker/compose.yaml: $complaints"

# Validate only the kinds of Kubernetes itself. There are no schemas for those of kustomize, KEDA and the Prometheus
# operator, which tests/packaging checks.
mapfile -t manifests < <(grep -LE '^kind: (Kustomization|Component|ScaledObject|ServiceMonitor)$' docker/kubernetes/{,*/}*.yaml |
  grep -v '^docker/kubernetes/config/')
"$linters/bin/kubernetes-validate" --strict --quiet -k "$kubernetes" "${manifests[@]}"

unit=$(mktemp -d)
trap 'rm -rf "$unit"' EXIT
# The program may not be installed, so replace it with one that exists.
sed 's|/usr/bin/pipeline-host|/bin/true|' 'cmake/packaging/pipeline-host@.service' >"$unit/pipeline-host@lint.service"
complaints=$(systemd-analyze verify --man=no "$unit/pipeline-host@lint.service" 2>&1) || true
[[ -z $complaints ]] || die "systemd-analyze verify: $complaints"
systemd-analyze security --offline=true --threshold=15 "$unit/pipeline-host@lint.service" >"$unit/security" ||
  die "systemd-analyze security: $(cat "$unit/security")"

shellcheck cmake/packaging/{postinst,prerm,postrm}
