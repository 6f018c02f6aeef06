# The image of the launcher, of the watchdog and of Ray's pods: one for all, so that every node has the same packages.
#
# A tag can move. The release workflow resolves it and builds with BASE=docker.io/library/python:...@sha256:...; so should
# you, for an image that you ship: docs/image.md says how.
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
# Bytecode is made once, at the end: see below.
ENV PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# pip is in a venv of its own, and works on the other one from outside: what we ship has none.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/venv

# Before the code, so that a change of the code does not install everything again. A pip.conf, for a mirror say, comes as
# a secret that only these RUNs see; without one they use pip's defaults. Wheels only: nothing is run to be installed.
COPY requirements.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    tools/bin/pip --python /opt/venv/bin/python install --no-compile --only-binary :all: --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY marts marts
COPY jobs jobs
COPY expectations expectations
# The lock has what builds the wheel, too. It goes again, and pip says if anything needed it.
RUN pip() { tools/bin/pip --python /opt/venv/bin/python "$@"; } \
    && pip install --no-compile --no-deps --no-index --no-build-isolation . \
    && pip uninstall --quiet --yes editables hatchling pathspec pluggy trove-classifiers \
    && pip check

# Nothing of this runs: tests of libraries, headers to compile against, Ray's Java, maps to debug its dashboard's script, the
# other half of Kubernetes' client, which is for asyncio.
# Ray's dashboard itself stays. k8s/image.sh runs the demo, a head and a job with what is left.
RUN site="$(echo /opt/venv/lib/python3*/site-packages)" \
    && rm -r "$site/ray/jars" "$site/pyarrow/include" "$site/pyarrow/src" "$site/numpy/_core/include" "$site/kubernetes/aio" \
    && find "$site" -type d -name tests -prune -exec rm -r {} + \
    && find "$site" -type f \( -name '*.js.map' -o -name '*.pxd' -o -name '*.pyx' -o -name '*.pyi' \) -delete \
    # The root may be read-only, so what is not compiled here is compiled again at every start. Without a look at the
    # source's time: the files come by COPY, and never change.
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site"

FROM ${BASE}

# KubeRay starts Ray by /bin/bash -c, and pods that must not be root need a number. python:slim has a pip that nobody needs,
# and no bytecode of the standard library.
RUN groupadd --gid 1000 marts \
    && useradd --no-log-init --uid 1000 --gid 1000 --create-home --shell /bin/bash marts \
    && library="$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && rm -rf "$library"/ensurepip "$library"/site-packages/* /usr/local/bin/pip* /usr/local/bin/wheel \
    && python3 -m compileall -q -x '/(test|idlelib|lib2to3|tkinter|turtledemo)/' "$library"
COPY --from=build /opt/venv /opt/venv

# LANG: names of drops may be any Unicode. USER: a number that is nobody's (OpenShift gives one) has no name in /etc/passwd.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/marts \
    USER=marts \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0

ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Martwright" \
      org.opencontainers.image.description="Data marts you can trust: CSV drops in S3 in, Customers and Sales Team marts in MySQL out, on Ray Data." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

USER 1000:1000
# With a read-only root, what is written goes to /tmp and here: mount both.
WORKDIR /home/marts
# `docker run IMAGE demo` is `marts demo`. Kubernetes' `command`, which KubeRay sets, takes the entrypoint's place.
ENTRYPOINT ["marts"]
CMD ["--help"]
