"""What an unexpected error leaves behind: a report for the developers, without anybody's secret."""

import contextvars
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, JsonResponse
from django.test import Client, RequestFactory, override_settings
from django.views.debug import get_exception_reporter_class

from apikeys import keys
from digitalme.accounts.models import User
from providers import registry
from providers.secrets import Secret

# Far from the functions below: a report shows the lines around the error.
CANARY = "sk-proj-canary<&'CANARY" + "canary0123456789wxyz"
KEY = "sk-proj-canaryCANARY" + "canary0123456789wxyz"
PHRASE = "correct horse battery staple"
TELLTALE = ["CANARYcanary", PHRASE]


def untold(text: str) -> bool:
    """Whether no part of a secret stands in a text."""
    return not any(one in text for one in TELLTALE)


def fail(**sent: Any) -> None:
    """An error deep inside, with the secret under names of all kinds, in its message and in its cause."""
    value, innocent, thing = CANARY, {"x-api-key": CANARY}, Secret(CANARY)
    try:
        raise ValueError(f"cannot parse {value}")
    except ValueError as cause:
        raise RuntimeError(f"{innocent} {thing.reveal()}") from cause


def report(deed: Callable[[], Any], request: HttpRequest | None = None) -> str:
    """Both forms of the report of what this deed raises."""
    try:
        deed()
    except Exception:
        made: Any = get_exception_reporter_class(request)  # type: ignore[arg-type]  # what a task reports has none
        reporter = made(request, *sys.exc_info())
        return str(reporter.get_traceback_html() + reporter.get_traceback_text())
    raise AssertionError("It did not fail.")


def posted(**more: str) -> HttpRequest:
    return RequestFactory().post("/settings/api/openai/key/", {"api_key": CANARY, "note": CANARY, **more})


@pytest.mark.parametrize("debug", [True, False])
def test_no_report_has_the_secret(debug: bool) -> None:
    with override_settings(DEBUG=debug):
        text = contextvars.copy_context().run(report, fail, posted())
    assert "RuntimeError" in text
    assert "api_key" in text, "which fields were sent may be told"
    assert untold(text)


@pytest.mark.parametrize("debug", [True, False])
def test_what_was_sent_is_not_shown_although_nobody_knows_it_for_a_secret(debug: bool) -> None:
    request = posted(sudo=PHRASE)

    def deed() -> None:
        kept = request.POST
        assert kept
        raise LookupError("somewhere else")

    with override_settings(DEBUG=debug):
        assert untold(report(deed, request))


@pytest.mark.parametrize("name", ["DIGITALME_MASTER_KEYS", "DIGITALME_FINGERPRINT_KEY", "SECRET_KEY"])
def test_the_house_keys_are_not_in_a_report(name: str, settings: Any) -> None:
    value = getattr(settings, name)
    text = report(fail, posted())
    assert name in text
    assert value not in text
    assert value.partition(":")[2] not in text or ":" not in value


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("where", ["vault.seal", "vault.fingerprint", "vault.warm_up"])
def test_a_fault_while_a_key_is_stored_tells_no_key(
    where: str, debug: bool, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*parts: Any) -> Any:
        raise OSError("the disk is full")

    monkeypatch.setattr(f"apikeys.{where}", broken)
    owner, openai = keys.Owner("user", alice.pk), registry.get("openai")

    def deed() -> None:
        keys.set_key(actor=alice, owner=owner, provider=openai, fields={"api_key": KEY})

    with override_settings(DEBUG=debug):
        assert untold(contextvars.copy_context().run(report, deed))


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [True, False])
def test_the_page_that_a_browser_gets_has_no_secret(
    debug: bool, alice_client: Client, monkeypatch: pytest.MonkeyPatch, settings: Any, caplog: Any
) -> None:
    def broken(**given: Any) -> JsonResponse:
        raise OSError(f"the disk is full {given}")

    settings.DEBUG = debug
    monkeypatch.setattr(keys, "set_key", broken)
    alice_client.raise_request_exception = False
    answer = alice_client.post("/settings/api/openai/key/", {"api_key": KEY})
    assert answer.status_code == 500
    assert untold(answer.content.decode())
    program = alice_client.put("/api/v1/keys/openai/", {"key": KEY}, content_type="application/json")
    assert program.status_code == 500
    assert untold(program.content.decode())
