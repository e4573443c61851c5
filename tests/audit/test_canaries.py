"""T48: whatever is put into any input, nothing of it is in the audit trail."""

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.test import Client

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.audit.models import AuditEvent
from tests.api.conftest import by_token
from tests.conftest import PASSWORD
from tests.fakes import FakeProvider

pytestmark = pytest.mark.django_db
CANARY = "sk-proj-canaryCANARYcanary0123456789wxyz"
HEX_CANARY = "c0ffee00c0ffee00c0ffee00c0ffee00"
HEADERS = {
    "User-Agent": CANARY,
    "Referer": f"https://example.com/{CANARY}",
    "X-Forwarded-For": CANARY,
    "X-Real-Ip": CANARY,
    "Accept-Language": CANARY,
    "X-DigitalMe-Tag": CANARY,
}


def forms(secret: str) -> set[str]:
    """The secret as it could stand in a text, whole or from its third character on."""
    raw = secret.encode()
    encoded = {base64.b64encode(b"x" * shift + raw)[shift + 1 :].rstrip(b"=")[:-2].decode() for shift in range(3)}
    return {secret[2:], secret[::-1], raw.hex(), quote(secret, safe=""), *encoded}


def everything() -> str:
    return json.dumps(list(AuditEvent.objects.order_by("sequence").values()), default=str)


@pytest.mark.parametrize("request_id", [CANARY, HEX_CANARY, "sk_live_canary_0123456789"])
def test_t48_canaries_in_every_input_are_not_in_the_trail(
    alice: User, settings: Any, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {**HEADERS, "X-Request-Id": request_id}
    browser = Client(headers=headers)
    with FakeProvider() as fake:
        settings.DIGITALME_UPSTREAMS = {"openai": fake.url}
        fake.manner.status, fake.manner.body = 401, json.dumps({"error": {"message": CANARY, "code": CANARY}}).encode()
        _, token = tokens.issue(user=alice, name=CANARY)
        program = Client(headers={**headers, "Authorization": f"Bearer {token}"})
        sent: dict[str, Any] = {"key": CANARY, "display_name": CANARY}
        assert program.put("/api/v1/keys/openai/", sent, content_type="application/json").status_code == 201
        program.post("/api/v1/keys/openai/test/")
        program.put(f"/api/v1/keys/{CANARY}/", sent, content_type="application/json")
        program.delete(f"/api/v1/tokens/{CANARY}/")
        program.delete(f"/api/v1/keys/openai/?key={CANARY}")
        body = {"name": CANARY, "scopes": ["gateway"], "lifetime_days": 5}
        program.post("/api/v1/tokens/", body, content_type="application/json")
        program.post("/api/v1/tokens/", {**body, "scopes": [CANARY]}, content_type="application/json")
        program.patch("/api/v1/me/", {"name": CANARY}, content_type="application/json")
    browser.post("/accounts/login/", {"login": f"{CANARY}@example.com", "password": CANARY})
    browser.post("/accounts/login/", {"login": alice.email, "password": CANARY})
    signup = {"email": f"{CANARY}@example.com", "password1": PASSWORD, "password2": PASSWORD}
    browser.post("/accounts/signup/", signup)
    browser.post("/settings/security/tokens/", {"name": CANARY, "lifetime": "7", "scopes": ["gateway"]})
    browser.post("/settings/api/openai/key/", {"api_key": f"{CANARY}\n{CANARY}"})
    call_command("create_user", f"b{CANARY}@example.com", "--role", "support")
    told = everything()
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert actions >= {
        "credential.set",
        "credential.tested",
        "credential.removed",
        "token.issued",
        "login.failed",
        "user.created",
        "user.role_changed",
        "login",
    }
    hits = [form for secret in (CANARY, request_id, token) for form in forms(secret) if form.lower() in told.lower()]
    assert hits == []


def test_t48_not_even_the_digest_or_hint_of_a_token_is_there(alice: User) -> None:
    by_token(alice)
    row = AccessToken.objects.get()
    told = everything()
    assert str(row.pk) in told
    assert row.digest not in told
    assert row.hint not in told
