#!/usr/bin/env bash
# Make sure that MariaDB, MySQL, Prometheus and Chromium are there for the tests: they start private ones.
set -eu
have() {
    for folder in "" /usr/sbin/ /usr/local/sbin/ /usr/libexec/; do
        if command -v "${folder}$1" >/dev/null 2>&1; then return 0; fi
    done
    return 1
}
# A real MySQL beside MariaDB is unpacked, and installed nowhere. Where that is not possible, one of MARTS_TEST_MYSQL or of
# the PATH is used; without any, the tests that need it fail in CI, and are skipped elsewhere.
if [ -z "${MARTS_TEST_MYSQL:-}" ]; then
    bash "$(dirname "$0")/mysql.sh" "${XDG_CACHE_HOME:-$HOME/.cache}/martwright-tests/mysql" || true
fi
packages=""
have mariadbd || packages="$packages mariadb-server"
{ have chromium || have chromium-browser || have google-chrome; } || packages="$packages chromium"
have chromedriver || packages="$packages chromium-driver"
for server in prometheus prometheus-pushgateway prometheus-node-exporter; do
    have "$server" || have "${server#prometheus-}" || have "$(echo "${server#prometheus-}" | tr - _)" || packages="$packages $server"
done
[ -n "$packages" ] || exit 0
message="Missing:$packages. Install them (Debian: apt-get install$packages; Fedora: dnf install mariadb-server chromium chromedriver; macOS: brew install mariadb chromedriver prometheus node_exporter and Chrome; Prometheus and its exporters are at https://prometheus.io/download too), then run make test again."
if ! command -v apt-get >/dev/null 2>&1; then echo "$message" >&2; exit 1; fi
if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else echo "$message" >&2; exit 1; fi
echo "installing$packages from the system's packages" >&2
export DEBIAN_FRONTEND=noninteractive
# No service is started: the tests run their own server.
printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null
$as_root chmod 755 /usr/sbin/policy-rc.d
trap '$as_root rm -f /usr/sbin/policy-rc.d' EXIT
$as_root apt-get update -qq
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
