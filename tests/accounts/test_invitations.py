"""Invitations: for one address, once, for a week, and silent about who has an account."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail

from digitalme.accounts import invitations, teams
from digitalme.accounts.models import Invitation, Membership, Team, User
from digitalme.audit.models import AuditEvent
from digitalme.errors import InvalidRequest, NotFound, ProviderUnavailable, QuotaExceeded

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def invited(alice: User, team: Team, email: str = "charlie@example.com", **more: Any) -> str:
    """Invite and return what the link in the letter ends with."""
    invitations.invite(actor=alice, team=team, email=email, now=NOW, **more)
    found = re.search(r"/settings/team/invitation/([^/\s]+)/", str(mail.outbox[-1].body))
    assert found
    return found.group(1)


def test_whoever_has_the_address_joins_once(alice: User, bob: User, charlie: User, team: Team) -> None:
    token = invited(alice, team, "Charlie@Example.com")
    assert invitations.accept(actor=charlie, token=token, now=NOW) == team
    assert Membership.objects.get(user=charlie).role == "member"
    teams.leave(actor=charlie, team=team)
    with pytest.raises(NotFound):
        invitations.accept(actor=charlie, token=token, now=NOW)
    events = AuditEvent.objects.filter(action__startswith="team.").order_by("sequence")
    told = list(events.values_list("action", "subject"))
    assert told == [
        ("team.invited", f"team:{team.pk}"),
        ("team.joined", f"user:{charlie.pk}"),
        ("team.left", f"user:{charlie.pk}"),
    ]


def test_a_further_address_of_the_account_will_do(alice: User, charlie: User, team: Team) -> None:
    token = invited(alice, team, "c@work.example", role="admin")
    EmailAddress.objects.create(user=charlie, email="c@work.example")
    invitations.accept(actor=charlie, token=token, now=NOW)
    assert Membership.objects.get(user=charlie).role == "admin"


def test_every_link_that_does_not_work_gets_the_same_answer(alice: User, bob: User, charlie: User, team: Team) -> None:
    withdrawn = invited(alice, team)
    invitations.withdraw(actor=alice, team=team, invitation_id=Invitation.objects.get().pk)
    declined = invited(alice, team)
    invitations.decline(actor=charlie, token=declined, now=NOW)
    replaced, good = invited(alice, team), invited(alice, team)
    tries = [
        (charlie, withdrawn, NOW),
        (charlie, declined, NOW),
        (charlie, replaced, NOW),
        (charlie, good, NOW + invitations.LIFE),
        (bob, good, NOW),  # another address
        (charlie, good[:-1] + ("A" if good[-1] != "A" else "B"), NOW),
        (charlie, "", NOW),
    ]
    said = set()
    for person, token, when in tries:
        with pytest.raises(NotFound) as refusal:
            invitations.accept(actor=person, token=token, now=when)
        said.add(refusal.value.message)
    assert len(said) == 1
    assert not Membership.objects.filter(user=charlie).exists()
    invitations.accept(actor=charlie, token=good, now=NOW + invitations.LIFE - timedelta(seconds=1))


def test_an_account_changes_nothing_about_inviting(alice: User, charlie: User, team: Team) -> None:
    invited(alice, team, "charlie@example.com")
    invited(alice, team, "nobody@example.com")
    known, unknown = mail.outbox
    links = re.compile(r"invitation/\S+")
    assert links.sub("", str(known.body)) == links.sub("", str(unknown.body))
    assert known.subject == unknown.subject


@pytest.mark.parametrize(
    "email", ["", "odd", "a@b", "a@b.example\nBcc: c@d.example", "bob@example.com", f"{'x' * 250}@y.example"]
)
def test_odd_addresses_and_members_are_refused(alice: User, bob: User, team: Team, email: str) -> None:
    with pytest.raises(InvalidRequest):
        invitations.invite(actor=alice, team=team, email=email, now=NOW)
    assert not mail.outbox


def test_nobody_is_made_the_owner_by_invitation(alice: User, team: Team) -> None:
    with pytest.raises(InvalidRequest):
        invitations.invite(actor=alice, team=team, email="x@y.example", role="owner", now=NOW)


def test_letters_are_bounded_by_the_day(alice: User, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "MOST_A_DAY", 2)
    for number in range(2):
        invitations.invite(actor=alice, team=team, email=f"{number}@y.example", now=NOW + timedelta(hours=number))
    with pytest.raises(QuotaExceeded) as refusal:
        invitations.invite(actor=alice, team=team, email="2@y.example", now=NOW + timedelta(hours=2))
    wait = timedelta(seconds=refusal.value.data["retry_after"])
    assert wait == timedelta(hours=22, seconds=1)
    invitations.invite(actor=alice, team=team, email="2@y.example", now=NOW + timedelta(hours=2) + wait)


def test_a_letter_that_cannot_be_sent_leaves_nothing_open(
    alice: User, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("django.core.mail.EmailMessage.send", broken)
    with pytest.raises(ProviderUnavailable):
        invitations.invite(actor=alice, team=team, email="x@y.example", now=NOW)
    assert not invitations.open_invitations(team, NOW).exists()


def test_a_full_team_takes_nobody_and_the_invitation_stays_open(
    alice: User, bob: User, charlie: User, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = invited(alice, team)
    monkeypatch.setattr(teams, "MOST_MEMBERS", 2)
    with pytest.raises(InvalidRequest):
        invitations.accept(actor=charlie, token=token, now=NOW)
    assert invitations.open_invitations(team, NOW).exists()
