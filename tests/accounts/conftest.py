"""Staff for the tests of the admin, signed in as people do."""

from collections.abc import Callable

import pytest
from django.test import Client

from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from tests.conftest import PASSWORD

Staff = Callable[[Role], tuple[User, Client]]


@pytest.fixture
def staff(db: None) -> Staff:
    """Make somebody of a role, signed in with the password a moment ago."""

    def make(role: Role) -> tuple[User, Client]:
        user = User.objects.create_user(f"{role}@staff.example.com", PASSWORD)
        roles.assign(user, role)
        client = Client()
        client.post("/accounts/login/", {"login": user.email, "password": PASSWORD})
        return user, client

    return make
