#!/usr/bin/env bash
# Run the tests in one process per CPU, and one more for those that wait most: with a Ray cluster of their own, the
# README's commands, the bench, and publishing on MySQL. TEST_PROCESSES sets another number. With arguments: pytest
# with these.
set -u
python="${BIN:-.venv/bin}/python"
# Compiled once, not by each of the hundreds of processes that tests start; images of Python often set it.
unset PYTHONDONTWRITEBYTECODE
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
processes="${TEST_PROCESSES:-$("$python" -c 'import os; print(min(os.cpu_count() or 1, 8))')}"
apart=(tests/faults tests/jobs/launch tests/project)
after=(tests/security) # in a process of its own, when those apart have ended: it takes as long as the others then need
folders=(tests/packs tests/cases tests/jobs) # the longest files begin
for folder in tests/*/; do
    case " ${apart[*]} ${after[*]} ${folders[*]} " in *" ${folder%/} "*) ;; *) folders+=("${folder%/}") ;; esac
done
log=$(mktemp)
other=""
trap '[ -z "$other" ] || kill "$other" 2>/dev/null; rm -f "$log"' EXIT
{
    "$python" -m pytest "${apart[@]}"
    code=$?
    "$python" -m pytest "${after[@]}" || code=$?
    marked=$(grep -rl --include="test_*.py" "mark\.mysql" tests) # to collect all tests takes long
    # shellcheck disable=SC2086
    TEST_SERVER=mysql "$python" -m pytest -m "mysql and database" $marked && exit "$code"
} >"$log" 2>&1 &
other=$!
# The tests of a file share servers and builds: they stay in one process. A process that dies ends the run and is
# reported with its test: with another process in its place, pytest-xdist may wait for ever for the tests left over.
"$python" -m pytest --numprocesses "$processes" --dist loadfile --no-loadscope-reorder --max-worker-restart 0 \
    "${folders[@]}" "${apart[@]/#/--ignore=}"
code=$?
wait "$other"
other_code=$?
cat "$log"
[ "$code" -eq 0 ] || exit "$code"
exit "$other_code"
