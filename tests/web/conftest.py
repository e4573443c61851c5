"""What the tests of pages share: a provider on loopback, keys, calls on record, a real browser."""

import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoDbBlocker
from pytest_django.live_server_helper import LiveServer

from apikeys import keys
from apikeys.models import Credential
from digitalme.accounts.models import User
from providers import registry
from tests.fakes import FakeProvider
from tests.servers import chromium
from usage.models import UsageRecord

GOOD_KEYS = {"openai": "sk-proj-" + "a1B2" * 10 + "3kQf", "anthropic": "sk-ant-api03-" + "c3D4" * 10 + "T9wA"}
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@pytest.fixture
def provider(settings: Any) -> Iterator[FakeProvider]:
    """OpenAI and Anthropic, played by a server on loopback."""
    with FakeProvider() as fake:
        settings.DIGITALME_UPSTREAMS = {"openai": fake.url, "anthropic": fake.url}
        yield fake


def add_key(user: User, slug: str = "openai") -> Credential:
    """Give the user a key of their own."""
    credential = keys.set_key(
        actor=user, owner=keys.Owner("user", user.pk), provider=registry.get(slug), fields={"api_key": GOOD_KEYS[slug]}
    )
    return credential


def add_call(user: User, *, at: datetime | None = None, **fields: Any) -> UsageRecord:
    """Put a call of this user on record."""
    values: dict[str, Any] = {
        "provider": "openai",
        "model": "gpt-4o-mini",
        "operation": "chat",
        "key_source": "system",
        "input_tokens": 1200,
        "output_tokens": 300,
        "cost": Decimal("0.42"),
        "status": UsageRecord.Status.OK,
        "http_status": 200,
        "response_ms": 812,
    }
    when = at or timezone.now() - timedelta(seconds=5)
    return UsageRecord.objects.create(request_id=uuid4(), user_id=user.pk, timestamp=when, **{**values, **fields})


def queries_of(client: Client, path: str) -> int:
    """How many queries a page takes."""
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@pytest.fixture(scope="module")
def browser(django_db_blocker: DjangoDbBlocker) -> Iterator[Any]:
    """A Chromium for the tests of one module. It is closed after each module, because its event loop
    would be in the way of asynchronous tests."""
    program = chromium()
    if program is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright's synchronous interface runs an event loop in this thread, which makes Django
        # refuse the database to a test although nothing here is asynchronous.
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        chrome = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)
        yield chrome
        chrome.close()


# Chromium takes several secrets in one form for several forms; a key of many parts has them all the same.
_GUESS = "[DOM] Multiple forms should be contained in their own form elements"


@pytest.fixture
def visit(browser: Any, live_server: LiveServer) -> Iterator[Callable[..., Any]]:
    """Open pages of the running site: visit(user, width=, theme=, scripts=) returns a browser page whose
    `complaints` collect everything that the console said."""
    contexts = []

    def open_page(user: User | None = None, *, width: int = 1280, theme: str = "light", scripts: bool = True) -> Any:
        context = browser.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            java_script_enabled=scripts,
        )
        contexts.append(context)
        if user is not None:
            context.add_cookies([_session_cookie(user, live_server.url)])
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.complaints = []
        page.on("console", lambda message: _GUESS in message.text or page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()


def _session_cookie(user: User, url: str) -> dict[str, str]:
    client = Client()
    client.force_login(user)
    return {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}
