# One image for every role: `serve`, `serve --no-worker`, `worker`, `migrate`. `make docker-check` runs these steps.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ONLY_BINARY=:all:
WORKDIR /src
COPY constraints.txt pyproject.toml ./
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install -c constraints.txt hatchling
# The dependencies alone, so that a change of the code does not fetch them again.
RUN python -m venv --without-pip /opt/relay \
    && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > dependencies.txt \
    && /opt/build/bin/python -m pip --python /opt/relay/bin/python install -c constraints.txt -r dependencies.txt
COPY README.md LICENSE ./
COPY migrations migrations
COPY service service
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/build/bin/python -m pip --python /opt/relay/bin/python install --no-deps dist/*.whl

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="soniox-relay" \
      org.opencontainers.image.description="A durable webhook receiver and submission relay for Soniox async speech-to-text." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# /data is for SQLite, which is there when DATABASE_URL is not set. The numbers are fixed, so that volumes and `runAsUser` can name them.
RUN groupadd --gid 10001 relay \
    && useradd --uid 10001 --gid relay --home-dir /data --no-create-home --shell /usr/sbin/nologin relay \
    && install --directory --owner=relay --group=relay --mode=0750 /data
COPY --from=build /opt/relay /opt/relay
ENV PATH="/opt/relay/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# For `serve`; a container that runs `worker` asks `soniox-relay healthy --worker` instead.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["soniox-relay", "healthy"]
ENTRYPOINT ["soniox-relay"]
CMD ["serve"]
