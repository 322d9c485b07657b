#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# 0 when the host in this container is ready, with nothing but bash: the image has no curl.
#
#   healthcheck [PORT]
set -euo pipefail
port=${1:-9464}
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /health/ready HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3
answer=$(cat <&3)
printf '%s\n' "${answer##*$'\r\n\r\n'}"  # which nodes aren't; `docker inspect` shows it
[[ $answer == 'HTTP/1.'?' 200 '* ]]
