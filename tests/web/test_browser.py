"""The pages in a real browser: accessible, quiet, as wide as the screen, and usable with and without scripts."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal import auth as totp
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone

from apikeys import checks, keys
from apikeys.models import Credential
from digitalme.accounts import tokens
from digitalme.accounts.models import Team, User
from digitalme.notifications.models import Delivery, Level, Notification, Webhook
from providers import registry
from tests import mailboxes, oauth_server
from tests.conftest import PASSWORD
from tests.fakes import FakeProvider
from tests.web.conftest import GOOD_KEYS, add_call, add_key

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Visit = Callable[..., Any]
DESK, PHONE = 1280, 390
HOOK = UUID("01890000-0000-7000-8000-00000000000f")
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "resultTypes": ["violations"],
}
SIGNED_OUT = ["/", "/accounts/login/", "/accounts/signup/", "/accounts/password/reset/"]
SIGNED_IN = [
    "/",
    "/settings/profile/",
    "/settings/preferences/",
    "/settings/api/",
    "/settings/api/openai/key/",
    "/settings/api/openai/remove/",
    "/settings/api/openai/details/",
    "/settings/usage/",
    "/settings/usage/limits/",
    "/settings/usage/budgets/",
    "/settings/usage/exports/",
    "/settings/usage/gifts/",
    "/settings/team/",
    "/inbox/",
    "/settings/webhooks/",
    f"/settings/webhooks/{HOOK}/?ask=remove",
    "/settings/team/alices/?ask=dissolve",
    "/settings/security/",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/logout/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/sessions/",
]


ADMIN = [
    "/admin/",
    "/admin/accounts/user/",
    "/admin/accounts/user/add/",
    "/admin/apikeys/credential/",
    "/admin/providers/providerdefinition/",
    "/admin/providers/providerdefinition/add/",
    "/admin/providers/providerdefinition/openai/change/",
    "/admin/providers/modelprice/add/",
    "/admin/quotas/tier/",
    "/admin/quotas/allocation/",
    "/admin/usage/usagerecord/",
    "/admin/usage/houseusage/",
    "/admin/forecasts/forecast/",
]


# Of keys that come by consent, and of those that have several fields and a label.
KEYS = [
    "/settings/api/google/connect/",
    "/settings/api/google/connection/",
    "/settings/api/google/key/",
    "/settings/api/mcp/key/?label=notes",
    "/settings/api/mcp/details/?label=notes",
    "/settings/api/email/key/?new=1",
    "/settings/api/email/remove/?label=home",
    "/settings/team/alices/",
    "/settings/team/alices/keys/google/connect/",
    "/admin/apikeys/credential/connect/",
]


@pytest.fixture
def connected_in(alice: User, team: Team, settings: Any) -> Iterator[User]:
    """A Super Admin with Google by consent, as the team has it too, an MCP server and a mailbox."""
    with oauth_server.playing("google", settings) as google:
        app = {f"github_{part}": value for part, value in oauth_server.APP.items()}
        settings.DIGITALME_OAUTH_SECRETS = {**settings.DIGITALME_OAUTH_SECRETS, **app}
        google.grants = "openid"
        for owner in (keys.Owner("user", alice.pk), keys.Owner("team", team.pk)):
            oauth_server.connected(google, alice, owner)
        server = {"url": "https://mcp.example.com/mcp", "token": "mcp-0123456789"}
        mailbox = mailboxes.fields(smtp_host="smtp.example.com", imap_host="imap.example.com")
        for slug, label, fields in (("mcp", "notes", server), ("email", "home", mailbox)):
            owner, provider = keys.Owner("user", alice.pk), registry.get(slug)
            keys.set_key(actor=alice, owner=owner, provider=provider, fields=fields, label=label)
        User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
        yield alice


@pytest.fixture
def lived_in(alice: User) -> User:
    """Somebody with a key, a token, a month of calls, news and a webhook."""
    add_key(alice)
    for level in Level:
        facts = {"link": "/settings/usage/", "level": level, "text": "9 of 10 requests are used."}
        Notification.objects.create(user=alice, kind="quota.threshold", key=level, title=f"News: {level}", **facts)
    hook = Webhook.objects.create(pk=HOOK, user=alice, name="pager", url=f"https://example.com/{'x' * 80}")
    for state in Delivery.State:
        Delivery.objects.create(webhook=hook, event="quota.threshold", body='{"type": "x"}', state=state, problem="No.")
    tokens.issue(user=alice, name="laptop")
    now = timezone.now()
    for day in range(30):
        slug = "anthropic" if day % 3 else "openai"
        add_call(alice, at=now - timedelta(days=day, minutes=1), provider=slug, cost=Decimal(day % 7) / 2)
    return alice


def assert_sound(page: Any, width: int) -> None:
    """Nothing in the console, no violation of an accessibility rule, no sideways scroll."""
    assert page.complaints == []
    found = Axe().run(page, options=RULES).response["violations"]
    # The rules' own measuring may try what the policy forbids.
    page.complaints.clear()
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def assert_sound_everywhere(page: Any, path: str) -> None:
    """The page is sound on a desk by day and on a phone by night, which together show all that there is to see."""
    page.goto(path)
    for theme, width in (("light", DESK), ("dark", PHONE)):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("document.getAnimations().forEach(one => one.finish())")
        assert_sound(page, width)


@pytest.mark.parametrize("path", SIGNED_OUT)
def test_pages_for_strangers_are_sound(visit: Visit, path: str) -> None:
    assert_sound_everywhere(visit(), path)


@pytest.mark.parametrize("path", SIGNED_IN)
def test_pages_of_somebody_signed_in_are_sound(visit: Visit, lived_in: User, path: str) -> None:
    assert_sound_everywhere(visit(lived_in), path)


@pytest.mark.parametrize("path", KEYS)
def test_pages_of_keys_of_many_parts_are_sound(visit: Visit, connected_in: User, path: str) -> None:
    assert_sound_everywhere(visit(connected_in), path)


@pytest.mark.parametrize("path", ["/", "/settings/api/", "/settings/usage/", "/settings/security/"])
def test_pages_of_a_newcomer_are_sound(visit: Visit, charlie: User, path: str) -> None:
    assert_sound_everywhere(visit(charlie), path)


@pytest.mark.parametrize("path", ADMIN)
def test_the_administration_is_sound(visit: Visit, lived_in: User, path: str) -> None:
    User.objects.filter(pk=lived_in.pk).update(is_staff=True, is_superuser=True)
    assert_sound_everywhere(visit(lived_in), path)


def sign_up(page: Any) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").first.click()
    page.get_by_label("Email").fill("newcomer@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password (again)").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    page.get_by_role("heading", name="Welcome").wait_for()


def submit_key(page: Any, key: str) -> None:
    page.get_by_label("API key", exact=True).fill(key)
    page.get_by_role("button", name="Save and test").click()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_from_sign_up_to_a_key_and_back(visit: Visit, provider: FakeProvider, scripts: bool) -> None:
    page = visit(scripts=scripts, width=390)
    sign_up(page)
    page.goto("/settings/api/")
    card = page.locator("#provider-openai")
    page.get_by_role("link", name="Add your key for OpenAI").click()
    submit_key(page, "wrong")
    card.get_by_text("This is not a valid API key").wait_for()
    assert page.get_by_label("API key", exact=True).input_value() == ""
    submit_key(page, GOOD_KEYS["openai"])
    page.get_by_text(re.compile(r"Saved\. OpenAI answered in \d+ ms")).wait_for()
    card.get_by_text("Connected").wait_for()
    provider.manner.status = 401
    # A result of the last minute would answer once more.
    Credential.objects.update(checked_at=timezone.now() - checks.FRESH)
    page.get_by_role("button", name="Test the OpenAI key").click()
    card.get_by_text("Key rejected").wait_for()
    page.get_by_role("link", name="Remove the OpenAI key").click()
    page.get_by_role("button", name="Remove it").click()
    page.get_by_text("Your OpenAI key is removed.").wait_for()
    card.get_by_text("No key yet").wait_for()
    assert GOOD_KEYS["openai"] not in page.content()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_token_is_made_shown_once_and_revoked(visit: Visit, alice: User, scripts: bool) -> None:
    page = visit(alice, scripts=scripts)
    page.goto("/settings/security/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Make the token").click()
    page.get_by_text("“laptop” is ready").wait_for()
    token = page.locator("#new-token").inner_text().strip()
    assert tokens.looks_valid(token)
    page.goto("/settings/security/")
    assert token not in page.content()
    page.get_by_role("link", name="Revoke laptop").click()
    page.get_by_role("button", name="Revoke it").click()
    page.get_by_text("is revoked").wait_for()
    page.get_by_text("No tokens yet").wait_for()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_the_first_token_goes_into_the_example(visit: Visit, alice: User, scripts: bool) -> None:
    page = visit(alice, scripts=scripts)
    page.goto("/")
    page.get_by_role("button", name="Make an access token").click()
    page.get_by_text("Your token is in the examples").wait_for()
    assert re.search(r"Bearer dm_[0-9A-Za-z]{38}", page.locator("#example-curl").inner_text())


def test_what_was_typed_can_be_shown(visit: Visit, alice: User) -> None:
    page = visit(alice)
    page.goto("/settings/api/openai/key/")
    field = page.get_by_label("API key", exact=True)
    assert field.get_attribute("type") == "password"
    page.get_by_role("button", name="Show what I typed").click()
    assert field.get_attribute("type") == "text"


def test_a_refusal_does_not_replace_the_card(visit: Visit, alice: User) -> None:
    credential = add_key(alice)
    page = visit(alice)
    page.goto("/settings/api/")
    credential.delete()
    page.get_by_role("button", name="Test the OpenAI key").click()
    page.locator("#notices").get_by_text("no key of your own").wait_for()
    assert page.locator("#provider-openai").count() == 1


def test_markup_in_a_name_is_text(visit: Visit, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(name="<img src=x onerror=alert(1)>")
    add_call(alice, model="<div hx-get=/settings/ hx-trigger=load>")
    page = visit(alice)
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", "/settings/usage/"):
        page.goto(path)
    assert dialogs == []
    assert not any(url.endswith(("/x", "/settings/")) for url in asked)


def test_the_theme_follows_the_preference_over_the_device(visit: Visit, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(theme="dark")
    page = visit(alice, theme="light")
    page.goto("/settings/profile/")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def test_the_second_factor_is_turned_on_and_asked_for(visit: Visit, alice: User) -> None:
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    page = visit(alice, width=390)
    page.goto("/accounts/2fa/totp/activate/")
    assert_sound(page, PHONE)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    secret = page.get_by_label("Secret, to type in instead").input_value()
    assert_sound(page, PHONE)
    page.get_by_label("Authenticator code").fill(current_code(secret))
    page.get_by_role("button", name="Turn on").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    assert_sound(page, PHONE)
    for path in ("/accounts/2fa/", "/accounts/2fa/totp/deactivate/", "/accounts/2fa/recovery-codes/generate/"):
        page.goto(path)
        assert_sound(page, PHONE)
    stranger = visit(width=390)
    stranger.goto("/accounts/login/")
    stranger.get_by_label("Email").fill(alice.email)
    stranger.get_by_label("Password", exact=True).fill(PASSWORD)
    stranger.get_by_role("button", name="Sign in").click()
    stranger.get_by_role("heading", name="Two-Factor Authentication").wait_for()
    assert_sound(stranger, PHONE)


def current_code(secret: str) -> str:
    """What an authenticator app shows now."""
    counter = next(iter(totp.yield_hotp_counters_from_time()))
    return str(totp.format_hotp_value(totp.hotp_value(secret, counter)))


def test_an_open_page_follows_while_somebody_looks_at_it(visit: Visit, alice: User) -> None:
    page = visit(alice)
    page.goto("/settings/usage/")
    calls = page.locator("#live dd").first
    assert calls.inner_text() == "0"
    add_call(alice, model="just-now")
    page.locator("#latest", has_text="just-now").wait_for()
    assert calls.inner_text() == "1"
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1700)
    assert asked == []
    assert page.complaints == []
