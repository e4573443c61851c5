"""What holds for every page and template: permissions, CSRF, no effects of reading, no inline code."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID

import lucide
import pytest
from django.apps import apps
from django.conf import settings
from django.core import mail
from django.template.loader import render_to_string
from django.test import Client
from django.urls import URLPattern, reverse

from digitalme.accounts import tokens
from digitalme.accounts.models import User
from digitalme.web.templatetags.navigation import ITEMS
from digitalme.web.urls import urlpatterns
from tests.web.conftest import add_call, add_key

HTMX = {"HX-Request": "true"}
TEMPLATES = sorted((Path(settings.BASE_DIR) / "templates").rglob("*.html"))
TOKEN = UUID("01890000-0000-7000-8000-000000000001")
PUBLIC = {"home"}
POST_ONLY = {
    "settings_export_start",
    "settings_export_ask",
    "settings_export_remove",
    "settings_webhook_test",
    "settings_webhook_switch",
    "settings_webhook_renew",
    "settings_webhook_remove",
    "inbox_read_all",
    "inbox_read",
    "inbox_open",
    "settings_preferences_notifications",
    "start_token",
    "settings_api_test",
    "settings_tokens",
    "settings_team_limits",
    "settings_team_limit_remove",
    "settings_budget_remove",
    "settings_fallback",
    "settings_raises",
    "settings_raise_withdraw",
    "settings_team_rename",
    "settings_team_leave",
    "settings_team_dissolve",
    "settings_team_invite",
    "settings_team_withdraw",
    "settings_team_role",
    "settings_team_remove",
    "settings_team_hand_over",
    "settings_team_key_test",
    "settings_team_key_remove",
}
POSTABLE = POST_ONLY | {
    "settings_budgets",
    "settings_profile",
    "settings_preferences",
    "settings_api_key",
    "settings_api_remove",
    "settings_api_connect",
    "settings_token_revoke",
    "settings_team",
    "settings_webhooks",
    "settings_team_key",
    "settings_team_key_connect",
    "settings_team_invitation",
}
ACCOUNT_PAGES = [
    "account_email",
    "account_change_password",
    "account_logout",
    "mfa_index",
    "mfa_activate_totp",
    "usersessions_list",
]
ENTRANCES = ["account_login", "account_signup", "account_reset_password", "account_reset_password_done"]


def path_of(route: URLPattern, token: Any = TOKEN) -> str:
    """The route's path with an argument for each of its parameters."""
    values = {"slug": "openai", "token_id": token, "team": "alices", "team_slug": "alices", "provider_slug": "openai"}
    values |= {
        "notification_id": TOKEN,
        "webhook_id": TOKEN,
        "user_id": TOKEN,
        "invitation_id": TOKEN,
        "raise_id": TOKEN,
        "export_id": TOKEN,
        "limit_id": 1,
        "token": "odd",
    }
    return reverse(str(route.name), kwargs={name: values[name] for name in route.pattern.converters})


def names(routes: list[URLPattern]) -> list[str]:
    return [str(route.name) for route in routes]


PRIVATE = [route for route in urlpatterns if route.name not in PUBLIC]
READABLE = [route for route in urlpatterns if route.name not in POST_ONLY]
UNSAFE = [route for route in urlpatterns if route.name in POSTABLE]


@pytest.mark.django_db
@pytest.mark.parametrize("route", PRIVATE, ids=names(PRIVATE))
def test_a_stranger_is_sent_to_sign_in(client: Client, route: URLPattern) -> None:
    path = path_of(route)
    answer = client.post(path) if route.name in POST_ONLY else client.get(path)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/?next=")


@pytest.mark.django_db
@pytest.mark.parametrize("route", PRIVATE, ids=names(PRIVATE))
def test_a_stranger_with_htmx_leaves_the_page_to_sign_in(client: Client, route: URLPattern) -> None:
    path = path_of(route)
    headers = {**HTMX, "HX-Current-URL": "http://testserver/settings/usage/"}
    answer = client.post(path, headers=headers) if route.name in POST_ONLY else client.get(path, headers=headers)
    assert answer["HX-Redirect"] == "/accounts/login/?next=%2Fsettings%2Fusage%2F"


@pytest.mark.django_db
@pytest.mark.parametrize("route", UNSAFE, ids=names(UNSAFE))
def test_a_change_without_the_csrf_token_is_refused(alice: User, route: URLPattern) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert strict.post(path_of(route), {"name": "x"}).status_code == 403


