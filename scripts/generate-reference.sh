#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Regenerate docs/reference, the help texts in docs/cli.md, and docs/pictures: scripts/generate-reference.sh build/release
set -euo pipefail
scripts=$(dirname "${BASH_SOURCE[0]}")
/usr/bin/python3 "$scripts/draw.py"
exec /usr/bin/python3 "$scripts/generate_reference.py" "$@"
