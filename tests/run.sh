#!/usr/bin/env bash
# Run the tests, in two halves side by side, for most of each waits; those of publishing run on MySQL, too.
# With arguments: pytest with these.
set -u
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
log=$(mktemp)
trap 'kill "$other" 2>/dev/null; rm -f "$log"' EXIT
in_the_other=(
    tests/k8s tests/jobs/launch tests/faults tests/security tests/marts tests/jobs/config tests/jobs/state
    tests/jobs/adapters/test_autoscaler.py tests/jobs/adapters/test_kube.py tests/jobs/adapters/test_mysql_problems.py
    tests/jobs/adapters/test_targets.py tests/jobs/operations/test_only_copies.py
    tests/jobs/report/test_metrics.py tests/jobs/report/test_notices.py tests/jobs/report/test_pages.py
    tests/jobs/run/test_near.py tests/jobs/runtime/test_retries.py tests/jobs/runtime/test_scratch.py
    tests/jobs/steps/test_rollup.py tests/jobs/steps/test_shares.py tests/jobs/steps/test_withdrawals.py
    tests/jobs/steps/test_wrong_input.py
    tests/project/test_architecture.py tests/project/test_bench.py tests/project/test_image.py
    tests/project/test_resolves.py tests/project/test_workflows.py
)
{
    "$python" -m pytest "${in_the_other[@]}"
    code=$?
    TEST_SERVER=mysql "$python" -m pytest -m "mysql and database" && exit "$code"
} >"$log" 2>&1 &
other=$!
"$python" -m pytest tests "${in_the_other[@]/#/--ignore=}"
code=$?
wait "$other"
other_code=$?
cat "$log"
[ "$code" -eq 0 ] || exit "$code"
exit "$other_code"
