"""rotate_master_key, as an operator runs it: nothing stored is ever lost, and every refusal says what to do."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError
from django.utils import timezone

from apikeys import heartbeat, kept, keyring, masters, sealed_rows
from apikeys.models import Credential, HouseKey, KeptKey, KeyHolder, Resealing
from digitalme.accounts.models import Team, User
from digitalme.audit.models import AuditEvent
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key
from tests.apikeys.houses import BOTH, ONE, SECOND_PRINT, THREE, TWO, opened, rotate, sealed_with


@pytest.fixture
def _stored(house: Callable[[str], None], alice: User, bob: User, team: Team) -> None:
    """Four keys, sealed with k1: two people's, a team's, the house's."""
    for owner in (alice, bob, team, None):
        add_key(owner)


def states() -> dict[str, str]:
    return dict(HouseKey.objects.filter(kind="master", key_id__startswith="k").values_list("key_id", "state"))


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        rotate(*arguments)
    assert refused.value.returncode == 1
    assert "\n" not in str(refused.value)
    return str(refused.value)


def process(**known: str) -> KeyHolder:
    return KeyHolder.objects.create(
        role="web", host="north", pid=7, known={"master": known}, sealing_id="k1", seen_at=timezone.now()
    )


def check_value(key_id: str) -> str:
    return HouseKey.objects.get(kind="master", key_id=key_id).check_value


# --- The whole way ------------------------------------------------------------------------------


@pytest.mark.usefixtures("_stored")
def test_a_master_that_the_configuration_puts_first_is_promoted_and_everything_sealed_anew(
    house: Callable[[str], None],
) -> None:
    before = list(Credential.objects.order_by("id").values_list("id", "version", "fingerprint", "updated_at", "hint"))
    house(BOTH)
    assert "4 stored keys sealed anew with 'k2'" in rotate()
    assert (sealed_with(), opened()) == ({"k2"}, {KEY})
    after = list(Credential.objects.order_by("id").values_list("id", "version", "fingerprint", "updated_at", "hint"))
    assert after == before
    assert "0 stored keys sealed anew" in rotate()
    assert "retired" in rotate("retire", "k1")
    assert "retired already" in rotate("retire", "k1")
    house(f"k2:{TWO}")
    assert opened() == {KEY}
    assert states() == {"k1": "retired", "k2": "sealing"}


@pytest.mark.usefixtures("_stored")
def test_what_is_added_after_a_promotion_is_sealed_with_the_new_master_before_any_reseal(
    house: Callable[[str], None], charlie: User
) -> None:
    house(f"k1:{ONE},k2:{TWO}")
    rotate("promote", "k2")
    assert add_key(charlie).key_id == "k2"
    assert sealed_with() == {"k1", "k2"}
    assert opened() == {KEY}


@pytest.mark.usefixtures("_stored")
def test_a_promotion_is_undone_by_promoting_the_former(house: Callable[[str], None], charlie: User) -> None:
    house(BOTH)
    rotate()
    rotate("promote", "k1")
    assert "k1' seals already" in rotate("promote", "k1")
    assert add_key(charlie).key_id == "k1"
    rotate("reseal")
    assert (sealed_with(), opened()) == ({"k1"}, {KEY})
    # The configuration still puts k2 first: what was promoted by name stays.
    assert "0 stored keys" in rotate()
    assert sealed_with() == {"k1"}


@pytest.mark.usefixtures("_stored")
def test_several_rotations_follow_one_another(house: Callable[[str], None]) -> None:
    house(BOTH)
    rotate()
    house(f"k3:{THREE},{BOTH}")
    rotate()
    assert (sealed_with(), opened()) == ({"k3"}, {KEY})


@pytest.mark.usefixtures("_stored")
def test_a_dry_run_changes_nothing_and_finds_what_does_not_open(house: Callable[[str], None]) -> None:
    house(BOTH)
    assert "'k2' would be promoted" in rotate("--dry-run")
    rotate("promote", "k2")
    assert "4 stored keys would be sealed anew" in rotate("reseal", "--dry-run")
    Credential.objects.filter(is_system=True).update(version=9)
    assert "1 stored keys cannot be opened" in refusal("reseal", "--dry-run")
    assert sealed_with() == {"k1"}
    assert not Resealing.objects.exists()


@pytest.mark.usefixtures("_stored")
def test_every_step_is_in_the_audit_trail(house: Callable[[str], None]) -> None:
    house(BOTH)
    rotate()
    rotate("retire", "k1")
    rotate("reinstate", "k1")
    told = [
        (one.action, one.target, one.facts)
        for one in AuditEvent.objects.order_by("sequence")
        if one.action.startswith(("master_key", "rotation"))
    ]
    assert told == [
        ("master_key.promoted", "master_key:k2", {"key_id": "k2", "count": 0}),
        ("rotation.started", "rotation", {"key_id": "k2"}),
        ("rotation.finished", "rotation", {"key_id": "k2", "count": 4}),
        ("master_key.retired", "master_key:k1", {"key_id": "k1", "count": 0}),
        ("master_key.reinstated", "master_key:k1", {"key_id": "k1"}),
    ]


