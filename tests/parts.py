"""Three parts of the suite that run at a time: with the embedded database, with PostgreSQL and Redis, with neither.

What speaks to the database or the cache runs in both set-ups. Faces over the same functions and what a call looks like
on the wire do so in one of them only, by turns, since what lies below is tested in both.
"""

import os
from collections.abc import Set

import pytest

PART = "TESTS_PART"
EMBEDDED, SERVERS, ALONE = "embedded", "servers", "alone"
BOTH = frozenset({EMBEDDED, SERVERS})
# The longest beginning of a test's place decides.
_PLACES: dict[str, Set[str]] = {
    "tests/accounts/": {EMBEDDED},
    "tests/accounts/test_teams.py": BOTH,
    "tests/accounts/test_tokens.py": BOTH,
    "tests/api/": {SERVERS},
    "tests/apikeys/test_admin.py": {EMBEDDED},
    "tests/apikeys/test_attacks.py": {EMBEDDED},
    "tests/apikeys/test_checks.py": {EMBEDDED},
    "tests/apikeys/test_commands.py": {EMBEDDED},
    "tests/apikeys/test_environment_keys.py": {SERVERS},
    "tests/apikeys/test_fetched_tokens.py": {EMBEDDED},
    "tests/apikeys/test_grants.py": {EMBEDDED},
    "tests/apikeys/test_kms.py": {EMBEDDED},
    "tests/apikeys/test_lockout.py": {SERVERS},
    "tests/apikeys/test_masters.py": {EMBEDDED},
    "tests/apikeys/test_mcp_servers.py": {EMBEDDED},
    "tests/apikeys/test_rechecks.py": {SERVERS},
    "tests/apikeys/test_reminders.py": {SERVERS},
    "tests/apikeys/test_rotation_page.py": {EMBEDDED},
    "tests/audit/test_account_changes.py": {EMBEDDED},
    "tests/audit/test_admin.py": {EMBEDDED},
    "tests/audit/test_canaries.py": {EMBEDDED},
    "tests/audit/test_key_changes.py": {EMBEDDED},
    "tests/gateway/sdks/": {SERVERS},
    "tests/gateway/test_bills.py": {EMBEDDED},
    "tests/gateway/test_confinement.py": {SERVERS},
    "tests/gateway/test_consents.py": {SERVERS},
    "tests/gateway/test_echoes.py": {SERVERS},
    "tests/gateway/test_email.py": {SERVERS},
    "tests/gateway/test_explanations.py": {EMBEDDED},
    "tests/gateway/test_fallback.py": {SERVERS},
    "tests/gateway/test_injection.py": {SERVERS},
    "tests/gateway/test_installed_providers.py": {SERVERS},
    "tests/gateway/test_labels.py": {SERVERS},
    "tests/gateway/test_leaks.py": {EMBEDDED},
    "tests/gateway/test_mcp.py": {SERVERS},
    "tests/gateway/test_passing.py": {SERVERS},
    "tests/gateway/test_placements.py": {SERVERS},
    "tests/gateway/test_repricing.py": {SERVERS},
    "tests/gateway/test_rotation.py": {EMBEDDED},
    "tests/gateway/test_sdks.py": {SERVERS},
    "tests/gateway/test_unreadable.py": {EMBEDDED},
    "tests/gateway/test_verdict.py": {SERVERS},
    "tests/notifications/test_admin.py": {EMBEDDED},
    "tests/providers/": {EMBEDDED},
    "tests/providers/test_installed.py": BOTH,
    "tests/quotas/test_adjustment.py": {EMBEDDED},
    "tests/quotas/test_raises.py": {EMBEDDED},
    "tests/test_canaries.py": {SERVERS},
    "tests/test_error_reports.py": {EMBEDDED},
    "tests/test_logs.py": {EMBEDDED},
    "tests/test_middleware.py": {EMBEDDED},
    "tests/test_pipeline.py": {SERVERS},
    "tests/transfer/": {EMBEDDED},
    "tests/usage/test_large_exports.py": {SERVERS},
    "tests/usage/test_unpriced.py": {SERVERS},
    "tests/web/": {EMBEDDED},
}


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the part that the environment names; all of them if it names none."""
    part = os.environ.get(PART)
    if not part:
        return
    config.hook.pytest_deselected(items=[item for item in items if part not in parts_of(item)])
    items[:] = [item for item in items if part in parts_of(item)]


def parts_of(item: pytest.Item) -> Set[str]:
    """Return where a test runs. It runs alone if it uses neither the database nor the cache of the settings, has
    servers of its own, or looks at pages in a browser."""
    if item.get_closest_marker("once") or item.get_closest_marker("browser"):
        return {ALONE}
    uses = item.get_closest_marker("django_db") or set(getattr(item, "fixturenames", ())) & {"db", "transactional_db"}
    if not uses and not item.nodeid.startswith(("tests/web/", "tests/api/", "tests/test_")):
        return {ALONE}
    places = [place for place in _PLACES if item.nodeid.startswith(place)]
    return _PLACES[max(places, key=len)] if places else BOTH
