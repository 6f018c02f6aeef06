#!/usr/bin/env bash
# Run the tests: all of them in two halves side by side, for most of each waits; then those of publishing on MySQL, too.
# With arguments: pytest with these.
set -u
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
log=$(mktemp)
trap 'kill "$other" 2>/dev/null; rm -f "$log"' EXIT
apart="tests/integration/test_bench.py tests/integration/test_readme.py"
# shellcheck disable=SC2086 # names of files, without blanks
"$python" -m pytest tests/cluster tests/faults tests/unit tests/quality tests/security $apart >"$log" 2>&1 &
other=$!
# shellcheck disable=SC2086
"$python" -m pytest tests/integration $(printf -- '--ignore %s ' $apart)
code=$?
wait "$other"
other_code=$?
cat "$log"
TEST_SERVER=mysql "$python" -m pytest -m "mysql and database"
mysql_code=$?
for each in "$code" "$other_code"; do [ "$each" -eq 0 ] || exit "$each"; done
exit "$mysql_code"
