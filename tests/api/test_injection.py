"""No control character gets into a key, a label or a name of a key, and none comes back (T16)."""

from collections.abc import Callable

import pytest
from django.core.cache import cache
from django.test import Client

from apikeys.models import Credential
from providers.registry import Provider
from tests.api.conftest import OPENAI_KEY

ODD = [chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA1))] + ["\u2028", "\u2029", "\ufeff", "\r\n", "é"]
EVIL = ["\r\nX-Evil: 1", "\nAuthorization: Bearer other", "\x0b", "\u2028X-Evil: 1"]


def _by_api(client: Client, key: str) -> str:
    answer = client.put("/api/v1/keys/openai/", {"key": key}, content_type="application/json")
    # A NUL is no text at all to the API, so it is refused before anybody looks at the key.
    assert (answer.status_code, answer.json()["code"]) in {(422, "InvalidKeyFormat"), (400, "InvalidRequest")}
    return answer.content.decode()


def _by_page(client: Client, key: str) -> str:
    answer = client.post("/settings/api/openai/key/", {"api_key": key})
    assert answer.status_code == 422
    return answer.content.decode()


@pytest.mark.parametrize("send", [_by_api, _by_page])
@pytest.mark.parametrize("odd", [*ODD, *EVIL], ids=ascii)
def test_a_key_with_it_is_refused_and_not_repeated(
    send: Callable[[Client, str], str], odd: str, alice_client: Client
) -> None:
    cache.clear()
    said = send(alice_client, OPENAI_KEY[:20] + odd + OPENAI_KEY[20:])
    assert OPENAI_KEY[:20] not in said
    assert OPENAI_KEY[20:] not in said
    assert "X-Evil" not in said
    assert not Credential.objects.exists()


@pytest.mark.parametrize("odd", ["\n", "\r", "\t", "\x7f", "\u2028", " ", "/", "%0a"], ids=ascii)
def test_a_label_with_it_is_refused(odd: str, alice_client: Client, notes: Provider) -> None:
    fields = {"password": "hunter2hunter2", "account": "alice", "label": f"ho{odd}me"}
    assert alice_client.post("/settings/api/notes/key/?new=1", fields).status_code == 422
    assert not Credential.objects.exists()
