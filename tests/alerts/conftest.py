"""What the tests of warnings share."""

from collections.abc import Iterator

import pytest

from digitalme.accounts.models import User
from quotas import known


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    known.forget()
    yield
    known.forget()


@pytest.fixture
def dana(db: None) -> User:
    """Somebody with the usual limits."""
    return User.objects.create_user("dana@example.com")
