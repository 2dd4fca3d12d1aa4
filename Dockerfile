# The daemon's image: small, without a compiler or a shell history, and not root.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md CHANGELOG.md LICENSE ./
COPY reconciler reconciler
COPY examples-repo examples-repo
RUN python -m venv /opt/reconciler \
    && /opt/reconciler/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.13-slim
# The daemon talks to remotes by the git and ssh commands.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates git gpg openssh-client \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/reconciler /opt/reconciler
ENV PATH=/opt/reconciler/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --uid 65532 --user-group --no-create-home --home-dir /tmp reconciler
USER 65532:65532
WORKDIR /etc/reconciler
EXPOSE 8080
ENTRYPOINT ["reconciler"]
CMD ["run"]
