"""Every route of the API against everybody who is not its owner. A new route without an entry fails here."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys.models import Credential
from digitalme.accounts import invitations, roles, teams, tokens
from digitalme.accounts.models import AccessToken, Invitation, Membership, Team, User
from digitalme.accounts.roles import Role
from digitalme.api import urls
from digitalme.notifications.models import Notification, Webhook
from providers.registry import Provider
from quotas.models import Limit, Raise
from tests.api.conftest import by_token, record_of, set_key
from usage import large_exports
from usage.exports import Format, Selection
from usage.models import Export, UsageRecord

MARK = "alice-canary"
ROWS: tuple[type[Model], ...] = (
    User,
    Credential,
    UsageRecord,
    Team,
    Membership,
    Invitation,
    Raise,
    Export,
    Notification,
    Webhook,
)


@dataclass(frozen=True)
class Entry:
    """How a route answers: `own` about the caller alone, `object` with 404 to all but the owner, `public`
    to anybody. `bodies` has an entry for each method that changes something."""

    kind: str
    reads: bool = True
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        return (["get"] if self.reads else []) + list(self.bodies)


MATRIX = {
    "api_keys": Entry("own"),
    # Whoever puts a key puts their own, so that is no way to somebody else's.
    "api_key": Entry("object", bodies={"put": {"key": "odd"}, "patch": {"display_name": "x"}, "delete": {}}),
    "api_key_test": Entry("object", reads=False, bodies={"post": {}}),
    "api_labelled_key": Entry("object", bodies={"put": {"key": "odd"}, "patch": {"label": "x"}, "delete": {}}),
    "api_labelled_key_test": Entry("object", reads=False, bodies={"post": {}}),
    "api_providers": Entry("own"),
    "api_provider_consent": Entry("own"),
    "api_quotas": Entry("own"),
    "api_adjustment": Entry("own"),
    "api_budgets": Entry("own", bodies={"post": {"type": "daily"}}),
    "api_budget": Entry("object", reads=False, bodies={"delete": {}}),
    "api_gifts": Entry("own", bodies={"post": {"type": "demo"}}),
    "api_raises": Entry("own", bodies={"post": {"type": "daily"}}),
    "api_raise": Entry("object", reads=False, bodies={"delete": {}}),
    "api_usage_summary": Entry("own"),
    "api_usage_series": Entry("own"),
    "api_usage_forecast": Entry("own"),
    "api_usage_export": Entry("own"),
    "api_usage_exports": Entry("own", bodies={"post": {"format": "odd"}}),
    "api_usage_one_export": Entry("object", bodies={"delete": {}}),
    "api_usage_export_file": Entry("object"),
    "api_usage_records": Entry("own"),
    "api_usage_record": Entry("object"),
    "api_tokens": Entry("own", bodies={"post": {"name": ""}}),
    "api_token": Entry("object", bodies={"delete": {}}),
    "api_token_caps": Entry("object", bodies={"post": {"type": "daily", "requests": 5}}),
    "api_token_cap": Entry("object", reads=False, bodies={"delete": {}}),
    "api_teams": Entry("own", bodies={"post": {"name": ""}}),
    "api_team": Entry("object", bodies={"patch": {"name": "x"}, "delete": {}}),
    "api_team_members": Entry("object"),
    "api_team_usage": Entry("object"),
    "api_team_usage_series": Entry("object"),
    "api_team_member": Entry("object", reads=False, bodies={"patch": {"role": "admin"}, "delete": {}}),
    "api_team_limits": Entry("object", bodies={"post": {"type": "daily_budget", "requests": 5}}),
    "api_team_limit": Entry("object", reads=False, bodies={"delete": {}}),
    "api_team_invitations": Entry("object", bodies={"post": {"email": "x@example.com"}}),
    "api_team_invitation": Entry("object", reads=False, bodies={"delete": {}}),
    "api_invitation": Entry("object", bodies={"post": {}, "delete": {}}),
    "api_notifications": Entry("own"),
    "api_notifications_read": Entry("own", reads=False, bodies={"post": {}}),
    "api_notification_choices": Entry("own", bodies={"patch": {"kind": "odd"}}),
    "api_notification": Entry("object"),
    "api_notification_read": Entry("object", reads=False, bodies={"post": {}}),
    "api_webhooks": Entry("own", bodies={"post": {"name": "x", "url": ""}}),
    "api_webhook": Entry("object", bodies={"patch": {"is_active": False}, "delete": {}}),
    "api_webhook_secret": Entry("object", reads=False, bodies={"post": {}}),
    "api_webhook_test": Entry("object", reads=False, bodies={"post": {}}),
    "api_webhook_deliveries": Entry("object"),
    "api_audit": Entry("own"),
    "api_me": Entry("own", bodies={"patch": {"name": "x" * 151}}),
    "schema": Entry("public"),
    "api_docs": Entry("public"),
    "api_nothing": Entry("object", bodies={"post": {}, "put": {}, "patch": {}, "delete": {}}),
}
INVALID = {
    ("api_key", "put"): 422,
    ("api_labelled_key", "put"): 422,
    ("api_tokens", "post"): 400,
    ("api_teams", "post"): 400,
    ("api_raises", "post"): 400,
    ("api_gifts", "post"): 400,
    ("api_budgets", "post"): 400,
    ("api_usage_exports", "post"): 400,
    ("api_webhooks", "post"): 400,
    ("api_notification_choices", "patch"): 400,
    ("api_me", "patch"): 400,
}
CASES = [(name, method) for name, entry in MATRIX.items() for method in entry.methods]
HOUSE = [case for case in CASES if MATRIX[case[0]].kind != "public"]


@pytest.fixture
def paths(alice: User, notes: Provider) -> dict[str, str]:
    """The address of each route, with alice's objects in it."""
    program = by_token(alice)
    set_key(program, display_name=MARK)
    program.put(
        "/api/v1/keys/notes/home/",
        {"fields": {"account": MARK, "password": MARK}, "display_name": MARK},
        content_type="application/json",
    )
    token, _ = tokens.issue(user=alice, name=MARK)
    record = record_of(alice, tag=MARK, model=MARK)
    named = {"api_key": "keys/openai/", "api_key_test": "keys/openai/test/", "api_token": f"tokens/{token.pk}/"}
    own = teams.create(actor=alice, name=MARK)
    asked = invitations.invite(actor=alice, team=own, email="dora@example.com", now=timezone.now())
    EmailAddress.objects.create(user=alice, email=asked.email)
    named |= {"api_team": f"teams/{own.slug}/", "api_team_members": f"teams/{own.slug}/members/"}
    named |= {"api_team_usage": f"teams/{own.slug}/usage/", "api_team_usage_series": f"teams/{own.slug}/usage/series/"}
    named |= {"api_team_member": f"teams/{own.slug}/members/{alice.pk}/"}
    named |= {"api_team_invitations": f"teams/{own.slug}/invitations/"}
    named |= {"api_team_invitation": f"teams/{own.slug}/invitations/{asked.pk}/"}
    named |= {"api_invitation": f"invitations/{invitations.link_token(asked)}/"}
    budget = Limit.objects.create(user=alice, type="daily_budget", binds="own", requests=5)
    cap = Limit.objects.create(token=token, type="daily", binds="all", requests=5)
    named |= {"api_budget": f"quotas/budgets/{budget.pk}/", "api_token_caps": f"tokens/{token.pk}/caps/"}
    shared = Limit.objects.create(team=own, type="daily_budget", binds="own", requests=5)
    named |= {"api_team_limits": f"teams/{own.slug}/limits/", "api_team_limit": f"teams/{own.slug}/limits/{shared.pk}/"}
    named |= {"api_token_cap": f"tokens/{token.pk}/caps/{cap.pk}/"}
    asked_for = Raise.objects.create(user=alice, type="daily", why=MARK)
    named |= {"api_raise": f"quotas/raises/{asked_for.pk}/"}
    hook = Webhook.objects.create(user=alice, name=MARK, url=f"https://example.com/{MARK}")
    named |= {"api_webhook": f"webhooks/{hook.pk}/", "api_webhook_secret": f"webhooks/{hook.pk}/secret/"}
    named |= {"api_webhook_test": f"webhooks/{hook.pk}/test/"}
    named |= {"api_webhook_deliveries": f"webhooks/{hook.pk}/deliveries/"}
    told = Notification.objects.create(user=alice, kind="team.changed", title=MARK, text=MARK, key=MARK)
    named |= {
        "api_notification": f"notifications/{told.pk}/",
        "api_notification_read": f"notifications/{told.pk}/read/",
    }
    named |= {"api_provider_consent": "providers/google/consent/"}
    file = large_exports.ask(
        actor=alice, team=None, wanted=Selection(user_id=alice.pk), form=Format.CSV, now=timezone.now()
    )
    large_exports.work(file.pk, now=timezone.now())
    named |= {"api_usage_one_export": f"usage/exports/{file.pk}/"}
    named |= {"api_usage_export_file": f"usage/exports/{file.pk}/file/"}
    named |= {"api_labelled_key": "keys/notes/home/", "api_labelled_key_test": "keys/notes/home/test/"}
    named |= {"api_usage_record": f"usage/records/{record.pk}/", "api_nothing": "nothing/at/all/"}
    plain = {one.name: str(one.pattern) for one in api_routes() if "<" not in str(one.pattern)}
    return {name: f"/api/v1/{path}" for name, path in (plain | named).items()}


