"""Two parts of the suite: what has to be shown on each database, and what it is enough to show once."""

import os

import pytest

PART = "TESTS_PART"
EACH, ONCE = "each", "once"


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the part that the environment names; all of them if it names none."""
    part = os.environ.get(PART)
    if not part:
        return
    others = [item for item in items if is_once(item) != (part == ONCE)]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if is_once(item) == (part == ONCE)]


def is_once(item: pytest.Item) -> bool:
    """Whether a test would only be repeated on another database: it uses neither the database nor the cache of the
    settings, or has servers of its own, or looks at pages whose content other tests look at on each database."""
    if item.get_closest_marker("once") or item.get_closest_marker("browser"):
        return True
    if item.get_closest_marker("django_db") or set(getattr(item, "fixturenames", ())) & {"db", "transactional_db"}:
        return False
    return not item.nodeid.startswith(("tests/web/", "tests/api/", "tests/test_"))
