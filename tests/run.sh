#!/usr/bin/env bash
# Run the tests: three processes side by side on two cores, for most of each waits. With arguments: pytest with these.
# Those with clusters of their own stay in one: a process can know the token of one kind of Ray cluster only.
set -u
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
log=$(mktemp)
trap 'kill "$other" 2>/dev/null; rm -f "$log"' EXIT
"$python" -m pytest tests/cluster tests/faults tests/security >"$log" 2>&1 &
other=$!
"$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/integration tests/quality tests/unit
code=$?
wait "$other"
other_code=$?
cat "$log"
[ "$code" -eq 0 ] && exit "$other_code"
exit "$code"
