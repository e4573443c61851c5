"""T04: a call on a key that does not open is refused, and once in the audit trail however often it is tried."""

import pytest
import requests

from apikeys.models import Credential
from digitalme.audit.models import AuditEvent
from tests.fakes import FakeProvider
from tests.gateway.conftest import Person, WebProcess, command
from tests.gateway.test_sdks import MESSAGES

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)
KEY = "sk-proj-" + "a1B2" * 10


@pytest.mark.parametrize("change", [{"version": 7}, {"sealed": {"api_key": "AAAA"}}])
def test_t04_a_key_that_was_altered_reaches_the_trail_and_no_provider(
    web: WebProcess, provider: FakeProvider, alice: Person, change: dict[str, object]
) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=KEY)
    Credential.objects.filter(user=alice.user).update(**change)
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    for _ in range(3):
        url = web.gateway("openai", "/v1/chat/completions")
        answer = requests.post(url, json=body, headers=alice.headers, timeout=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "DecryptionFailed")
    assert provider.seen == []
    event = AuditEvent.objects.get(action="credential.unreadable")
    credential = Credential.objects.get(user=alice.user)
    assert (event.target, event.subject) == (f"credential:{credential.pk}", f"user:{alice.user.pk}")
    assert (event.actor_kind, event.facts["provider"]) == ("gateway", "openai")


def test_a_call_that_works_writes_nothing_into_the_trail(web: WebProcess, alice: Person) -> None:
    command("set_key", "openai", "--user", alice.user.email, stdin=KEY)
    before = AuditEvent.objects.count()
    url = web.gateway("openai", "/v1/chat/completions")
    body = {"model": "gpt-4o-mini", "messages": MESSAGES}
    assert requests.post(url, json=body, headers=alice.headers, timeout=20).status_code == 200
    assert alice.record().status == "ok"
    assert AuditEvent.objects.count() == before
