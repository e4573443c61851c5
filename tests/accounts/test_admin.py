"""The admin's pages of people: each role sees its own, and nobody climbs by them."""

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from digitalme.accounts import roles, tokens
from digitalme.accounts.models import AccessToken, User
from digitalme.accounts.roles import Role
from quotas import ledger
from quotas.models import Allocation, Limit, Tier
from tests.accounts.conftest import Staff

USERS = "/admin/accounts/user/"
PEOPLE = [Role.SUPPORT, Role.ADMIN, Role.SUPER_ADMIN]


def page_of(user: User) -> str:
    return f"{USERS}{user.pk}/change/"


def form_of(user: User, **changes: Any) -> dict[str, Any]:
    given = {"name": user.name, "time_zone": user.time_zone, "tier": user.tier_id or "", "is_active": "on"}
    return {**given, "role": roles.role_of(user).value, **changes}


def someone(role: Role) -> User:
    user = User.objects.create_user(f"some-{role}@example.com")
    roles.assign(user, role)
    return user


def fresh(user: User) -> User:
    return User.objects.get(pk=user.pk)


def test_users_do_not_enter_the_admin(alice_client: Client) -> None:
    assert alice_client.get("/admin/").status_code in {302, 403}
    assert alice_client.get(USERS).status_code in {302, 403}


def test_strangers_are_sent_to_the_sign_in_page(client: Client, db: None) -> None:
    answer = client.get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/")


@pytest.mark.parametrize("role", PEOPLE)
def test_every_list_a_role_may_see_opens(staff: Staff, alice: User, role: Role) -> None:
    user, client = staff(role)
    tokens.issue(user=alice, name="x")
    for model in admin.site._registry:
        name = f"{model._meta.app_label}.view_{model._meta.model_name}"
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        assert client.get(url).status_code == (200 if user.has_perm(name) else 403), name
        assert client.get(f"{url}?q=alice").status_code in {200, 302, 403}, name


@pytest.mark.parametrize("role", PEOPLE)
def test_lists_and_pages_show_role_and_tier(staff: Staff, alice: User, role: Role) -> None:
    alice.tier = Tier.objects.create(slug="gold", name="Gold tier")
    alice.save()
    _, client = staff(role)
    assert "Gold tier" in client.get(USERS).content.decode()
    assert "Gold tier" in client.get(page_of(alice)).content.decode()


def test_support_changes_nothing(staff: Staff, alice: User) -> None:
    _, client = staff(Role.SUPPORT)
    page = client.get(page_of(alice)).content.decode()
    answer = client.post(page_of(alice), form_of(alice, name="Eve", role="super_admin"))
    assert 'name="_save"' not in page
    assert answer.status_code == 403
    assert (fresh(alice).name, roles.role_of(fresh(alice))) == ("Alice Archer", Role.USER)
    assert client.get(f"{USERS}add/").status_code == 403
    assert client.post(f"{USERS}{alice.pk}/delete/", {"post": "yes"}).status_code == 403


def test_an_admin_sets_tier_and_name(staff: Staff, alice: User) -> None:
    tier = Tier.objects.create(slug="gold", name="Gold")
    _, client = staff(Role.ADMIN)
    assert client.post(page_of(alice), form_of(alice, tier=tier.pk, name="Al")).status_code == 302
    assert (fresh(alice).tier, fresh(alice).name) == (tier, "Al")


def test_a_new_tiers_limits_hold_in_the_period_that_runs(staff: Staff, alice: User) -> None:
    tier = Tier.objects.create(slug="gold", name="Gold")
    Limit.objects.create(tier=tier, type="daily", provider="", requests=7)
    ledger.ensure_periods([ledger.Caller(alice.pk, "openai")], now=timezone.now())
    _, client = staff(Role.ADMIN)
    client.post(page_of(alice), form_of(alice, tier=tier.pk))
    assert Allocation.objects.get(user=alice, type="daily").allowed_requests == 7


def test_an_admin_disables_an_account(staff: Staff, alice: User, alice_client: Client) -> None:
    _, client = staff(Role.ADMIN)
    form = form_of(alice)
    del form["is_active"]
    client.post(page_of(alice), form)
    assert not fresh(alice).is_active
    assert alice_client.get("/api/v1/me/").status_code == 401


