"""The documentation of the API in a real browser, under the strict browser rules."""

from collections.abc import Callable
from typing import Any

import pytest

from digitalme.accounts.models import User
from tests.web.conftest import browser, visit

__all__ = ["browser", "visit"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_page_shows_every_resource_and_the_console_stays_quiet(visit: Callable[..., Any]) -> None:
    page = visit()
    page.goto("/api/v1/docs/")
    page.wait_for_selector("#operations-keys-keys_set")
    text = page.inner_text("#swagger-ui")
    assert all(f"/api/v1/{name}" in text for name in ("keys/", "providers/", "quotas/", "usage/summary/", "tokens/"))
    assert page.complaints == []


def test_a_signed_in_person_can_try_a_change_out(visit: Callable[..., Any], alice: User) -> None:
    page = visit(alice)
    page.goto("/api/v1/docs/")
    page.click("#operations-me-me_update .opblock-summary-control")
    page.click("#operations-me-me_update .try-out__btn")
    page.fill("#operations-me-me_update textarea", '{"name": "Al"}')
    page.click("#operations-me-me_update .execute")
    page.wait_for_selector("#operations-me-me_update .responses-table.live-responses-table .response-col_status")
    alice.refresh_from_db()
    assert alice.name == "Al"
