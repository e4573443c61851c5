"""Is it alive, can it serve: /healthz and /readyz."""

from pathlib import Path

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import OperationalError, connection
from django.test import Client
from pytest_django.fixtures import Settings

from digitalme import celery
from tests import servers

PARTS = {"database", "cache", "broker", "master_key"}


def test_healthz_answers_without_a_database(client: Client) -> None:
    """No database is allowed in this test: a query would fail it."""
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok")


def test_readyz_says_that_every_part_works(client: Client, db: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "checks": dict.fromkeys(PARTS, True)}


def failing(client: Client) -> set[str]:
    """The parts that /readyz names as not working; it must answer 503 then."""
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    return {name for name, works in answer.json()["checks"].items() if not works}


def test_a_database_that_fails_is_named(client: Client, db: None) -> None:
    def away(execute: object, sql: str, *rest: object) -> None:
        raise OperationalError("could not connect to server at 10.1.2.3, user digitalme")

    with connection.execute_wrapper(away):
        assert failing(client) == {"database"}


class Forgetful(LocMemCache):
    """A cache that takes everything and keeps nothing."""

    def get(self, *args: object, **kwargs: object) -> None:
        return None


def test_a_cache_that_forgets_is_named(client: Client, db: None, settings: Settings) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.test_ops.Forgetful"}}
    assert failing(client) == {"cache"}


def test_a_cache_server_that_is_away_is_named(client: Client, db: None, settings: Settings) -> None:
    away = f"redis://127.0.0.1:{servers.free_port()}/0"
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": away}}
    assert failing(client) == {"cache"}


def test_a_broker_that_is_away_is_named(
    client: Client, db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{servers.free_port()}/0"
    with celery.app.connection_for_write(settings.REDIS_URL) as away:
        monkeypatch.setattr(celery.app, "connection_for_write", lambda **_options: away)
        assert failing(client) == {"broker"}


def test_a_broker_folder_that_is_gone_is_named(client: Client, db: None, settings: Settings, tmp_path: Path) -> None:
    settings.REDIS_URL = ""
    settings.CELERY_BROKER_TRANSPORT_OPTIONS = {"data_folder_out": str(tmp_path / "gone")}
    assert failing(client) == {"broker"}


def test_a_master_key_that_cannot_be_used_is_named(client: Client, db: None, settings: Settings) -> None:
    settings.DIGITALME_MASTER_KEYS = "k1:tooshort"
    assert failing(client) == {"master_key"}


def test_readyz_tells_no_details(client: Client, db: None, settings: Settings) -> None:
    settings.DIGITALME_MASTER_KEYS = "k1:tooshort"
    assert b"tooshort" not in client.get("/readyz").content


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_probes_are_read_only_and_never_cached(address: str, client: Client, db: None) -> None:
    assert client.post(address).status_code == 405
    assert "no-cache" in client.get(address)["Cache-Control"]


@pytest.mark.parametrize("address", ["/healthz", "/readyz"])
def test_probes_are_not_sent_on_to_https(address: str, client: Client, db: None, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(address).status_code == 200
