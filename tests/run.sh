#!/usr/bin/env bash
# Run the tests in one process per CPU and one more, because most of each is waiting; beside them, the tests of
# publishing on MySQL. TEST_PROCESSES sets another number. With arguments: pytest with these.
set -u
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
processes="${TEST_PROCESSES:-$("$python" -c 'import os; print(min((os.cpu_count() or 1) + 1, 8))')}"
log=$(mktemp)
trap 'kill "$mysql" 2>/dev/null; rm -f "$log"' EXIT
TEST_SERVER=mysql "$python" -m pytest -m "mysql and database" >"$log" 2>&1 &
mysql=$!
# A file's tests share servers and builds: they stay in one process.
"$python" -m pytest --numprocesses "$processes" --dist loadfile
code=$?
wait "$mysql"
mysql_code=$?
cat "$log"
[ "$code" -eq 0 ] || exit "$code"
exit "$mysql_code"
