"""Sentry gets errors and no secrets: the real SDK, in a process of its own, reporting to a server on loopback."""

import gzip
import os
import subprocess
import sys

import pytest

from digitalme import sentry
from digitalme.env import EnvironmentProblem
from tests.fakes import FakeProvider, Manner

pytestmark = pytest.mark.once

pytest.importorskip("sentry_sdk")
CANARY = "canaryCANARYcanary0123456789wxyz"
ERRORS = """
import logging, sys
import django
django.setup()
import sentry_sdk
from django.test import Client
from django.test.utils import override_settings
from providers.secrets import Secret

canary = sys.argv[1]
key = Secret(canary)
key.reveal()

def fail(api_key, value, headers, bot_token):
    raw = plain = canary
    try:
        raise ValueError(f"inner {canary}")
    except ValueError as inner:
        raise RuntimeError(f"outer {canary.encode().hex()}") from inner

def ask(request):
    fail(canary, canary, {"x-api-key": canary}, canary)

for deed in (lambda: fail(canary, canary, {}, canary), lambda: logging.getLogger("some").critical("said %s", canary)):
    try:
        deed()
    except RuntimeError as problem:
        sentry_sdk.set_context("call", {"headers": {"x-api-key": canary}, "list": [{"key": canary}]})
        sentry_sdk.set_extra("plaintext", canary)
        sentry_sdk.set_tag("note", canary)
        sentry_sdk.add_breadcrumb(message=canary, data={"url": f"https://host/?key={canary}", "value": canary})
        sentry_sdk.capture_exception(problem)

class urls:
    from django.urls import path
    urlpatterns = [path("fail/", ask)]

with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = canary
    client.post(f"/fail/?key={canary}", {"api_key": canary}, headers={"x-api-key": canary, "authorization": canary})
sentry_sdk.flush(10)
"""


def test_events_hold_no_secret() -> None:
    with FakeProvider() as server:
        server.manner = Manner(body=b"{}")
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "LOG_LEVEL": "DEBUG",
            "SENTRY_DSN": server.url.replace("://", "://public@") + "/1",
        }
        command = [sys.executable, "-c", ERRORS, CANARY]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        sent = [
            gzip.decompress(one.body) if one.headers.get("content-encoding") == "gzip" else one.body
            for one in server.seen
        ]
    whole = b"\n".join(sent)
    assert whole.count(b'"exception"') >= 2, "the errors themselves are reported"
    assert b"RuntimeError" in whole
    assert b"said [redacted]" in whole
    assert CANARY.encode() not in whole
    assert CANARY.encode().hex().encode() not in whole
    assert b'"vars"' not in whole
    assert b'"cookies"' not in whole


def test_without_the_sdk_the_start_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(EnvironmentProblem, match="pip install sentry-sdk"):
        sentry.start("https://public@sentry.example/1")
