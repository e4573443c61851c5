"""The four roles, what each may do, and who may give which."""

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import models as auth
from django.contrib.auth.management import create_permissions
from django.db import transaction

from digitalme.accounts.permissions import Permission
from digitalme.audit import log as trail
from digitalme.audit.actions import Action

if TYPE_CHECKING:
    from digitalme.accounts.models import User


class Role(StrEnum):
    """A role, from the least to the most powerful. Each is a group of the same label."""

    USER = "user"
    SUPPORT = "support"
    ADMIN = "admin"
    SUPER_ADMIN = "super_admin"

    @property
    def label(self) -> str:
        """The name of the group and of the role on pages."""
        return self.value.replace("_", " ").title()

    @property
    def rank(self) -> int:
        """0 for User up to 3 for Super Admin."""
        return list(Role).index(self)


_READ = frozenset(
    {
        Permission.VIEW_USERS,
        Permission.VIEW_TEAMS,
        Permission.VIEW_MEMBERSHIPS,
        Permission.VIEW_INVITATIONS,
        Permission.VIEW_TOKENS,
        Permission.VIEW_CREDENTIALS,
        Permission.VIEW_PROVIDERS,
        Permission.VIEW_PRICES,
        Permission.VIEW_TIERS,
        Permission.VIEW_LIMITS,
        Permission.VIEW_ALLOCATIONS,
        Permission.VIEW_RAISES,
        Permission.VIEW_ADJUSTMENTS,
        Permission.VIEW_EMERGENCY_USES,
        Permission.VIEW_GIFTS,
        Permission.VIEW_LEASES,
        Permission.VIEW_AUDIT_EVENTS,
        Permission.VIEW_NOTIFICATIONS,
        Permission.VIEW_LETTERS,
        Permission.VIEW_WEBHOOKS,
        Permission.VIEW_DELIVERIES,
        Permission.VIEW_RECORDS,
        Permission.VIEW_HOURLY_USAGE,
        Permission.VIEW_DAILY_USAGE,
        Permission.VIEW_HOUSE_USAGE,
        Permission.VIEW_FORECASTS,
    }
)
# Not teams: whoever could join one would call on its keys.
_PEOPLE = frozenset(
    {
        Permission.ADD_USERS,
        Permission.CHANGE_USERS,
        Permission.REVOKE_TOKENS,
        Permission.SWITCH_CREDENTIALS,
    }
)
_QUOTAS = frozenset(
    {
        Permission.ADD_TIERS,
        Permission.CHANGE_TIERS,
        Permission.DELETE_TIERS,
        Permission.ADD_LIMITS,
        Permission.CHANGE_LIMITS,
        Permission.DELETE_LIMITS,
        Permission.CHANGE_ALLOCATIONS,
        Permission.ADD_RAISES,
        Permission.CHANGE_RAISES,
        Permission.CHANGE_ADJUSTMENTS,
        Permission.ADD_PRICES,
        Permission.DELETE_PRICES,
    }
)
PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.USER: frozenset(),
    Role.SUPPORT: _READ,
    Role.ADMIN: _READ | _PEOPLE | _QUOTAS,
    Role.SUPER_ADMIN: frozenset(Permission),
}


def sync(**_signal: Any) -> None:
    """Make the four groups and give each exactly its permissions; safe to repeat.

    It runs after every migration. Permissions of applications whose own turn comes later are made
    here, so that no second run is needed.
    """
    for label in sorted({permission.partition(".")[0] for permission in Permission}):
        create_permissions(apps.get_app_config(label), verbosity=0)
    known = {f"{row.content_type.app_label}.{row.codename}": row for row in _rows(Permission)}
    for role, allowed in PERMISSIONS.items():
        group, _ = auth.Group.objects.get_or_create(name=role.label)
        group.permissions.set([known[name] for name in sorted(allowed) if name in known])


def _rows(wanted: Iterable[Permission]) -> Iterable[auth.Permission]:
    names = [permission.partition(".") for permission in wanted]
    return auth.Permission.objects.select_related("content_type").filter(
        content_type__app_label__in={app for app, _, _ in names}, codename__in={name for _, _, name in names}
    )


@transaction.atomic
def assign(user: "User", role: Role, *, actor: "User | None" = None) -> None:
    """Make this the user's one role: group, access to the admin and superuser status follow it.

    Without `actor` it is whoever is signed in, or the command line. Raises AuditUnavailable, having
    changed nothing, if it cannot be written down.
    """
    was = role_of(user)
    user.is_staff = role is not Role.USER
    user.is_superuser = role is Role.SUPER_ADMIN
    user.save(update_fields=["is_staff", "is_superuser"])
    enter(user, role)
    if was is not role:
        trail.record(
            Action.USER_ROLE_CHANGED,
            target=f"user:{user.pk}",
            subject=f"user:{user.pk}",
            actor=actor.pk if actor else None,
            role=role,
            was=was,
        )


def enter(user: "User", role: Role) -> None:
    """Put the user into the role's group and no other."""
    user.groups.set([auth.Group.objects.get(name=role.label)])


def role_of(user: "User") -> Role:
    """Return the user's role; somebody in none of the four groups is a User."""
    if user.is_superuser:
        return Role.SUPER_ADMIN
    names = {group.name for group in user.groups.all()}
    return next((role for role in (Role.ADMIN, Role.SUPPORT) if role.label in names), Role.USER)


def may_manage(actor: "User", user: "User") -> bool:
    """Whether the actor may change the other's account: only those of a lower role, or anybody as a
    Super Admin. Nobody below that manages an equal, so taking over one account opens no other."""
    mine = role_of(actor)
    if mine is Role.SUPER_ADMIN:
        return True
    return actor.has_perm(Permission.CHANGE_USERS) and role_of(user).rank < mine.rank


def assignable_by(actor: "User") -> list[Role]:
    """Return the roles that the actor may give: lower ones, or all as a Super Admin."""
    mine = role_of(actor)
    if mine is Role.SUPER_ADMIN:
        return list(Role)
    if not actor.has_perm(Permission.CHANGE_USERS):
        return []
    return [role for role in Role if role.rank < mine.rank]
