#!/usr/bin/env bash
# Run the tests, in two halves side by side, for most of each waits; those of publishing run on MySQL, too.
# With arguments: pytest with these.
set -u
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
log=$(mktemp)
trap 'kill "$other" 2>/dev/null; rm -f "$log"' EXIT
folder=tests/integration
in_the_other=("$folder/test_bench.py" "$folder/test_targets.py" "$folder/test_wrong_input.py")
{
    "$python" -m pytest tests/cluster tests/faults tests/unit tests/quality tests/security "${in_the_other[@]}"
    code=$?
    TEST_SERVER=mysql "$python" -m pytest -m "mysql and database" && exit "$code"
} >"$log" 2>&1 &
other=$!
"$python" -m pytest "$folder" "${in_the_other[@]/#/--ignore=}"
code=$?
wait "$other"
other_code=$?
cat "$log"
[ "$code" -eq 0 ] || exit "$code"
exit "$other_code"