# --- The gates ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("_stored")
def test_nothing_is_promoted_that_a_live_process_does_not_hold(house: Callable[[str], None]) -> None:
    house(BOTH)
    holder = process(k1=check_value("k1"))
    for arguments in ((), ("promote", "k2")):
        assert "web 7 on north" in refusal(*arguments)
    KeyHolder.objects.update(known={"master": {"k1": check_value("k1"), "k2": "0" * 16}})
    assert "web 7 on north" in refusal("promote", "k2")
    assert (states()["k2"], sealed_with()) == ("known", {"k1"})
    KeyHolder.objects.update(seen_at=timezone.now() - timedelta(seconds=2 * heartbeat.LIVE_SECONDS))
    rotate("promote", "k2")
    assert states()["k2"] == "sealing"
    assert holder.role == "web"


@pytest.mark.usefixtures("_stored")
def test_force_promotes_all_the_same(house: Callable[[str], None]) -> None:
    house(BOTH)
    process(k1=check_value("k1"))
    rotate("promote", "k2", "--force")
    assert states()["k2"] == "sealing"
    assert AuditEvent.objects.get(action="master_key.promoted").facts["count"] == 1


@pytest.mark.usefixtures("_stored")
def test_nothing_is_retired_that_seals_or_is_needed(house: Callable[[str], None]) -> None:
    house(BOTH)
    assert "seals" in refusal("retire", "k2")
    rotate("promote", "k2")
    assert "4 stored keys are still sealed" in refusal("retire", "k1")
    rotate("reseal")
    holder = process(k1=check_value("k1"), k2=check_value("k2"))
    assert "web 7 on north" in refusal("retire", "k1")
    KeyHolder.objects.filter(id=holder.id).update(sealing_id="k2")
    rotate("retire", "k1")


@pytest.mark.usefixtures("_stored")
def test_a_row_whose_column_lies_still_holds_up_retirement(house: Callable[[str], None]) -> None:
    house(BOTH)
    rotate("promote", "k2")
    Credential.objects.update(key_id="k2")
    assert "still sealed with the master key 'k1'" in refusal("retire", "k1")


@pytest.mark.usefixtures("_stored")
def test_a_key_that_does_not_open_is_left_reported_and_not_in_the_way_of_the_others(
    house: Callable[[str], None], alice: User
) -> None:
    house(BOTH)
    broken = Credential.objects.get(user=alice)
    Credential.objects.filter(id=broken.id).update(sealed={"api_key": "!"})
    assert str(broken.id) in refusal()
    assert Credential.objects.filter(key_id="k2").count() == 3
    assert AuditEvent.objects.filter(action="credential.unreadable", target=f"credential:{broken.id}").count() == 1
    assert "1 stored keys are still sealed" in refusal("retire", "k1")
    rotate("retire", "k1", "--force")
    add_key(alice, OTHER_KEY)
    assert opened() == {KEY, OTHER_KEY}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("promote",), "Say which"),
        (("reseal", "k1"), "takes no ID"),
        (("promote", "k9"), "'k9' is not here"),
        (("retire", "k9"), "no master key 'k9'"),
        (("reinstate", "k9"), "no master key 'k9'"),
        (("retire", "k1"), "'k1' seals"),
        (("reseal", "--batch", "0"), "--batch"),
        (("add", "k1"), "'k1' is or was"),
        (("add", "a:b"), "letters"),
        (("dance",), "invalid choice"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments: tuple[str, ...], said: str, house: Callable[[str], None]) -> None:
    with pytest.raises(CommandError, match=re.escape(said)):
        rotate(*arguments)
    assert states() == {"k1": "known"}


# --- Masters that are gone, and old backups -----------------------------------------------------


@pytest.mark.usefixtures("_stored")
def test_an_old_backup_needs_the_master_of_its_time_and_is_rotated_again(house: Callable[[str], None]) -> None:
    with pytest.raises(keyring.UnusableKey, match="'k1'"):
        house(f"k2:{TWO}")
    house(BOTH)
    rotate()
    rotate("retire", "k1")
    house(f"k2:{TWO}")
    assert opened() == {KEY}


