"""Start the web server: `python -m digitalme.server --host 0.0.0.0 --port 8000`."""

import argparse
import os
import sys

import uvicorn

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "digitalme.settings")


def _check_keys() -> None:
    """End with one sentence and exit code 1 if the house's keys are unusable, or others than this database knows:
    with several processes the server itself would end with 0."""
    import django
    from django.db import connections

    django.setup(set_prefix=False)
    from apikeys import keyring, masters

    try:
        keyring.ring()
        masters.verify()
    except keyring.UnusableKey as problem:
        sys.exit(str(problem))
    finally:
        connections.close_all()


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; running calls then get GRACEFUL_SECONDS to end."""
    from django.conf import settings

    parser = argparse.ArgumentParser(prog="digitalme.server", description="Serve pages, API and gateway.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    chosen = parser.parse_args(arguments)
    _check_keys()
    uvicorn.run(
        "digitalme.asgi:application",
        host=chosen.host,
        port=chosen.port,
        workers=settings.WEB_PROCESSES,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,  # the product's own, with its redaction
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.TRUSTED_PROXIES),
        forwarded_allow_ips=settings.TRUSTED_PROXIES,
        timeout_graceful_shutdown=settings.GRACEFUL_SECONDS,
    )


if __name__ == "__main__":
    main()
