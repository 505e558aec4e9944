#!/usr/bin/env bash
# Installs the programs that tests run, from Debian's packages. `make test` calls it once, before any test starts.
# Where it cannot install, it says why in one line and succeeds: the tests that need an absent program skip
# then, or fail where CI=true. Two of these may run at once: the second waits, and finds all installed.
set -euo pipefail

# a program, the package that it comes in, and what else that needs
programs=(
  "slurmctld slurm-wlm"        # tests/slurm
  "slurmdbd  slurmdbd"
  "munged    munge"
  "mariadbd  mariadb-server"
  "chromium  chromium fonts-dejavu-core"                    # tests/browser
  "pdflatex  texlive-latex-base texlive-latex-recommended"  # tables as LaTeX
  "gcc       gcc libc6-dev"                                 # make soak: a clock that jumps
)
export DEBIAN_FRONTEND=noninteractive

look() {  # sets absent and packages
  local program others
  absent=() packages=()
  for line in "${programs[@]}"; do
    read -r program others <<<"$line"
    command -v "$program" >/dev/null && continue
    absent+=("$program")
    read -ra others <<<"$others"
    packages+=("${others[@]}")
  done
}

go_without() { echo "tests need ${absent[*]}, which cannot be installed: $*"; exit 0; }

update() {  # apt-get update gives up at once while another one runs, whatever DPkg::Lock::Timeout says
  local tries=60
  until apt-get -q update; do
    ((--tries)) && tail -5 "$log" | grep -q 'Could not get lock' || return 1
    echo 'waiting for another apt-get'
    sleep "${RETRY_S:-5}"
  done
}

look
((${#absent[@]})) || exit 0
command -v apt-get >/dev/null || go_without "there is no apt-get"
[ "$(id -u)" = 0 ] || go_without "not root; run 'apt-get install ${packages[*]}' as root"
exec 9>>"${TMPDIR:-/tmp}/rmsweep_tests_install.lock"
flock 9
look
((${#absent[@]})) || exit 0
echo "tests need ${absent[*]}; installing with apt-get (${#packages[@]} packages, about 3 minutes)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ update && apt-get -qy -oDPkg::Lock::Timeout=300 install --no-install-recommends "${packages[@]}"; } \
  >"$log" 2>&1 9>&- || go_without "apt-get failed: $(tail -3 "$log" | tr '\n' ' ')"
look
((${#absent[@]} == 0)) || go_without "apt-get installed other packages"
