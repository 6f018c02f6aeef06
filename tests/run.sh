#!/usr/bin/env bash
# Run the tests, in three groups side by side, for many of them wait; those of publishing run on MySQL, too.
# With arguments: pytest with these.
set -u
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi

in_the_second=(bench browser bad_rows build cases cli cluster readme quality run_report top)
second=(tests/unit tests/quality)
third=(tests/integration)
for name in "${in_the_second[@]}"; do
    second+=("tests/integration/test_$name.py")
    third+=("--ignore=tests/integration/test_$name.py")
done

logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$logs"' EXIT
{
    "$python" -m pytest tests/cluster tests/faults tests/security
    first_code=$?
    TEST_SERVER=mysql "$python" -m pytest -m "mysql and database" && exit "$first_code"
} >"$logs/first" 2>&1 &
first_pid=$!
"$python" -m pytest "${second[@]}" >"$logs/second" 2>&1 &
second_pid=$!
"$python" -m pytest "${third[@]}"
third_code=$?
wait "$first_pid"
first_code=$?
wait "$second_pid"
second_code=$?
cat "$logs/first" "$logs/second"
for each in "$first_code" "$second_code" "$third_code"; do
    [ "$each" -eq 0 ] || exit "$each"
done
