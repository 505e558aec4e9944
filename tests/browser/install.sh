#!/usr/bin/env bash
# Installs Debian's chromium for tests/browser: as root, on Debian or a system that is like it, from
# the system's own packages. Does nothing where it is there. Otherwise says why it cannot, status 1.
set -euo pipefail

give_up() { echo "install chromium: $*" >&2; exit 1; }

command -v chromium >/dev/null && exit 0
command -v apt-get >/dev/null || give_up "no apt-get here; put a chromium on the PATH"
[ "$(id -u)" = 0 ] || give_up "not root; run 'apt-get install chromium', then the tests again"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ apt-get -q update && apt-get -qy install --no-install-recommends chromium fonts-dejavu-core; } \
  >"$log" 2>&1 || give_up "apt-get failed: $(tail -3 "$log" | tr '\n' ' ')"
command -v chromium >/dev/null || give_up "apt-get installed no chromium"
