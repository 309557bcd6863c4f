#!/usr/bin/env bash
# The Python tests: first those that share the machine, a process a core, then those that measure
# time and want it to themselves. With an argument, only tests whose names match it (pytest -k).
set -uo pipefail
cd "$(dirname "$0")/.."

py=${PY:-.venv/bin/python}
ran=$(mktemp)
trap 'rm -f "$ran"' EXIT
chosen=("--suites-file=$ran") # one word: pytest takes a lone path for one of tests
whole=(--all-suites)
[ $# -eq 0 ] || { chosen+=(-k "$1"); whole=(); }

"$py" -m pytest -n "$(nproc)" --dist loadfile -m "not alone" "${chosen[@]}"
shared=$?
"$py" -m pytest -m alone "${chosen[@]}" "${whole[@]}"
alone=$?

nothing=5 # pytest's status where no test was chosen, which is no failure if the other half had some
[ "$shared" -ne $nothing ] || [ "$alone" -eq $nothing ] || shared=0
[ "$alone" -ne $nothing ] || [ "$shared" -eq $nothing ] || alone=0
exit $((shared > alone ? shared : alone))
