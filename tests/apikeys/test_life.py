"""Several keys of one provider, the ends of a key's life, and what is told of it."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from apikeys import checks, keys, resolution, terms
from apikeys.models import Credential
from apikeys.terms import Terms
from digitalme.accounts.models import Membership, Team, User
from digitalme.audit.models import AuditEvent
from digitalme.errors import InvalidKeyFormat, InvalidRequest
from digitalme.statements import ask
from providers import registry
from providers.registry import Provider
from providers.validation import Category, Outcome
from tests.apikeys.conftest import KEY, OTHER_KEY, add_key, owned_by

PASSWORD = "hunter2hunter2"


def note(owner: User | Team | None, label: str = "", password: str = PASSWORD, **more: Any) -> Credential:
    fields = {"password": password, "account": "alice", **more.pop("fields", {})}
    return keys.set_key(
        actor=None, owner=owned_by(owner), provider=registry.get("notes"), fields=fields, label=label, **more
    )


def served(user: User, place: str) -> str | None:
    """The password that serves a person's calls at this place."""
    key = ask(resolution.resolve([(user.pk, place)])).get((user.pk, place))
    return resolution.unseal(key)["password"].reveal() if key and not key.expired_at else None


def test_each_label_has_its_own_key_and_none_is_one_too(alice: User, bob: User, notes: Provider) -> None:
    for label in ("", "home", "work"):
        note(alice, label, f"password-{label}")
    assert [served(alice, place) for place in ("notes", "notes/home", "notes/work", "notes/other")] == [
        "password-",
        "password-home",
        "password-work",
        None,
    ]
    assert served(bob, "notes/home") is None
    wanted = [(alice.pk, "notes/home"), (bob.pk, "notes"), (alice.pk, "notes")]
    found = ask(resolution.resolve(wanted))
    assert set(found) == {(alice.pk, "notes/home"), (alice.pk, "notes")}


def test_a_label_finds_the_teams_key_and_the_houses_as_well(alice: User, team: Team, notes: Provider) -> None:
    note(None, "home", "of-the-house")
    assert served(alice, "notes/home") == "of-the-house"
    note(team, "home", "of-the-team")
    assert served(alice, "notes/home") == "of-the-team"
    note(alice, "work", "of-alice")
    assert served(alice, "notes/home") == "of-the-team"


@pytest.mark.parametrize("label", ["Home", "a b", "-home", "a/b", "x" * 64, "ä", "v1", "test", "key", "a\n"])
def test_a_label_that_cannot_stand_in_an_address_is_refused(label: str, alice: User, notes: Provider) -> None:
    with pytest.raises(InvalidRequest):
        note(alice, label)
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/notes", ("", "/v1/notes")),
        ("/home/v1/notes", ("home", "/v1/notes")),
        ("/home", ("home", "/")),
        ("/", ("", "/")),
        ("//v1/notes", ("", "//v1/notes")),
        ("/home/../v1", ("home", "/../v1")),
    ],
)
def test_the_first_word_of_a_path_is_a_label_unless_the_provider_has_it(
    path: str, found: tuple[str, str], notes: Provider
) -> None:
    assert terms.label_in(notes, path) == found
    assert terms.label_in(registry.get("openai"), path) == ("", path)


def test_the_same_key_is_recognised_within_one_owner_only(alice: User, bob: User, notes: Provider) -> None:
    first = note(alice, "home")
    assert first.same_as is None
    again = note(alice, "home")
    assert again.same_as
    assert (again.same_as.id, again.version) == (first.id, 2)
    twin = note(alice, "work")
    assert twin.same_as
    assert twin.same_as.label == "home"
    assert note(bob, "home").same_as is None
    assert note(alice, "work", "another-password").same_as is None
    assert add_key(alice).same_as is None


def test_an_open_field_is_changed_without_entering_the_secret_again(alice: User, notes: Provider) -> None:
    note(alice, "home")
    changed = note(alice, "home", "", fields={"account": "bob"}, keep=True)
    stored = Credential.objects.get()
    opened = resolution.unseal(resolution.resolved(stored))
    assert {name: secret.reveal() for name, secret in opened.items()} == {"password": PASSWORD, "account": "bob"}
    assert (changed.version, keys.plain_fields(stored, notes)) == (2, {"account": "bob"})


