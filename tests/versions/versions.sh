#!/usr/bin/env bash
# A fast subset of the tests on the oldest libraries that pyproject.toml allows (tests/versions/oldest.txt) and
# on the newest: tests/versions/versions.sh [oldest|newest]... Environments are made in .versions/.
# PYTHON=python3.12 picks another Python. NO_TORCH=1 runs what needs no torch, where there is no build
# of torch for it. `tests/versions/versions.sh files` names the files and folders. docs/versions.md says what was run.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
maths=(unit/annotation unit/evaluation/test_best_of_n.py unit/analysis/test_{contrasts,theory}.py)
readers=(unit/results unit/analysis/test_{tables,claims}.py integration/test_drawn_figures.py)
readers+=(unit/cache/test_layout.py unit/cache/inspecting)
engine=(unit/{config,objectives,training} unit/launch/test_worker.py)
engine+=(integration/test_saved_models.py pinned)

files() {
  local names=("${maths[@]}" "${readers[@]}")
  [ "${NO_TORCH:-}" ] || names+=("${engine[@]}")
  printf 'tests/%s\n' "${names[@]}"
}

run() {
  local which=$1 constraint=() tests python_version here
  python_version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  here=.versions/$which-$python_version
  [ "$which" = oldest ] && constraint=(--constraint tests/versions/oldest.txt)
  "$python" -m venv "$here"
  if [ "${NO_TORCH:-}" ]; then
    mapfile -t needs < <("$python" -c '
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*(need for need in project["dependencies"] if not need.startswith("torch")), sep="\n")')
    "$here/bin/pip" install --quiet "${constraint[@]}" "${needs[@]}" pytest hypothesis
    "$here/bin/pip" install --quiet --no-deps --editable .
  else
    "$here/bin/pip" install --quiet "${constraint[@]}" --editable . pytest hypothesis
  fi
  "$here/bin/pip" list 2>/dev/null | grep -iE '^(hydra-core|omegaconf|torch|pandas|numpy|pyarrow|scikit-learn|lightgbm|scipy|matplotlib) '
  mapfile -t tests < <(files)
  # Other libraries' deprecations are errors in the suite, and no news on old or on new versions.
  "$here/bin/python" -m pytest --override-ini filterwarnings=ignore "${tests[@]}" 2>&1 | tail -40
}

if [ "${1:-}" = files ]; then files; exit; fi
for which in ${@:-oldest newest}; do run "$which"; done
