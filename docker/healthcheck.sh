#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Exit with 0 if the host in this container is ready. Uses only bash, because the image has no curl.
#
#   healthcheck [PORT]
set -euo pipefail
port=${1:-9464}
exec 3<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /health/ready HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' >&3
response=$(cat <&3)
printf '%s\n' "${response##*$'\r\n\r\n'}"  # lists the nodes that are not ready; `docker inspect` shows the output
[[ $response == 'HTTP/1.'?' 200 '* ]]
