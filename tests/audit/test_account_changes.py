"""Every change of people, their tokens, roles and limits, and every sign-in, is in the trail."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from digitalme.accounts import roles, tokens
from digitalme.accounts.models import AccessToken, Team, User
from digitalme.accounts.roles import Role
from digitalme.audit.models import AuditEvent
from digitalme.errors import AuditUnavailable
from digitalme.transfer import importing
from quotas import limits
from quotas.models import Allocation, Limit, Tier
from tests.accounts.conftest import staff  # noqa: F401 (a fixture)
from tests.api.conftest import by_token
from tests.audit.conftest import failing_inserts
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
LOGIN = "/accounts/login/"


def last(action: str = "") -> AuditEvent:
    return AuditEvent.objects.filter(action__startswith=action).latest("sequence")


def place(user: User) -> str:
    return f"user:{user.pk}"


# --- Tokens ---------------------------------------------------------------------------------------


def test_a_token_that_is_made_and_revoked_is_written_down(alice: User, alice_client: Client) -> None:
    alice_client.post("/settings/security/tokens/", {"name": "laptop", "lifetime": "30", "scopes": ["gateway"]})
    token = AccessToken.objects.get()
    made = last()
    assert (made.action, made.target, made.subject) == ("token.issued", f"token:{token.pk}", place(alice))
    assert (made.actor, made.facts) == (place(alice), {"scopes": ["gateway"], "lifetime_days": 30})
    for _ in range(2):
        tokens.revoke(token)
    assert AuditEvent.objects.filter(action="token.revoked").count() == 1
    assert last().target == f"token:{token.pk}"


@pytest.mark.django_db(transaction=True)
def test_t47_tokens_are_neither_made_nor_revoked_without_the_trail(alice: User) -> None:
    program = by_token(alice)
    (token,) = AccessToken.objects.all()
    with failing_inserts():
        body = {"name": "x", "lifetime_days": 1}
        made = program.post("/api/v1/tokens/", body, content_type="application/json")
        ended = program.delete(f"/api/v1/tokens/{token.pk}/")
    assert [made.status_code, ended.status_code] == [503, 503]
    assert made.json()["code"] == "AuditUnavailable"
    (same,) = AccessToken.objects.all()
    assert same.state == "active"


# --- People ---------------------------------------------------------------------------------------


def test_a_new_account_is_written_down(client: Client) -> None:
    client.post("/accounts/signup/", {"email": "dora@example.com", "password1": PASSWORD, "password2": PASSWORD})
    user = User.objects.get(email="dora@example.com")
    event = last("user.created")
    assert (event.target, event.actor_kind, event.facts) == (place(user), "visitor", {"role": "user"})


def test_the_command_line_is_named_as_such(db: None) -> None:
    for _ in range(2):
        call_command("create_user", "dora@example.com", "--role", "admin")
    events = [event for event in AuditEvent.objects.order_by("sequence") if event.target.startswith("user:")]
    assert [(event.action, event.actor_kind) for event in events] == [
        ("user.created", "command"),
        ("user.role_changed", "command"),
    ]
    assert events[1].facts == {"role": "admin", "was": "user"}


@pytest.mark.django_db(transaction=True)
def test_t47_roles_do_not_change_without_the_trail(alice: User) -> None:
    with failing_inserts(), pytest.raises(AuditUnavailable):
        roles.assign(alice, Role.SUPER_ADMIN)
    fresh = User.objects.get(pk=alice.pk)
    assert (roles.role_of(fresh), fresh.is_staff, fresh.is_superuser) == (Role.USER, False, False)
    assert {group.name for group in fresh.groups.all()} == {"User"}


@pytest.mark.django_db(transaction=True)
def test_t47_no_account_is_made_without_the_trail() -> None:
    with failing_inserts(), pytest.raises(AuditUnavailable):
        User.objects.create_user("dora@example.com", PASSWORD)
    assert not User.objects.exists()


def test_what_an_admin_changes_is_written_down_with_both_names(
    staff: Callable[[Role], tuple[User, Client]],  # noqa: F811
    alice: User,
) -> None:
    admin, browser = staff(Role.SUPER_ADMIN)
    page = f"/admin/accounts/user/{alice.pk}/change/"
    tier = Tier.objects.create(slug="gold", name="Gold")
    form = {"name": "Al", "time_zone": "UTC", "tier": tier.pk, "role": "support"}
    assert browser.post(page, form).status_code == 302
    events = list(AuditEvent.objects.filter(subject=place(alice), actor=place(admin)).order_by("sequence"))
    assert [event.action for event in events] == [
        "user.disabled",
        "user.tier_changed",
        "user.changed",
        "user.role_changed",
    ]
    assert events[2].facts == {"fields": ["name"]}
    browser.post(page, {**form, "is_active": "on"})
    assert last().action == "user.enabled"
    browser.post(f"/admin/accounts/user/{alice.pk}/delete/", {"post": "yes"})
    assert (last().action, last().target, last().actor) == ("user.deleted", place(alice), place(admin))


def test_teams_are_written_down(staff: Callable[[Role], tuple[User, Client]], alice: User) -> None:  # noqa: F811
    _, browser = staff(Role.SUPER_ADMIN)
    inline = {"membership_set-INITIAL_FORMS": "0", "membership_set-MIN_NUM_FORMS": "0"}
    inline |= {"invitations-INITIAL_FORMS": "0", "invitations-TOTAL_FORMS": "0"}
    member = {"membership_set-0-user": str(alice.pk), "membership_set-0-role": "owner"}
    form = {"slug": "new", "name": "New", "membership_set-TOTAL_FORMS": "1", **inline, **member}
    assert browser.post("/admin/accounts/team/add/", form).status_code == 302
    team = Team.objects.get(slug="new")
    assert (last().action, last().target, last().facts) == ("team.created", f"team:{team.pk}", {"members": 1})
    chosen = {"action": "delete_selected", "_selected_action": [str(team.pk)], "post": "yes"}
    browser.post("/admin/accounts/team/", chosen)
    assert (last().action, last().target) == ("team.deleted", f"team:{team.pk}")


# --- Limits ---------------------------------------------------------------------------------------


def test_a_limit_is_written_down_with_its_amounts(alice: User) -> None:
    limits.set_allocation(
        actor=alice, user=alice, provider="", type="daily", requests=7, cost=Decimal("2.50"), now=timezone.now()
    )
    event = last()
    limit = Limit.objects.get(user=alice)
    assert (event.action, event.target, event.subject) == ("allocation.set", f"limit:{limit.pk}", place(alice))
    assert event.facts == {"provider": "", "type": "daily", "binds": "system", "requests": 7, "cost": "2.5"}


@pytest.mark.django_db(transaction=True)
def test_t47_limits_do_not_change_without_the_trail(alice: User) -> None:
    with failing_inserts(), pytest.raises(AuditUnavailable):
        limits.set_allocation(actor=None, user=alice, provider="", type="daily", requests=7, now=timezone.now())
    assert not Limit.objects.filter(user=alice).exists()
    assert not Allocation.objects.exists()


def test_limits_and_tiers_of_the_admin_are_written_down(
    staff: Callable[[Role], tuple[User, Client]],  # noqa: F811
    alice: User,
) -> None:
    admin, browser = staff(Role.ADMIN)
    form = {"user": str(alice.pk), "provider": "sk-typed-anything", "type": "daily", "binds": "all", "requests": "3"}
    assert browser.post("/admin/quotas/limit/add/", form).status_code == 302
    limit = Limit.objects.get(user=alice)
    assert (last().action, last().facts) == ("limit.set", {"type": "daily", "binds": "all", "requests": 3})
    browser.post(f"/admin/quotas/limit/{limit.pk}/delete/", {"post": "yes"})
    assert (last().action, last().target) == ("limit.removed", f"limit:{limit.pk}")
    counts = {"limits-TOTAL_FORMS": "0", "limits-INITIAL_FORMS": "0"}
    assert browser.post("/admin/quotas/tier/add/", {"slug": "t", "name": "T", **counts}).status_code == 302
    tier = Tier.objects.get(slug="t")
    assert (last().action, last().target, last().actor) == ("tier.set", f"tier:{tier.pk}", place(admin))
    browser.post(f"/admin/quotas/tier/{tier.pk}/delete/", {"post": "yes"})
    assert last().action == "tier.removed"


def test_an_import_and_its_undoing_are_written_down(alice: User) -> None:
    settings = {"SystemKeys": {"OpenAI": {"ApiKey": "sk-proj-" + "a1B2" * 10, "DemoQuota": 5}}}
    now = timezone.now()
    done = importing.import_settings(json.dumps(settings).encode(), "a.json", actor=alice, dry_run=False, now=now)
    assert (last().action, last().actor, last().facts["count"] > 0) == ("import.applied", place(alice), True)
    assert done.trace_id
    importing.undo(done.trace_id, actor=alice, force=False, now=now)
    assert last().action == "import.reverted"
    assert "system_key.removed" in AuditEvent.objects.values_list("action", flat=True)


# --- Signing in -----------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Client:
    return Client(headers={"User-Agent": "agent-canary"})


def test_signing_in_and_out_is_written_down(alice: User, browser: Client) -> None:
    browser.post(LOGIN, {"login": alice.email, "password": PASSWORD}, REMOTE_ADDR="203.0.113.9")
    event = last()
    assert (event.action, event.actor, event.address) == ("login", place(alice), "203.0.113.9")
    browser.post("/accounts/logout/")
    assert (last().action, last().actor) == ("logout", place(alice))


@pytest.mark.parametrize("known", [True, False])
def test_a_failed_sign_in_tells_the_owner_and_keeps_nothing_typed(alice: User, browser: Client, known: bool) -> None:
    typed = alice.email.upper() if known else "nobody@example.com"
    browser.post(LOGIN, {"login": typed, "password": "wrong horse battery"}, REMOTE_ADDR="203.0.113.9")
    event = last()
    assert (event.action, event.actor_kind, event.actor) == ("login.failed", "visitor", "")
    assert event.subject == (place(alice) if known else "")
    assert event.address == "203.0.113.9"
    assert event.facts == {"method": "password"}


def test_confirming_and_changing_the_password_is_written_down(alice: User, browser: Client) -> None:
    browser.post(LOGIN, {"login": alice.email, "password": PASSWORD})
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert (last().action, last().facts) == ("login.confirmed", {"method": "password"})
    new = {"oldpassword": PASSWORD, "password1": "another horse entirely", "password2": "another horse entirely"}
    browser.post("/accounts/password/change/", new)
    assert last("password").action == "password.changed"


@pytest.mark.django_db(transaction=True)
def test_a_trail_that_takes_nothing_locks_nobody_out(alice: User, browser: Client) -> None:
    with failing_inserts():
        answer = browser.post(LOGIN, {"login": alice.email, "password": PASSWORD})
        assert answer.status_code == 302
        assert browser.get("/settings/security/").status_code == 200
    assert not AuditEvent.objects.filter(action="login").exists()


def test_a_second_factor_is_written_down(
    staff: Callable[[Role], tuple[User, Client]],  # noqa: F811
    alice: User,
) -> None:
    from allauth.mfa.models import Authenticator
    from allauth.mfa.signals import authenticator_added

    factor: Any = Authenticator.objects.create(user=alice, type="totp", data={"secret": "x"})
    authenticator_added.send(Authenticator, request=None, user=alice, authenticator=factor)
    assert (last().action, last().target, last().facts) == ("second_factor.added", place(alice), {"method": "totp"})
    admin, browser = staff(Role.SUPER_ADMIN)
    browser.post(f"/admin/mfa/authenticator/{factor.pk}/delete/", {"post": "yes"})
    event = last("second_factor.removed")
    assert (event.subject, event.actor) == (place(alice), place(admin))