@pytest.mark.parametrize(
    ("actor", "other", "wanted", "given"),
    [
        (Role.ADMIN, Role.USER, Role.SUPPORT, True),
        (Role.ADMIN, Role.SUPPORT, Role.USER, True),
        (Role.ADMIN, Role.USER, Role.ADMIN, False),
        (Role.ADMIN, Role.USER, Role.SUPER_ADMIN, False),
        (Role.ADMIN, Role.ADMIN, Role.USER, False),
        (Role.ADMIN, Role.SUPER_ADMIN, Role.USER, False),
        (Role.SUPPORT, Role.USER, Role.SUPPORT, False),
        (Role.SUPER_ADMIN, Role.USER, Role.SUPER_ADMIN, True),
        (Role.SUPER_ADMIN, Role.SUPER_ADMIN, Role.USER, True),
    ],
)
def test_roles_are_given_by_those_above_only(staff: Staff, actor: Role, other: Role, wanted: Role, given: bool) -> None:
    _, client = staff(actor)
    user = someone(other)
    client.post(page_of(user), form_of(user, role=wanted.value))
    assert roles.role_of(fresh(user)) is (wanted if given else other)


def test_an_admin_cannot_touch_an_equal_or_higher_account(staff: Staff) -> None:
    _, client = staff(Role.ADMIN)
    for role in (Role.ADMIN, Role.SUPER_ADMIN):
        user = someone(role)
        assert 'name="_save"' not in client.get(page_of(user)).content.decode()
        assert client.post(page_of(user), form_of(user, name="Eve")).status_code == 403
        assert fresh(user).name == ""


@pytest.mark.parametrize("role", PEOPLE)
def test_nobody_changes_their_own_role_or_locks_themselves_out(staff: Staff, role: Role) -> None:
    user, client = staff(role)
    for wanted in Role:
        client.post(page_of(user), {"name": "Me", "time_zone": "UTC", "tier": "", "role": wanted.value})
    assert roles.role_of(fresh(user)) is role
    assert fresh(user).is_active


def test_an_admin_does_not_raise_the_own_tier(staff: Staff) -> None:
    tier = Tier.objects.create(slug="gold", name="Gold")
    user, client = staff(Role.ADMIN)
    client.post(page_of(user), form_of(user, tier=tier.pk))
    assert fresh(user).tier is None


@pytest.mark.parametrize(
    "smuggled",
    [
        {"is_superuser": "on"},
        {"is_staff": "on"},
        {"groups": "1"},
        {"user_permissions": "1"},
        {"password": "x"},
        {"email": "eve@example.com"},
        {"id": "00000000-0000-0000-0000-000000000001"},
    ],
)
@pytest.mark.parametrize("role", [Role.ADMIN, Role.SUPER_ADMIN])
def test_fields_that_the_form_lacks_are_ignored(
    staff: Staff, alice: User, role: Role, smuggled: dict[str, str]
) -> None:
    _, client = staff(role)
    before = fresh(alice)
    assert client.post(page_of(alice), form_of(alice, **smuggled)).status_code == 302
    after = fresh(alice)
    assert (after.email, after.password, after.is_staff, after.is_superuser) == (
        before.email,
        before.password,
        False,
        False,
    )
    assert [group.name for group in after.groups.all()] == ["User"]
    assert not after.user_permissions.exists()


def test_a_role_changes_after_the_password_only(staff: Staff, alice: User) -> None:
    user, _ = staff(Role.SUPER_ADMIN)
    client = Client()
    client.force_login(user)
    answer = client.post(page_of(alice), form_of(alice, role="admin"))
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    assert roles.role_of(fresh(alice)) is Role.USER
    assert client.post(page_of(alice), form_of(alice, name="Al")).status_code == 302
    assert fresh(alice).name == "Al"


