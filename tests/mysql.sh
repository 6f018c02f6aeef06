#!/usr/bin/env bash
# Unpack a real MySQL server into a folder, from Debian's packages: nothing is installed, the machine's own are left alone.
# Usage: mysql.sh FOLDER. Makes FOLDER/mysqld, which starts it by its own loader: its C library may be newer than the machine's.
# DEBIAN_MIRROR names the archive; without it, that of the machine's own sources. What is there already is left as it is.
set -eu
folder=$1
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
sources="/etc/apt/sources.list /etc/apt/sources.list.d/"
# shellcheck disable=SC2086
mirror=${DEBIAN_MIRROR:-$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' $sources 2>/dev/null | grep -v snapshot | head -1 | tr -d ' ')}
give_up() { echo "no MySQL server is unpacked: $1" >&2; exit 1; }
[ -x "$folder/mysqld" ] && exit 0
command -v apt-get >/dev/null 2>&1 || give_up "this is no Debian"
[ -r "$keyring" ] || give_up "$keyring is missing (package debian-archive-keyring)"
[ -n "$mirror" ] || give_up "no source of packages is Debian's: set DEBIAN_MIRROR"
rm -rf "$folder.new"
mkdir -p "$folder.new/lists/partial" "$folder.new/cache/archives/partial" "$folder.new/root"
new=$(cd "$folder.new" && pwd)
echo "deb [signed-by=$keyring] $mirror sid main" >"$new/sid.list"
: >"$new/status"
apt() {
    apt-get -oDir::Etc::SourceList="$new/sid.list" -oDir::Etc::SourceParts=/dev/null -oDir::State::Lists="$new/lists" \
        -oDir::Cache="$new/cache" -oDir::State::status="$new/status" -oDebug::NoLocking=1 -oAPT::Sandbox::User= -qq "$@"
}
echo "unpacking MySQL into $folder: about 60 MB are downloaded" >&2
apt update || give_up "$mirror does not answer"
apt -y -d --no-install-recommends install mysql-server-core >/dev/null || give_up "mysql-server-core cannot be downloaded"
for package in "$new"/cache/archives/*.deb; do dpkg -x "$package" "$new/root"; done
rm -rf "$new/lists" "$new/cache"
cat >"$new/mysqld" <<'RUN'
#!/bin/sh
# MySQL's server; what its data, its socket and its port are, is for the caller to say.
r=$(cd "$(dirname "$0")" && pwd)/root/usr
loader=$(ls "$r"/lib/*-linux-gnu/ld-linux-*.so.* | head -1)
exec "$loader" --library-path "$(dirname "$loader"):$r/lib/mysql/private" "$r/sbin/mysqld" "$@" --basedir="$r" \
    --plugin-dir="$r/lib/mysql/plugin" --lc-messages-dir="$r/share/mysql"
RUN
chmod +x "$new/mysqld"
"$new/mysqld" --version >&2 || give_up "it does not start"
rm -rf "$folder"
mv "$new" "$folder"
