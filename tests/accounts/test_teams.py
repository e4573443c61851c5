"""Teams: who may do what, and that a team never loses its owner."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from digitalme.accounts import invitations, teams
from digitalme.accounts.models import Invitation, Membership, Team, User
from digitalme.accounts.teams import Role
from digitalme.audit.models import AuditEvent
from digitalme.errors import DigitalMeError, InvalidRequest, NotFound, SecurityViolation

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
Deed = Callable[[User, Team, User], object]

# What each role may do with a plain member of its team: what is not here is refused.
DEEDS: dict[str, tuple[Deed, set[str]]] = {
    "rename": (lambda me, team, _: teams.rename(actor=me, team=team, name="New"), {"owner", "admin"}),
    "invite": (
        lambda me, team, _: invitations.invite(actor=me, team=team, email="x@y.example", now=NOW),
        {"owner", "admin"},
    ),
    "invite an admin": (
        lambda me, team, _: invitations.invite(actor=me, team=team, email="x@y.example", role="admin", now=NOW),
        {"owner"},
    ),
    "remove": (lambda me, team, other: teams.remove_member(actor=me, team=team, user_id=other.pk), {"owner", "admin"}),
    "promote": (
        lambda me, team, other: teams.change_role(actor=me, team=team, user_id=other.pk, role="admin"),
        {"owner"},
    ),
    "hand over": (lambda me, team, other: teams.hand_over(actor=me, team=team, user_id=other.pk), {"owner"}),
    "dissolve": (lambda me, team, _: teams.dissolve(actor=me, team=team, confirmed=team.name), {"owner"}),
    "leave": (lambda me, team, _: teams.leave(actor=me, team=team), {"admin", "member"}),
}


def state() -> list[object]:
    people = Membership.objects.order_by("pk").values_list("team__name", "user", "role")
    return [*people, AuditEvent.objects.count(), Invitation.objects.count()]


@pytest.fixture
def dora(team: Team) -> User:
    """A plain member whom others do things to."""
    user = User.objects.create_user("dora@example.com")
    Membership.objects.create(team=team, user=user)
    return user


@pytest.mark.parametrize("deed", DEEDS)
def test_each_role_may_do_what_its_role_says_and_nothing_else(
    deed: str, alice: User, bob: User, charlie: User, dora: User, team: Team
) -> None:
    act, allowed = DEEDS[deed]
    actors = {"member": bob, "admin": bob, "owner": alice, "outsider": charlie}
    refused = 0
    for role in ("outsider", "member", "admin", "owner"):
        if role in ("member", "admin"):
            Membership.objects.filter(user=bob).update(role=role)
        if role in allowed:
            continue
        before = state()
        with pytest.raises(NotFound if role == "outsider" else (SecurityViolation, InvalidRequest)):
            act(actors[role], team, dora)
        assert state() == before
        refused += 1
    assert refused == 4 - len(allowed)
    act(actors["owner" if "owner" in allowed else "member"], team, dora)
    assert AuditEvent.objects.filter(target=f"team:{team.pk}", actor__contains="user:").exists() or deed == "dissolve"


def test_an_admin_removes_neither_the_owner_nor_another_admin(alice: User, bob: User, dora: User, team: Team) -> None:
    Membership.objects.filter(user__in=[bob, dora]).update(role=Role.ADMIN)
    for other in (alice, dora):
        with pytest.raises(SecurityViolation):
            teams.remove_member(actor=bob, team=team, user_id=other.pk)


def test_a_disabled_account_is_handed_nothing(alice: User, bob: User, team: Team) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)
    with pytest.raises(InvalidRequest):
        teams.hand_over(actor=alice, team=team, user_id=bob.pk)


def test_dissolving_wants_the_name(alice: User, bob: User, team: Team) -> None:
    with pytest.raises(InvalidRequest):
        teams.dissolve(actor=alice, team=team, confirmed="yes")
    teams.dissolve(actor=alice, team=team, confirmed="Alice's team")
    assert not Membership.objects.exists()
    event = AuditEvent.objects.get(action="team.deleted")
    assert (event.actor, event.facts) == (f"user:{alice.pk}", {"members": 2})


@pytest.mark.parametrize(
    "name", ["", "  ", "x" * 101, "see https://evil.example", "www.evil.example", "<b>", "a\u2028b\x00"]
)
def test_a_name_that_letters_should_not_repeat_is_refused(alice: User, name: str) -> None:
    with pytest.raises(InvalidRequest):
        teams.create(actor=alice, name=name)


def test_nobody_owns_too_many(charlie: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teams, "MOST_OWNED", 2)
    made = [teams.create(actor=charlie, name="日本") for _ in range(2)]
    with pytest.raises(InvalidRequest):
        teams.create(actor=charlie, name="Three")
    assert len({one.slug for one in made}) == 2


class TestAnyCourse(TestCase):
    """Whatever people try in whatever order."""

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(
            st.tuples(st.sampled_from(["promote", "demote", "remove", "hand over", "leave"]), *[st.integers(0, 2)] * 2)
        )
    )
    def test_a_team_has_exactly_one_owner(self, course: list[tuple[str, int, int]]) -> None:
        people = [User.objects.create_user(f"p{number}@example.com") for number in range(3)]
        team = teams.create(actor=people[0], name="Course")
        for person in people[1:]:
            Membership.objects.create(team=team, user=person)
        for deed, actor, other in course:
            self._try(deed, people[actor], team, people[other])
            assert Membership.objects.filter(team=team, role=Role.OWNER).count() == 1

    def _try(self, deed: str, actor: User, team: Team, other: User) -> None:
        try:
            if deed == "leave":
                teams.leave(actor=actor, team=team)
            elif deed == "remove":
                teams.remove_member(actor=actor, team=team, user_id=other.pk)
            elif deed == "hand over":
                teams.hand_over(actor=actor, team=team, user_id=other.pk)
            else:
                role = "admin" if deed == "promote" else "member"
                teams.change_role(actor=actor, team=team, user_id=other.pk, role=role)
        except DigitalMeError:
            """Refused, which is fine."""
