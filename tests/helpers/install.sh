#!/usr/bin/env bash
# install.sh COMMAND PACKAGE...: installs a command that tests need from Debian's packages, as root, on Debian
# or a system that is like it. Does nothing where it is there. Otherwise says why it cannot, status 1.
set -euo pipefail

wanted=$1
shift
give_up() { echo "install $wanted: $*" >&2; exit 1; }

command -v "$wanted" >/dev/null && exit 0
command -v apt-get >/dev/null || give_up "no apt-get here; put a $wanted on the PATH"
[ "$(id -u)" = 0 ] || give_up "not root; run 'apt-get install $*', then the tests again"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
wait='-oDPkg::Lock::Timeout=300' # another process of the tests may install, too
{ apt-get -q update && apt-get -qy "$wait" install --no-install-recommends "$@"; } \
  >"$log" 2>&1 || give_up "apt-get failed: $(tail -3 "$log" | tr '\n' ' ')"
command -v "$wanted" >/dev/null || give_up "apt-get installed no $wanted"
