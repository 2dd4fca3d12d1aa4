# The daemon's image: without a compiler or pip, and not root. Git starts ssh and credential helpers
# by sh, so there is a shell.
#
# A tag is whatever the registry has under it today. To build on a known base, name it by the digest
# that was looked at: --build-arg BASE=python:3.13-slim@sha256:…
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
# The environment of the image has no pip: that of the other one installs into it.
RUN python -m venv --without-pip /opt/reconciler \
    && python -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        --requirement requirements-build.lock \
    && /build/bin/pip --python /opt/reconciler/bin/python install --no-cache-dir --require-hashes \
        --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY reconciler reconciler
COPY examples-repo examples-repo
RUN /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /dist . \
    && /build/bin/pip --python /opt/reconciler/bin/python install --no-index --no-deps /dist/*.whl

FROM ${BASE}
# The daemon talks to remotes by the git and ssh commands.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git gpg openssh-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/reconciler /opt/reconciler
ENV PATH=/opt/reconciler/bin:$PATH PYTHONUNBUFFERED=1
# A group of that number too: Kubernetes takes the user's own in place of what USER says.
RUN groupadd --gid 65532 reconciler \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin reconciler
USER 65532:65532
WORKDIR /etc/reconciler
EXPOSE 8080
ENTRYPOINT ["reconciler"]
CMD ["run"]