def test_a_new_account_has_no_password_and_the_role_that_was_chosen(staff: Staff) -> None:
    _, client = staff(Role.ADMIN)
    form = {"email": "New@Example.com", "name": "", "time_zone": "UTC", "tier": "", "is_active": "on"}
    assert client.post(f"{USERS}add/", {**form, "role": "support"}).status_code == 302
    user = User.objects.get(email="new@example.com")
    assert (roles.role_of(user), user.has_usable_password()) == (Role.SUPPORT, False)
    address = EmailAddress.objects.get(user=user)
    assert (address.email, address.verified) == ("new@example.com", False)


def test_an_admin_adds_no_super_admin(staff: Staff) -> None:
    _, client = staff(Role.ADMIN)
    form = {"email": "new@example.com", "name": "", "time_zone": "UTC", "tier": "", "is_active": "on"}
    client.post(f"{USERS}add/", {**form, "role": "super_admin"})
    assert not User.objects.filter(email="new@example.com").exists()


def test_one_address_is_one_account(staff: Staff, alice: User) -> None:
    _, client = staff(Role.ADMIN)
    form = {"email": "ALICE@example.com", "name": "", "time_zone": "UTC", "tier": "", "role": "user"}
    page = client.post(f"{USERS}add/", form)
    assert "There is an account of this address." in page.content.decode()


def test_only_super_admins_delete_and_never_themselves(staff: Staff, alice: User) -> None:
    _, other = staff(Role.ADMIN)
    assert other.post(f"{USERS}{alice.pk}/delete/", {"post": "yes"}).status_code == 403
    user, client = staff(Role.SUPER_ADMIN)
    assert client.post(f"{USERS}{user.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"{USERS}{alice.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=alice.pk).exists()


def revoke(client: Client, *chosen: AccessToken) -> Any:
    data = {"action": "revoke", "_selected_action": [str(one.pk) for one in chosen]}
    return client.post("/admin/accounts/accesstoken/", data, follow=True)


def test_an_admin_revokes_tokens_of_lower_accounts_only(staff: Staff, alice: User) -> None:
    _, client = staff(Role.ADMIN)
    low, _ = tokens.issue(user=alice, name="low")
    high, _ = tokens.issue(user=someone(Role.SUPER_ADMIN), name="high")
    assert "1 of 2 access tokens are revoked." in revoke(client, low, high).content.decode()
    low.refresh_from_db()
    high.refresh_from_db()
    assert (low.state, high.state) == ("revoked", "active")


def test_support_revokes_nothing(staff: Staff, alice: User) -> None:
    _, client = staff(Role.SUPPORT)
    row, _ = tokens.issue(user=alice, name="x")
    revoke(client, row)
    row.refresh_from_db()
    assert row.state == "active"


@pytest.mark.parametrize("role", PEOPLE)
def test_tokens_are_read_only_and_without_their_digest(staff: Staff, alice: User, role: Role) -> None:
    _, client = staff(role)
    row, token = tokens.issue(user=alice, name="x")
    address = f"/admin/accounts/accesstoken/{row.pk}/"
    page = client.get(f"{address}change/").content.decode()
    assert row.digest not in page
    assert token not in page
    assert client.post(f"{address}change/", {"name": "Eve"}).status_code == 403
    assert client.post(f"{address}delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/accounts/accesstoken/add/").status_code == 403


def test_second_factors_show_nothing_of_what_they_consist_of(staff: Staff, alice: User) -> None:
    _, client = staff(Role.SUPER_ADMIN)
    factor = Authenticator.objects.create(user=alice, type="totp", data={"secret": "CANARYSECRET"})
    page = client.get(f"/admin/mfa/authenticator/{factor.pk}/change/").content.decode()
    assert "alice@example.com" in page
    assert "CANARYSECRET" not in page


def test_there_are_no_pages_for_groups_and_sessions(staff: Staff) -> None:
    _, client = staff(Role.SUPER_ADMIN)
    assert client.get("/admin/auth/group/").status_code == 404
    assert client.get("/admin/usersessions/usersession/").status_code == 404


def test_the_list_of_people_costs_the_same_for_one_and_many(staff: Staff, django_assert_max_num_queries: Any) -> None:
    _, client = staff(Role.SUPPORT)
    for number in range(20):
        User.objects.create_user(f"number{number}@example.com")
    with django_assert_max_num_queries(12):
        assert client.get(USERS).status_code == 200
