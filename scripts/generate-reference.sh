#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Regenerates docs/reference and the help texts in docs/cli.md: scripts/generate-reference.sh build/release
set -euo pipefail
exec python3 "$(dirname "${BASH_SOURCE[0]}")/generate_reference.py" "$@"
