#!/usr/bin/env bash
# Run the tests, three files at a time on two cores, for most of each waits. With arguments: pytest with these.
set -eu
python="${BIN:-.venv/bin}/python"
if [ $# -gt 0 ]; then exec "$python" -m pytest "$@"; fi
exec "$python" -m pytest -n 3 --dist loadfile tests
