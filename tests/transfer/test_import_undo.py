"""import_appsettings --undo: what was before comes back, once, and nothing that changed since is lost unasked."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.utils import timezone

from apikeys import kept, keys
from apikeys.models import Credential, KeptKey
from digitalme.audit.models import AuditEvent
from digitalme.transfer import tasks
from quotas.models import Limit, Tier
from tests.commands import run
from tests.transfer.conftest import (
    HOUSE_KEY,
    NEW,
    OLD,
    OTHER_KEY,
    Write,
    everything,
    limit,
    set_house_key,
    stored,
    trace_in,
)

pytestmark = pytest.mark.django_db


def test_undoing_brings_back_the_state_before(write: Write) -> None:
    set_house_key(OTHER_KEY)
    Credential.objects.update(status="valid", rotate_by="2027-01-31", last_validated_at=timezone.now())
    limits = list(Limit.objects.order_by("pk").values("type", "provider", "binds", "requests", "tokens", "cost"))
    facts = ("id", "display_name", "status", "rotate_by", "last_validated_at", "fingerprint", "hint", "destination")
    before = Credential.objects.values(*facts).get()
    trace = trace_in(run("import_appsettings", write(NEW)))
    assert stored() == HOUSE_KEY
    printed = run("import_appsettings", "--undo", trace)
    assert stored() == OTHER_KEY
    assert Credential.objects.values(*facts).get() == before
    assert list(Limit.objects.order_by("pk").values(*limits[0])) == limits
    assert "the former one" in printed
    assert OTHER_KEY not in printed
    assert not KeptKey.objects.exists()


def test_a_former_key_comes_back_under_a_version_that_never_was(write: Write) -> None:
    set_house_key(OTHER_KEY)
    trace = trace_in(run("import_appsettings", write(OLD)))
    imported = keys.system_keys().get(provider="openai").version
    run("import_appsettings", "--undo", trace)
    assert keys.system_keys().get(provider="openai").version > imported


def test_an_import_is_undone_once(write: Write) -> None:
    trace = trace_in(run("import_appsettings", write(OLD)))
    run("import_appsettings", "--undo", trace)
    with pytest.raises(CommandError, match="was undone at"):
        run("import_appsettings", "--undo", trace)


def test_an_unknown_import_is_said() -> None:
    with pytest.raises(CommandError, match="There is no import"):
        run("import_appsettings", "--undo", "0192f0c1-0000-7000-8000-000000000000")


def change_key() -> None:
    set_house_key(OTHER_KEY)


def switch_key_off() -> None:
    keys.set_active(actor=None, credential=keys.system_keys().get(provider="openai"), active=False)


def remove_key() -> None:
    keys.remove(actor=None, credential=keys.system_keys().get(provider="openai"))


def change_limit() -> None:
    Limit.objects.filter(type="demo", provider="openai").update(requests=3)


@pytest.mark.parametrize("change", [change_key, switch_key_off, remove_key, change_limit])
def test_what_was_changed_since_is_left_alone_unless_forced(change: Callable[[], None], write: Write) -> None:
    set_house_key("sk-proj-former-0123456789abcdefgh")
    trace = trace_in(run("import_appsettings", write(NEW)))
    change()
    before = everything()
    with pytest.raises(CommandError, match=r"Changed since the import: .*openai.*--force"):
        run("import_appsettings", "--undo", trace)
    assert everything() == before
    run("import_appsettings", "--undo", trace, "--force")
    assert stored() == "sk-proj-former-0123456789abcdefgh"
    assert limit("demo", "openai") is None


def test_a_key_that_was_new_is_gone_after_undoing(write: Write) -> None:
    trace = trace_in(run("import_appsettings", write(OLD)))
    run("import_appsettings", "--undo", trace)
    assert not Credential.objects.exists()


def test_imports_are_undone_in_their_order(write: Write) -> None:
    first = trace_in(run("import_appsettings", write(OLD)))
    second = trace_in(run("import_appsettings", write(OLD.replace(HOUSE_KEY, OTHER_KEY))))
    with pytest.raises(CommandError, match="Changed since"):
        run("import_appsettings", "--undo", first)
    run("import_appsettings", "--undo", second)
    assert stored() == HOUSE_KEY


def test_a_former_key_opens_after_the_masters_changed_places(write: Write, settings: Any) -> None:
    set_house_key(OTHER_KEY)
    trace = trace_in(run("import_appsettings", write(OLD)))
    former = settings.DIGITALME_MASTER_KEYS
    settings.DIGITALME_MASTER_KEYS = run("generate_master_key", "--id", "later").strip()
    with pytest.raises(CommandError, match="master key 'test', and it is not here"):
        run("import_appsettings", "--undo", trace)
    settings.DIGITALME_MASTER_KEYS += f",{former}"
    run("import_appsettings", "--undo", trace)
    assert stored() == OTHER_KEY
    assert keys.system_keys().get(provider="openai").key_id == "later"


def test_former_keys_are_forgotten_after_a_while(write: Write) -> None:
    set_house_key(OTHER_KEY)
    trace = trace_in(run("import_appsettings", write(OLD)))
    assert tasks.forget_kept_keys() == 0
    KeptKey.objects.update(kept_at=timezone.now() - kept.KEEP - timedelta(seconds=1))
    assert tasks.forget_kept_keys() == 1
    before = everything()
    with pytest.raises(CommandError, match="no longer than 30 days"):
        run("import_appsettings", "--undo", trace)
    assert everything() == before


def test_a_default_tier_that_was_made_anew_gets_its_limit_back(write: Write) -> None:
    trace = trace_in(run("import_appsettings", write('{"DefaultQuotas": {"DailyRequests": 5}}')))
    Tier.objects.filter(is_default=True).delete()
    with pytest.raises(CommandError, match="Changed since"):
        run("import_appsettings", "--undo", trace)
    run("import_appsettings", "--undo", trace, "--force")
    assert limit("daily", "") == (1_000, None)


def test_a_tier_that_is_gone_is_no_obstacle(write: Write) -> None:
    trace = trace_in(run("import_appsettings", write('{"DefaultQuotas": {"DailyRequests": 5}}')))
    Tier.objects.filter(is_default=True).update(slug="other")
    assert "the tier is gone" in run("import_appsettings", "--undo", trace, "--force")


def test_an_import_and_its_undoing_stand_in_the_audit_trail(write: Write) -> None:
    trace = trace_in(run("import_appsettings", write(OLD)))
    run("import_appsettings", write(OLD))
    run("import_appsettings", write(OLD), "--dry-run")
    run("import_appsettings", "--undo", trace)
    events = AuditEvent.objects.order_by("sequence").values_list("action", "facts__count")
    assert [event for event in events if event[0].startswith("import.")] == [
        ("import.applied", 2),
        ("import.reverted", 2),
    ]