def api_routes() -> list[Any]:
    return list(urls.urlpatterns)


def send(client: Client, paths: dict[str, str], name: str, method: str) -> Any:
    body = MATRIX[name].bodies.get(method)
    if body is None:
        return getattr(client, method)(paths[name])
    return getattr(client, method)(paths[name], body, content_type="application/json")


def text_of(response: Any) -> str:
    return response.getvalue().decode() if response.streaming else response.content.decode()  # type: ignore[no-any-return]


def row_counts() -> dict[str, list[Any]]:
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in ROWS} | {
        "tokens": list(AccessToken.objects.order_by("pk").values("pk", "revoked_at", "name", "scopes"))
    }


def test_every_route_has_an_entry_with_exactly_its_methods() -> None:
    allowed = {
        one.name: {method for method in one.callback.cls.http_method_names if hasattr(one.callback.cls, method)}
        for one in api_routes()
    }
    assert {name: set(entry.methods) for name, entry in MATRIX.items()} == {
        name: methods - {"options", "head"} for name, methods in allowed.items()
    }


@pytest.mark.parametrize(("name", "method"), HOUSE)
def test_strangers_a_token_without_the_scope_and_a_disabled_owner_are_refused(
    alice: User, alice_client: Client, paths: dict[str, str], name: str, method: str
) -> None:
    assert send(Client(), paths, name, method).status_code == 401
    other = "api:write" if method == "get" else "api:read"
    assert send(by_token(alice, "gateway", other), paths, name, method).status_code == 403
    program = by_token(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert send(program, paths, name, method).status_code == 401
    assert send(alice_client, paths, name, method).status_code == 401


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize(("name", "method"), HOUSE)
def test_others_reach_nothing_of_alices_whatever_their_role(
    bob: User, paths: dict[str, str], name: str, method: str
) -> None:
    expected = INVALID.get((name, method), 200 if MATRIX[name].kind == "own" else 404)
    # How somebody is signed in does not depend on the role; the one who may do most shows both ways.
    for role, how in [*((role, by_token) for role in Role), (Role.SUPER_ADMIN, signed_in)]:
        roles.assign(bob, role)
        client = how(bob)
        before = row_counts()
        response = send(client, paths, name, method)
        assert response.status_code == expected, (role, how)
        assert MARK not in text_of(response)
        assert row_counts() == before


@pytest.mark.parametrize(("name", "method"), [case for case in CASES if MATRIX[case[0]].kind == "public"])
def test_what_is_public_is_public(paths: dict[str, str], name: str, method: str) -> None:
    response = send(Client(), paths, name, method)
    assert response.status_code == 200
    assert MARK not in response.content.decode()


@pytest.mark.parametrize("name", [name for name, entry in MATRIX.items() if entry.reads and entry.kind != "public"])
def test_reading_changes_nothing_but_the_tokens_last_use(alice: User, paths: dict[str, str], name: str) -> None:
    program = by_token(alice)
    before = row_counts()
    with CaptureQueriesContext(connection) as queries:
        send(program, paths, name, "get")
    changes = [query["sql"] for query in queries if not query["sql"].startswith(("SELECT", "SAVEPOINT", "RELEASE"))]
    assert [sql for sql in changes if "last_used_at" not in sql] == []
    assert row_counts() == before
