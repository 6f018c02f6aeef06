#!/usr/bin/env bash
# Build the image without Docker, and run it as a strict cluster would: read-only root, uid 1000, no network, no capability.
#
#   make image                      builds localhost/martwright:VERSION and tries it
#   make image BASE=…@sha256:…      on this base; without one: the Dockerfile's own, or where no registry answers, one
#                                   made here of Debian's packages
#
# Ends with 0 if all that could be tried here passed; what could not be tried is said last. With CI=true that is a failure, too.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' marts/__init__.py)
image=${IMAGE:-localhost/martwright:$version}
own_base=localhost/martwright-base:bookworm
work=$(mktemp -d "${TMPDIR:-/var/tmp}/martwright-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
not_run="" why=""

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { printf 'make image: %s\n' "$*" >&2; exit 1; }
# The log of a step is long; it is shown when the step fails.
quietly() { "$@" >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; return 1; }; }

install_missing() {
    local tool missing="" as_root="" failed=""
    for tool in "$@"; do command -v "$tool" >/dev/null || [ -x "/usr/sbin/$tool" ] || missing="$missing $tool"; done
    [ -n "$missing" ] || return 0
    local message="Missing:$missing. Install them (Debian: apt-get install$missing; Fedora: dnf install$missing), then run make image again."
    command -v apt-get >/dev/null || fail "$message"
    if [ "$(id -u)" != 0 ]; then sudo -n true 2>/dev/null || fail "$message"; as_root="sudo -n"; fi
    say "installing$missing from the system's packages"
    # No service is started: podman and buildah need none.
    printf '#!/bin/sh\nexit 101\n' | $as_root tee /usr/sbin/policy-rc.d >/dev/null
    $as_root chmod 755 /usr/sbin/policy-rc.d
    # shellcheck disable=SC2086  # lists of words
    { quietly $as_root apt-get update -qq \
        && quietly $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } || failed=yes
    $as_root rm -f /usr/sbin/policy-rc.d
    [ -z "$failed" ] || fail "$message"
}

# Overlay is quick, but not allowed everywhere (a container in a container); vfs copies, and works.
choose_storage() {
    try_storage() {
        local container
        container=$(buildah from scratch) && buildah add -q "$container" LICENSE /LICENSE && buildah rm "$container"
    }
    quietly try_storage && return
    say "no overlay here: layers are copied, which takes minutes and gigabytes more"
    export STORAGE_DRIVER=vfs
    quietly try_storage || fail "buildah can keep no layers here, neither by overlay nor by vfs; see the lines above"
}

