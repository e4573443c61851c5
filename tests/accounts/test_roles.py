"""What each role may do, and that nobody climbs."""

import itertools

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test import Client

from digitalme.accounts import permissions, roles
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role

pytestmark = pytest.mark.django_db


def someone(role: Role, name: str = "") -> User:
    user = User.objects.create_user(f"{name or role}@example.com")
    roles.assign(user, role)
    return User.objects.get(pk=user.pk)


def names(group: Group) -> set[str]:
    return {f"{row.content_type.app_label}.{row.codename}" for row in group.permissions.select_related("content_type")}


def test_the_four_groups_stand_after_a_migration() -> None:
    assert set(Group.objects.values_list("name", flat=True)) == {"Super Admin", "Admin", "Support", "User"}


@pytest.mark.parametrize("role", Role)
def test_a_group_holds_exactly_its_list(role: Role) -> None:
    assert names(Group.objects.get(name=role.label)) == set(roles.PERMISSIONS[role])


def test_every_named_permission_exists() -> None:
    known = {
        f"{row.content_type.app_label}.{row.codename}" for row in Permission.objects.select_related("content_type")
    }
    assert set(permissions.Permission) <= known


def test_a_migration_brings_strayed_groups_back() -> None:
    support = Group.objects.get(name="Support")
    support.permissions.set(Permission.objects.all())
    Group.objects.get(name="Admin").delete()
    call_command("migrate", verbosity=0)
    assert names(support) == set(roles.PERMISSIONS[Role.SUPPORT])
    assert names(Group.objects.get(name="Admin")) == set(roles.PERMISSIONS[Role.ADMIN])


def test_support_may_only_look() -> None:
    assert {name.partition(".")[2].partition("_")[0] for name in roles.PERMISSIONS[Role.SUPPORT]} == {"view"}


def test_only_super_admins_manage_system_keys() -> None:
    allowed = [role for role in Role if "apikeys.manage_system_credential" in roles.PERMISSIONS[role]]
    assert allowed == [Role.SUPER_ADMIN]


def test_nothing_in_the_admin_is_granted_to_a_user() -> None:
    assert roles.PERMISSIONS[Role.USER] == frozenset()


def test_somebody_new_is_a_user() -> None:
    user = User.objects.create_user("new@example.com")
    assert [group.name for group in user.groups.all()] == ["User"]
    assert (roles.role_of(user), user.is_staff, user.is_superuser) == (Role.USER, False, False)


def test_somebody_who_signs_up_is_a_user(client: Client) -> None:
    data = {"email": "new@example.com", "password1": "a quite long phrase", "password2": "a quite long phrase"}
    client.post(
        "/accounts/signup/", data | {"is_staff": "1", "is_superuser": "1", "role": "super_admin", "groups": "1"}
    )
    user = User.objects.get(email="new@example.com")
    assert [group.name for group in user.groups.all()] == ["User"]
    assert (user.is_staff, user.is_superuser) == (False, False)


def test_a_superuser_is_a_super_admin() -> None:
    user = User.objects.create_superuser("root@example.com")
    assert [group.name for group in user.groups.all()] == ["Super Admin"]


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(Role, 2)))
def test_a_role_replaces_the_one_before(before: Role, after: Role) -> None:
    user = someone(before)
    roles.assign(user, after)
    fresh = User.objects.get(pk=user.pk)
    assert [group.name for group in fresh.groups.all()] == [after.label]
    assert roles.role_of(fresh) is after
    assert fresh.is_staff == (after is not Role.USER)
    assert fresh.is_superuser == (after is Role.SUPER_ADMIN)


@pytest.mark.parametrize(("actor", "other"), list(itertools.product(Role, Role)))
def test_only_lower_roles_are_managed_except_by_super_admins(actor: Role, other: Role) -> None:
    expected = actor is Role.SUPER_ADMIN or (actor is Role.ADMIN and other in {Role.USER, Role.SUPPORT})
    assert roles.may_manage(someone(actor, "actor"), someone(other, "other")) == expected


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        (Role.USER, []),
        (Role.SUPPORT, []),
        (Role.ADMIN, [Role.USER, Role.SUPPORT]),
        (Role.SUPER_ADMIN, list(Role)),
    ],
)
def test_only_lower_roles_are_given_except_by_super_admins(actor: Role, expected: list[Role]) -> None:
    assert roles.assignable_by(someone(actor)) == expected


def test_somebody_disabled_manages_nobody() -> None:
    actor = someone(Role.ADMIN)
    actor.is_active = False
    assert not roles.may_manage(actor, someone(Role.USER))


def test_every_application_of_the_house_is_covered() -> None:
    houses_own = {"accounts", "apikeys", "audit", "forecasts", "notifications", "providers", "quotas", "usage"}
    assert {name.partition(".")[0] for name in permissions.Permission} == houses_own
    assert all(apps.get_app_config(label) for label in houses_own)