def everything() -> dict[str, list[Any]]:
    """Every row of our own tables."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
        if model._meta.app_label in {"accounts", "apikeys", "quotas", "usage"}
    }


@pytest.mark.django_db
@pytest.mark.parametrize("route", READABLE, ids=names(READABLE))
@pytest.mark.parametrize("headers", [{}, HTMX], ids=["page", "htmx"])
def test_reading_changes_nothing(alice_client: Client, alice: User, route: URLPattern, headers: dict[str, str]) -> None:
    add_key(alice)
    add_call(alice)
    token, _ = tokens.issue(user=alice, name="laptop")
    before = everything()
    # Where providers send people back to takes nothing that was not begun.
    absent = {"settings_team_invitation": {404}, "settings_webhook": {404}, "settings_export_fetch": {404}}
    expected = {"settings_api_connected": {400}, **absent}.get(str(route.name), {200, 302})
    assert alice_client.get(path_of(route, token.pk), headers=headers).status_code in expected
    assert everything() == before


@pytest.mark.django_db
@pytest.mark.parametrize("name", sorted(POST_ONLY))
def test_what_only_changes_cannot_be_read(alice_client: Client, name: str) -> None:
    route = next(route for route in urlpatterns if route.name == name)
    assert alice_client.get(path_of(route)).status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize("name", ACCOUNT_PAGES)
def test_account_pages_wear_the_settings_layout(alice_client: Client, name: str) -> None:
    answer = alice_client.get(reverse(name), follow=True)
    assert answer.status_code == 200
    assert "web/site.css" in answer.content.decode()
    assert_clean(answer.content.decode())


@pytest.mark.django_db
@pytest.mark.parametrize("name", ENTRANCES)
def test_entrances_wear_the_products_look(client: Client, name: str) -> None:
    text = client.get(reverse(name)).content.decode()
    assert 'class="entrance"' in text
    assert_clean(text)


@pytest.mark.django_db
def test_the_policy_forbids_foreign_and_inline_code(client: Client) -> None:
    policy = client.get("/")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.django_db
def test_a_missing_page_is_a_page(client: Client) -> None:
    answer = client.get("/no/such/page/")
    assert answer.status_code == 404
    assert "There is no such page" in answer.content.decode()


@pytest.mark.django_db
def test_an_error_for_htmx_is_a_fragment(alice_client: Client) -> None:
    answer = alice_client.get("/settings/api/nobody/key/", headers=HTMX)
    assert answer.status_code == 404
    assert answer.content.decode().strip().startswith("<div data-fragment")


def test_the_page_for_a_fault_needs_nothing() -> None:
    text = render_to_string("500.html")
    assert "A fault on our side" in text
    assert_clean(text)


@pytest.mark.django_db
def test_a_lost_password_is_reset_by_mail(client: Client, alice: User) -> None:
    client.post(reverse("account_reset_password"), {"email": alice.email})
    link = re.search(r"http://testserver(/accounts/password/reset/key/\S+)", str(mail.outbox[0].body))
    assert link
    form = client.get(link.group(1), follow=True)
    assert "Choose a new password" in form.content.decode()
    new = {"password1": "another horse battery staple", "password2": "another horse battery staple"}
    client.post(form.redirect_chain[-1][0], new)
    assert client.login(email=alice.email, password=new["password1"])


@pytest.mark.django_db
def test_a_spent_link_says_so(client: Client, alice: User) -> None:
    text = client.get("/accounts/password/reset/key/1-set-password/").content.decode()
    assert "This link no longer works" in text


def assert_clean(text: str) -> None:
    """No inline style, handler or script that a browser would have to run."""
    assert not re.search(r"\sstyle\s*=|<style|\son[a-z]+\s*=|javascript:", text)
    scripts = [tag for tag in re.findall(r"<script[^>]*>", text) if "src=" not in tag]
    assert all('type="application/json"' in tag for tag in scripts)


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_no_template_holds_inline_code(file: Path) -> None:
    assert_clean(file.read_text())


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_no_template_trusts_a_value(file: Path) -> None:
    assert not re.search(r"\|\s*safe\b|autoescape off|mark_safe", file.read_text())


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_whatever_htmx_fetches_works_without_it(file: Path) -> None:
    for tag in re.findall(r"<(?:a|form|button)\b(?:\"[^\"]*\"|\{%.*?%\}|[^>])*>", file.read_text()):
        if "hx-get=" in tag:
            assert "href=" in tag or ('method="get"' in tag and "action=" in tag)
        if "hx-post=" in tag:
            assert 'method="post"' in tag
            assert "action=" in tag


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_every_icon_exists(file: Path) -> None:
    for name in re.findall(r"{% lucide \"([^\"]+)\"", file.read_text()):
        assert lucide._render_icon(name, 18)


def test_every_icon_of_the_navigation_exists() -> None:
    for item in ITEMS:
        assert lucide._render_icon(item.icon, 20)
