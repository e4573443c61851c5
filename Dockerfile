# The product as one image; web, worker, beat and migrate differ in their command only.

FROM python:3.11-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY requirements/core.txt /tmp/core.txt
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r /tmp/core.txt
WORKDIR /app
COPY manage.py ./
COPY digitalme ./digitalme
COPY apikeys ./apikeys
COPY quotas ./quotas
COPY usage ./usage
COPY providers ./providers
COPY templates ./templates
# The style sheets and scripts get the hash of their content into their names, and are compressed, here and once.
RUN STATIC_FROM_SOURCE=off DIGITALME_ENV_FILE= DIGITALME_VAR_DIR=/tmp/var SECRET_KEY=used-by-this-build-step-alone \
    /opt/venv/bin/python manage.py collectstatic --noinput --verbosity 0 \
    && /opt/venv/bin/python -m compileall -q -j 0 /app /opt/venv/lib

FROM python:3.11-slim-trixie
# pg_dump, pg_restore and psql, for backup and restore: of the same version as the server in docker-compose.yml.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 digitalme \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin digitalme \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data /exports
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DIGITALME_ENV_FILE= \
    DIGITALME_VAR_DIR=/data \
    STATIC_FROM_SOURCE=off
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
USER 10001:10001
# Nothing but /data, /exports and /tmp is ever written, so the root file system may be read-only.
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "digitalme.server", "--host", "0.0.0.0", "--port", "8000"]