choose_base() {
    base=${BASE:-$(sed -n 's/^ARG BASE=//p' Dockerfile)}
    if [[ $base == localhost/* ]] || timeout 600 buildah pull --quiet "$base" >"$work/log" 2>&1; then return; fi
    [ -z "${BASE:-}" ] || fail "cannot pull $BASE: $(tail -n 1 "$work/log")"
    say "no registry answers for $base: a base is made here of Debian's packages"
    base=$own_base
    if buildah inspect --type image "$base" >/dev/null 2>&1; then
        say "$base is there from an earlier time (buildah rmi $base to make it anew)"
        return
    fi
    [ "$(id -u)" = 0 ] || fail "only root can make a base by debootstrap; or name one that is there: make image BASE=…"
    install_missing debootstrap
    # shellcheck disable=SC2086  # empty: debootstrap's own mirror
    quietly debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/root" ${DEBIAN_MIRROR:-} \
        || fail "debootstrap failed; DEBIAN_MIRROR=… names another mirror of Debian"
    for folder in var/cache/apt var/lib/apt/lists var/log usr/share/doc usr/share/man usr/share/locale; do
        find "$work/root/$folder" -type f -delete
    done
    local container
    container=$(buildah from scratch)
    quietly buildah add --quiet "$container" "$work/root" /
    quietly buildah commit --quiet --rm "$container" "$base"
    rm -rf "$work/root"
}

# pip's settings on this machine (a mirror, its certificate, folders of wheels), as one pip.conf, and the files that it names.
# They are there while pip runs, and in no layer.
pip_settings() {
    python3 - "$work/pip.conf" "$work/mounts" <<'PYTHON'
import ast, os, subprocess, sys
listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
options, mounts = {}, set()
for line in listed.splitlines():
    name, _, value = line.partition("=")
    section, _, option = name.rpartition(".")
    if section in ("global", "install", ":env:"):
        options[option] = " ".join(ast.literal_eval(value).split())
for word in " ".join(options.values()).split():
    # An index that is a folder links to files beside it.
    path = os.path.dirname(word.removeprefix("file://").rstrip("/")) if word.startswith("file:///") else word
    if path.startswith("/") and path != "/" and os.path.exists(path):
        mounts.add(path)
with open(sys.argv[1], "w") as file:
    file.write("[global]\n" + "".join(f"{option} = {value}\n" for option, value in options.items()))
with open(sys.argv[2], "w") as file:
    file.writelines(f"{path}\n" for path in sorted(mounts))
PYTHON
}

build() {
    local revision
    revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
    local arguments=(bud --isolation chroot --layers --format oci --build-arg "BASE=$base" --build-arg "VERSION=$version"
        --build-arg "REVISION=$revision" --build-arg "SOURCE=${SOURCE:-unknown}" --secret "id=pip,src=$work/pip.conf")
    local volumes=() path
    pip_settings
    while read -r path; do volumes+=(--volume "$path:$path:ro"); done <"$work/mounts"
    # A volume is mounted in every RUN of a build, and leaves an empty folder. So the build stage comes first, with them,
    # and then the whole without: the build stage is taken from the cache.
    quietly buildah "${arguments[@]}" "${volumes[@]}" --target build --tag "${image%:*}-build:$version" . \
        || fail "the build stage failed"
    # An argument that only a label takes does not make buildah do that layer again.
    quietly buildah "${arguments[@]}" --label "org.opencontainers.image.revision=$revision" --tag "$image" . \
        || fail "the build failed"
    [ "$(buildah inspect --type image --format '{{index .OCIv1.Config.Labels "org.opencontainers.image.revision"}}' "$image")" \
        = "$revision" ] || fail "the image does not say of which revision it is"
}

# Who may not raise limits must ask for lower ones than podman's.
limit() { local hard; hard=$(ulimit -H "$1"); if [ "$hard" = unlimited ] || [ "$hard" -gt 16384 ]; then hard=16384; fi; echo "$hard:$hard"; }

inside() {
    "${engine[@]}" run --rm --read-only --user 1000:1000 --network none --cap-drop ALL --security-opt no-new-privileges \
        --ulimit "nofile=$(limit -n)" --ulimit "nproc=$(limit -u)" --tmpfs /home/marts:rw,U --shm-size 512m "$@"
}

# podman's own runtime, which may not know this machine's cgroups; else runc, which knows the old ones, too.
choose_engine() {
    local runtime
    for runtime in "" runc; do
        [ -z "$runtime" ] || (install_missing "$runtime") || continue
        engine=(podman ${runtime:+--runtime "$runtime"})
        if inside --entrypoint /bin/true "$image" >"$work/log" 2>&1; then return 0; fi
        why="$why  ${runtime:-its own runtime}: $(tail -n 1 "$work/log")"$'\n'
    done
    return 1
}

# 1. What is in it. 2. What its user may do. 3. That a start compiles nothing.
look() {
    # shellcheck disable=SC2016
    inside --entrypoint /bin/bash "$image" -c '
        set -eu
        for path in /etc/pip.conf '"$(grep -v '^/etc/' "$work/mounts" | tr '\n' ' ')"'; do
            [ ! -e "$path" ] || { echo "$path of the build is in the image"; exit 1; }
        done
        if command -v pip || python -m pip --version 2>/dev/null; then echo "pip is in the image"; exit 1; fi
        [ "$(id -u):$(id -g)" = 1000:1000 ] && [ "$PWD" = "$HOME" ]
        touch "$HOME/file" /tmp/file
        ! touch /opt/venv/file 2>/dev/null || { echo "/opt/venv can be written"; exit 1; }
        python - <<PYTHON
import os, sys
import jobs.run.pipeline, jobs.cli.app, kubernetes, ray
kubernetes.client.CoreV1Api, kubernetes.client.BatchV1Api, kubernetes.client.CustomObjectsApi, kubernetes.config.load_config
slow = [name for name, module in sys.modules.items()
        if (cached := getattr(module, "__cached__", None)) and not os.path.exists(cached)]
assert not slow, f"not compiled: {slow[:9]}"
PYTHON
    '
}

# As KubeRay does: a head by /bin/bash -c, with a token; then a build as a job on it.
ray_head() {
    # shellcheck disable=SC2016
    inside --entrypoint /bin/bash "$image" -c '
        set -eu
        RAY_AUTH_TOKEN=$(python -c "import secrets; print(secrets.token_hex(32))")
        export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
        ray start --head --dashboard-host=0.0.0.0 --num-cpus=2 --object-store-memory=200000000
        python - <<PYTHON
import os, urllib.error, urllib.request
def ask(path, token, port=8265):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
token = os.environ["RAY_AUTH_TOKEN"]
code, version = ask("/api/version", token)
assert code == 200, f"/api/version with the token: {code}"
print(version)
assert ask("/api/version", "")[0] == 401, "no token is let in"
assert ask("/api/version", "wrong")[0] == 403, "a wrong token is let in"
# The kubelet has no token. It is the only probe: the image has no wget, which older KubeRays call.
code, _ = ask("/api/healthz", "", 52365)
assert code == 200, f"the probe /api/healthz without a token: {code}"
code, page = ask("/", token)
assert code == 200 and "<html" in page, f"the dashboard: {code}"
PYTHON
        marts generate drops --lines 2000
        # Its exit code says that some of these drops are held, as they should be.
        ray job submit --address http://127.0.0.1:8265 -- \
            marts build --source "$HOME/drops" --target duckdb:////tmp/marts.duckdb --as-of 2025-12-31 | tee /tmp/job.log || true
        grep -q "\"outcome\": \"published\"" /tmp/job.log
    '
}

install_missing buildah podman
choose_storage
choose_base
say "base: $base"
build
say "built $image"
engine=(podman)
if choose_engine; then
    say "running it by ${engine[*]}: read-only, uid 1000, no network, no capability"
    quietly look || fail "the image is not as it should be"
    say "contents and rights are as they should be"
    quietly inside --env MARTS_RAY__FEW_TASKS=0 "$image" demo --lines 20000 --folder /tmp/demo || fail "marts demo failed in the image"
    grep -m 1 '^seconds:' "$work/log" || true
    say "marts demo --lines 20000 passed, with a local Ray cluster"
    # OpenShift gives a user that /etc/passwd does not know, in the group 0.
    quietly inside --user 1000720000:0 --passwd=false --env MARTS_RAY__FEW_TASKS=0 "$image" demo --lines 10000 --folder /tmp/demo \
        || fail "marts demo failed in the image for a user without a name"
    say "marts demo passed for a user without a name"
    quietly ray_head || fail "a Ray head with a token, or a build on it, failed in the image"
    grep -m 1 '"ray_version"' "$work/log"
    say "a Ray head with dashboard and token answered, and ran a build as a job"
else
    not_run="the image is built, but podman starts no container here:
$why  Run it where one starts:
  podman run --read-only --user 1000:1000 --tmpfs /home/marts:rw,U $image demo --lines 20000 --folder /tmp/demo"
fi
size=$(podman image inspect --format '{{.Size}}' "$image")
base_size=$(podman image inspect --format '{{.Size}}' "$base")
say "$image has $((size / 1000000)) MB, $((base_size / 1000000)) MB of them the base"
if [ -n "$not_run" ]; then
    printf 'NOT RUN: %s\n' "$not_run" >&2
    [ "${CI:-}" != true ] || exit 1
fi
