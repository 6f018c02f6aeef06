#!/usr/bin/env bash
# Make sure that a MariaDB server is there for the tests: they start a private one, with its own data folder.
set -eu
for folder in "" /usr/sbin/ /usr/local/sbin/ /usr/libexec/; do
    if command -v "${folder}mariadbd" >/dev/null 2>&1; then exit 0; fi
done
message="mariadbd is missing. Install it (Debian, Ubuntu: apt-get install mariadb-server; Fedora: dnf install mariadb-server; macOS: brew install mariadb), then run make test again."
if ! command -v apt-get >/dev/null 2>&1; then echo "$message" >&2; exit 1; fi
if [ "$(id -u)" = 0 ]; then as_root=""; elif sudo -n true 2>/dev/null; then as_root="sudo -n"; else echo "$message" >&2; exit 1; fi
echo "installing mariadb-server from the system's packages" >&2
export DEBIAN_FRONTEND=noninteractive
# No service is started: the tests run their own server.
printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null
$as_root chmod 755 /usr/sbin/policy-rc.d
trap '$as_root rm -f /usr/sbin/policy-rc.d' EXIT
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mariadb-server >/dev/null
