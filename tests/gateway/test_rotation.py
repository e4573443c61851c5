"""Another master key comes into use while calls and streams run: none of them notices."""

import base64
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from django.core.management import CommandError

from apikeys.models import Credential, KeyHolder
from tests.fakes import FakeProvider
from tests.gateway.conftest import Person, WebProcess, command, until
from tests.gateway.test_revocation import call, own_key, streams

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def both(settings: Any) -> str:
    """The master of the tests, which seals, and another one."""
    return f"{settings.DIGITALME_MASTER_KEYS},anew:{base64.b64encode(os.urandom(32)).decode()}"


def test_calls_and_streams_go_on_while_the_master_changes(
    both: str, provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess], settings: Any
) -> None:
    web = start_web(provider.url, DIGITALME_MASTER_KEYS=both)
    own_key(alice)
    settings.DIGITALME_MASTER_KEYS = both
    stop = threading.Event()

    def load() -> set[int]:
        codes = set()
        while not stop.is_set():
            codes.add(call(web, alice).status_code)
        return codes

    with streams([web], alice, provider) as running, ThreadPoolExecutor(2) as crowd:
        loads = [crowd.submit(load) for _ in range(2)]
        try:
            # Force, because other tests' processes may still run, which know nothing of the new master.
            command("rotate_master_key", "promote", "anew", "--force")
            assert "1 stored keys sealed anew" in command("rotate_master_key", "reseal")
            # With its next beat the process follows; meanwhile it has asked whether the stream's key still stands.
            until(lambda: KeyHolder.objects.filter(pid=web.process.pid, sealing_id="anew").exists())
        finally:
            stop.set()
        assert [one.result() for one in loads] == [{200}, {200}]
        assert provider.manner.gate
        provider.manner.gate.set()
        assert [line for line in running[0] if line][-1] == b"data: [DONE]"
    row = Credential.objects.get()
    assert (row.key_id, row.version) == ("anew", 1)
    assert requests.get(f"{web.url}/readyz", timeout=10).json()["checks"]["master_key"] is True


def test_a_web_process_that_does_not_know_a_master_holds_its_promotion_up(
    both: str, provider: FakeProvider, alice: Person, start_web: Callable[..., WebProcess], settings: Any
) -> None:
    web = start_web(provider.url)
    settings.DIGITALME_MASTER_KEYS = both
    with pytest.raises(CommandError, match=f"web {web.process.pid} on"):
        command("rotate_master_key", "promote", "anew")
    command("rotate_master_key", "promote", "anew", "--force")
    # It says that it is not fit to serve until it is started anew.
    until(lambda: requests.get(f"{web.url}/readyz", timeout=10).status_code == 503)
    web.stop()
    assert not KeyHolder.objects.filter(pid=web.process.pid).exists()
