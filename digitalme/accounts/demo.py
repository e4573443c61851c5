"""Two people for a first look, with random passwords that a private file remembers."""

import json
import secrets
from pathlib import Path
from typing import TypedDict

from allauth.account.models import EmailAddress
from django.db import transaction

from digitalme import env_file
from digitalme.accounts import roles, tokens
from digitalme.accounts.models import AccessToken, User

ROLES = {"demo@example.com": roles.Role.USER, "admin@example.com": roles.Role.SUPER_ADMIN}
TOKEN_NAME = "make run"  # noqa: S105 (what the token is called)


class Person(TypedDict):
    """What is printed at a start about one of them."""

    email: str
    password: str
    token: str


def people(memory: Path) -> list[Person]:
    """Return the demo people with what they sign in and call with; make those who are not there yet.

    `memory` is the file of mode 600 that keeps passwords and tokens between two starts. Somebody
    of whom it knows nothing was not made here: that account is left alone and not returned.
    """
    known = _remembered(memory)
    present = [person for email in ROLES if (person := _person(email, known.get(email)))]
    if present != list(known.values()):
        memory.unlink(missing_ok=True)
        env_file.write_new(memory, json.dumps(present, indent=2) + "\n")
    return present


def _remembered(memory: Path) -> dict[str, Person]:
    if not memory.exists():
        return {}
    return {person["email"]: person for person in json.loads(memory.read_text(encoding="utf-8"))}


def _person(email: str, known: Person | None) -> Person | None:
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        password = secrets.token_urlsafe(12)
        user = _create(email, password)
        return Person(email=email, password=password, token=_new_token(user))
    if known is None:
        return None
    return Person(email=email, password=known["password"], token=_working_token(user, known["token"]))


@transaction.atomic
def _create(email: str, password: str) -> User:
    user = User.objects.create_user(email, password, name=email.partition("@")[0].title())
    roles.assign(user, ROLES[email])
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def _working_token(user: User, token: str) -> str:
    """Return the token if it still opens the gateway, else a new one."""
    kept = AccessToken.objects.filter(user=user, digest=tokens.digest(token)).first()
    return token if kept and kept.state == "active" else _new_token(user)


def _new_token(user: User) -> str:
    return tokens.issue(user=user, name=TOKEN_NAME)[1]
