#!/usr/bin/env bash
# Run the tests. All of them: what needs no server beside what does, for most of that waits. With arguments: pytest with these.
set -u
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
log=$(mktemp)
trap 'kill "$pure" 2>/dev/null; rm -f "$log"' EXIT
"$python" -m pytest tests/unit tests/quality >"$log" 2>&1 &
pure=$!
"$python" -m pytest tests/faults tests/integration tests/security
code=$?
wait "$pure"
pure_code=$?
cat "$log"
[ "$code" -eq 0 ] && exit "$pure_code"
exit "$code"
