# Understudy in a container:
#   docker build -t understudy .
#   docker run -p 8080:8080 -v ./understudy.yaml:/etc/understudy/understudy.yaml:ro understudy
#
# The base image is an argument, so that a mirror or a hardened base can stand in: it needs Python 3.11 to 3.13.
ARG BASE=docker.io/library/python:3.13-slim

# --- build: packages by hash into an environment of their own, then the proxy itself -----------------------------------
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY requirements-runtime.lock requirements.lock ./
# What builds our own package (a compiler for the data path, mypyc, setuptools) stays behind; its entries are cut out of
# the whole lock. A base without apt-get brings its own compiler, or the data path is interpreted.
RUN if command -v apt-get > /dev/null; then apt-get update -q && apt-get install -y -q --no-install-recommends gcc libc6-dev \
 $(python3 -c "import os, sysconfig as s; print('' if os.path.exists(s.get_path('include') + '/Python.h') else 'python3-dev')"); fi
RUN python3 -m venv /opt/understudy \
 && sed -nE '/^(setuptools|mypy|ast-serialize|librt|pathspec)==/,/[^\\]$/p' requirements.lock > build.lock \
 && /opt/understudy/bin/pip install -q --require-hashes --only-binary :all: -r requirements-runtime.lock -r build.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY proxy ./proxy
RUN /opt/understudy/bin/pip install -q --no-deps --no-build-isolation . \
 && /opt/understudy/bin/pip uninstall -q -y setuptools mypy ast-serialize librt pathspec pip \
 && python3 -m compileall -q /opt/understudy/lib

# --- run: no pip, no compiler, no root -----------------------------------------------------------------------------------
FROM ${BASE}
LABEL org.opencontainers.image.title="Understudy" \
      org.opencontainers.image.description="A shadow-scoring and canary proxy for machine-learning inference" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --home-dir /var/lib/understudy --create-home understudy && mkdir /etc/understudy
COPY --from=build /opt/understudy /opt/understudy
ENV PATH=/opt/understudy/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    UNDERSTUDY_CONFIG=/etc/understudy/understudy.yaml
USER 10001
WORKDIR /var/lib/understudy
# State (SQLite, recorded pairs): mount a volume here and point `store: {path: …}` into it. The rest may be read-only;
# sockets between the processes live in /tmp.
VOLUME /var/lib/understudy
EXPOSE 8080 9090
# The data port's own health: the supervisor restarts what dies inside, this is for what it cannot. (Kept by Docker's
# image format only: `buildah build --format docker`; Kubernetes has probes of its own, see config/kubernetes.)
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as u; u.urlopen(os.environ.get('UNDERSTUDY_HEALTH_URL', 'http://127.0.0.1:8080/-/healthz'), timeout=2)"]
STOPSIGNAL SIGTERM
# The supervisor is process 1: on SIGTERM readiness fails, requests in flight finish, then it exits with 0.
ENTRYPOINT ["understudy"]
CMD ["serve"]