def test_a_secret_is_kept_only_where_there_is_one_that_opens(alice: User, notes: Provider) -> None:
    with pytest.raises(InvalidKeyFormat):
        note(alice, "home", "", keep=True)
    note(alice, "home")
    Credential.objects.update(destination=["https://evil.example"])
    with pytest.raises(InvalidKeyFormat):
        note(alice, "home", "", keep=True)
    assert keys.plain_fields(Credential.objects.get(), notes) == {}


def test_a_keys_terms_change_without_another_version(alice: User, notes: Provider) -> None:
    credential = note(alice, "home")
    end = datetime(2100, 1, 1, tzinfo=UTC)
    agreed = Terms("Kitchen", end, date(2099, 12, 1))
    keys.change_terms(actor=alice, credential=credential, provider=notes, label="kitchen", agreed=agreed)
    stored = Credential.objects.get()
    assert (stored.label, stored.display_name, stored.expires_at) == ("kitchen", "Kitchen", end)
    assert (stored.rotate_by, stored.version) == (date(2099, 12, 1), 1)
    assert served(alice, "notes/kitchen") == PASSWORD
    assert AuditEvent.objects.filter(action="credential.changed").count() == 1


def test_terms_that_cannot_be_are_refused(alice: User, notes: Provider) -> None:
    home, _ = note(alice, "home"), note(alice, "work")
    past = timezone.now() - timedelta(days=1)
    for label, agreed in (
        ("work", Terms()),
        ("v1", Terms()),
        ("home", Terms("x" * 101)),
        ("home", Terms(expires_at=past)),
        ("home", Terms(rotate_by=date(2020, 1, 1))),
    ):
        with pytest.raises(InvalidRequest):
            keys.change_terms(actor=alice, credential=home, provider=notes, label=label, agreed=agreed)
    assert Credential.objects.get(pk=home.pk).label == "home"


def test_an_end_that_is_over_may_stay_while_the_name_changes(alice: User, notes: Provider) -> None:
    credential = note(alice)
    past = timezone.now() - timedelta(days=1)
    Credential.objects.update(expires_at=past)
    credential.refresh_from_db()
    keys.change_terms(actor=alice, credential=credential, provider=notes, agreed=Terms("Old", past))
    assert Credential.objects.get().display_name == "Old"


def test_an_expired_key_serves_nothing_and_nothing_steps_in(alice: User, team: Team) -> None:
    for owner in (alice, team, None):
        add_key(owner)
    past = timezone.now() - timedelta(seconds=1)
    Credential.objects.filter(user=alice).update(expires_at=past)
    (found,) = ask(resolution.resolve([(alice.pk, "openai")])).values()
    assert (found.source, found.expired_at) == (resolution.KeySource.USER, past)
    Credential.objects.filter(user=alice).update(expires_at=timezone.now() + timedelta(hours=1))
    (found,) = ask(resolution.resolve([(alice.pk, "openai")])).values()
    assert found.expired_at is None


def test_of_two_teams_keys_the_one_that_has_not_expired_serves(bob: User, team: Team) -> None:
    old = add_key(team)
    other = Team.objects.create(slug="other", name="Other")
    Membership.objects.create(team=other, user=bob)
    add_key(other, OTHER_KEY)
    Credential.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    (found,) = ask(resolution.resolve([(bob.pk, "openai")])).values()
    assert (found.team_id, found.expired_at) == (other.pk, None)


def test_a_new_key_has_a_day_of_replacement_by_the_houses_rule(alice: User, settings: Any) -> None:
    settings.ROTATE_KEYS_AFTER_DAYS = 90
    assert add_key(alice).rotate_by == timezone.now().date() + timedelta(days=90)
    chosen = keys.set_key(
        actor=None,
        owner=owned_by(alice),
        provider=registry.get("openai"),
        fields={"api_key": KEY},
        rotate_by=date(2100, 1, 1),
    )
    assert chosen.rotate_by == date(2100, 1, 1)


@pytest.mark.parametrize(
    ("told", "end"),
    [
        ("2100-03-01 10:00:00 UTC", datetime(2100, 3, 1, 10, tzinfo=UTC)),
        ("2100-03-01T10:00:00+00:00", datetime(2100, 3, 1, 10, tzinfo=UTC)),
        ("never", None),
        (None, None),
    ],
)
def test_an_end_that_the_provider_tells_is_kept(
    told: object, end: datetime | None, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = add_key(alice)
    outcome = Outcome(Category.VALID, "The key works.", {"expires": told})
    monkeypatch.setattr("providers.validation.check", lambda provider, fields: outcome)
    checks.test_credential(credential)
    assert Credential.objects.get().expires_at == end