@pytest.mark.usefixtures("_stored")
def test_rows_of_an_old_backup_open_again_once_the_retired_master_is_reinstated(
    house: Callable[[str], None], alice: User
) -> None:
    row = Credential.objects.filter(user=alice).values("sealed", "key_id").get()
    house(BOTH)
    rotate()
    rotate("retire", "k1")
    HouseKey.objects.filter(key_id="k1").update(retired_at=timezone.now() - timedelta(hours=1))
    Credential.objects.filter(user=alice).update(**row)  # one table of a backup
    house(BOTH)
    assert "cannot be opened" in refusal("reseal")
    rotate("reinstate", "k1")
    assert "not retired" in rotate("reinstate", "k1")
    rotate("reseal")
    assert (sealed_with(), opened()) == ({"k2"}, {KEY})


@pytest.mark.usefixtures("_stored")
def test_a_lost_master_is_given_up_by_name_and_taken_back_if_it_is_found(house: Callable[[str], None]) -> None:
    HouseKey.objects.filter(key_id="k1").delete()
    with pytest.raises(keyring.UnusableKey, match="retire k1 --force"):
        house(f"k2:{TWO}")
    assert "4 stored keys are still sealed" in refusal("retire", "k1")
    rotate("retire", "k1", "--force")
    house(f"k2:{TWO}")
    rotate("reinstate", "k1")
    house(BOTH)
    rotate()
    assert opened() == {KEY}


@pytest.mark.usefixtures("_stored")
def test_an_altered_key_id_is_given_up_like_a_lost_master(house: Callable[[str], None]) -> None:
    Credential.objects.filter(is_system=True).update(key_id="not an id")
    with pytest.raises(keyring.UnusableKey, match="'not an id'"):
        masters.verify()
    rotate("retire", "not an id", "--force")
    masters.verify()


# --- Fingerprints, kept keys, adding, status ----------------------------------------------------


@pytest.mark.usefixtures("_stored")
def test_a_new_fingerprint_key_computes_and_the_reseal_brings_the_others_along(
    alice: User, bob: User, settings: Any
) -> None:
    old = settings.DIGITALME_FINGERPRINT_KEY
    settings.DIGITALME_FINGERPRINT_KEY = f"fp2:{SECOND_PRINT},fp1:{old}"
    masters.verify()
    before = Credential.objects.get(user=alice)
    assert "4 stored keys are sealed or fingerprinted with a former key" in rotate("--status")
    rotate("reseal")
    assert set(Credential.objects.values_list("fingerprint_key_id", "key_id")) == {("fp2", "k1")}
    after = Credential.objects.get(user=alice)
    assert (after.sealed, after.fingerprint == before.fingerprint) == (before.sealed, False)
    assert add_key(alice).fingerprint == after.fingerprint
    assert "take it out of DIGITALME_FINGERPRINT_KEY" in rotate("status")


@pytest.mark.usefixtures("_stored")
def test_keys_that_an_import_put_aside_are_sealed_anew_too(house: Callable[[str], None]) -> None:
    credential = Credential.objects.get(is_system=True)
    row = kept.keep(credential, now=timezone.now())
    add_key(None, OTHER_KEY)
    house(BOTH)
    assert "5 stored keys sealed anew" in rotate()
    row = KeptKey.objects.get(id=row.id)
    assert (row.key_id, sealed_rows.key_ids(row.sealed)) == ("k2", {"k2"})
    rotate("retire", "k1")
    HouseKey.objects.filter(key_id="k1").update(retired_at=None)
    house(f"k2:{TWO}")
    kept.bring_back(row, actor=None)
    assert opened() == {KEY}


def test_a_new_master_has_an_id_that_none_ever_had(house: Callable[[str], None]) -> None:
    HouseKey.objects.create(key_id="k2", state="retired")
    assert re.fullmatch(r"k3:[A-Za-z0-9+/]{43}=\n", rotate("add"))
    assert rotate("add", "winter").startswith("winter:")
    assert states() == {"k1": "known", "k2": "retired"}


@pytest.mark.usefixtures("_stored")
def test_the_status_says_what_to_do_next_until_nothing_is(house: Callable[[str], None]) -> None:
    HouseKey.objects.filter(key_id="test").delete()
    assert "Next: Nothing to do" in rotate("status")
    house(BOTH)
    holder = process(k1=check_value("k1"))
    assert "Next: Start these anew, so that they know 'k2': web 7 on north." in rotate("--status")
    holder.delete()
    assert "Next: Everybody knows 'k2'. Promote it" in rotate("--status")
    rotate("promote", "k2")
    assert "Next: 4 stored keys are sealed or fingerprinted with a former key." in rotate("--status")
    rotate("reseal")
    assert "Next: Nothing needs 'k1' any more. Retire it" in rotate("--status")
    assert "Re-seal: 4 done, 0 to go, finished." in rotate("--status")
    rotate("retire", "k1")
    assert "Next: Nothing to do" in rotate("--status")
