"""Make an account, or bring one's role, tier or password up to date."""

import sys
from typing import Any

from allauth.account.models import EmailAddress
from django.apps import apps
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction

from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from digitalme.audit import log as trail
from digitalme.audit.actions import Action


class Command(BaseCommand):
    help = "Make an account with a verified e-mail address; for one that exists, set what is given."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--role", choices=list(Role), help="a new account without it becomes a user")
        parser.add_argument("--tier", metavar="SLUG", help="a new account without it is on the default tier")
        parser.add_argument(
            "--password-stdin",
            action="store_true",
            help="read the password from standard input; a new account without one is entered by a reset mail",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        email = _address(options["email"])
        tier = _tier(options["tier"]) if options["tier"] else None
        with transaction.atomic():
            user = User.objects.filter(email__iexact=email).first()
            made = user is None
            user = user or User.objects.create_user(email)
            if options["password_stdin"]:
                _set_password(user)
            if tier is not None:
                user.tier = tier
                user.save(update_fields=["tier"])
            _verify(user)
            if options["role"]:
                roles.assign(user, Role(options["role"]))
            if options["password_stdin"] and not made:
                _record(Action.PASSWORD_CHANGED, user)
            if tier is not None and not made:
                _record(Action.USER_TIER_CHANGED, user)
        role = roles.role_of(user)
        self.stdout.write(f"{'Created' if made else 'Updated'} {user.email}: {role}, tier {user.tier or 'default'}.")


def _record(action: Action, user: User) -> None:
    trail.record(action, target=f"user:{user.pk}", subject=f"user:{user.pk}")


def _address(given: str) -> str:
    try:
        validate_email(given)
    except ValidationError:
        raise CommandError("This is not an e-mail address.") from None
    return given.lower()


def _tier(slug: str) -> Any:
    model: Any = apps.get_model("quotas", "Tier")
    found = model.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(model.objects.values_list("slug", flat=True)) or "none"
        raise CommandError(f"There is no tier of this name; there are: {known}.")
    return found


def _set_password(user: User) -> None:
    password = sys.stdin.readline().rstrip("\r\n")
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    user.set_password(password)
    user.save(update_fields=["password"])


def _verify(user: User) -> None:
    """Tell the sign-in pages that the address is the person's own: whoever runs this vouches for it."""
    EmailAddress.objects.filter(user=user).exclude(email=user.email).update(primary=False)
    EmailAddress.objects.update_or_create(user=user, email=user.email, defaults={"verified": True, "primary": True})
