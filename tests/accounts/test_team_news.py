"""The members of a team are told who comes and goes, whose role changes, and which shared key changes."""

from apikeys import keys
from apikeys.keys import Owner
from digitalme.accounts import teams
from digitalme.accounts.models import Team, User
from digitalme.accounts.teams import Role
from digitalme.notifications import inbox
from providers import registry
from tests.letters import sent

KEY = "sk-proj-0123456789abcdefghijklmnopWXYZ"


def titles(user: User) -> list[str]:
    return list(inbox.of(user.pk).order_by("pk").values_list("title", flat=True))


def test_who_looks_after_a_team_is_told_who_comes_and_goes(alice: User, bob: User, charlie: User, team: Team) -> None:
    teams.join(team=team, user=charlie, role=Role.MEMBER)
    teams.leave(actor=charlie, team=team)
    assert titles(alice) == ["charlie@example.com joined Alice's team", "charlie@example.com left Alice's team"]
    assert titles(bob) == titles(charlie) == []
    assert sent() == []  # no mail unless somebody asks for it


def test_a_person_is_told_of_a_new_role_and_of_the_end(alice: User, bob: User, charlie: User, team: Team) -> None:
    teams.join(team=team, user=charlie, role=Role.ADMIN)
    teams.change_role(actor=alice, team=team, user_id=bob.pk, role=Role.ADMIN)
    teams.change_role(actor=alice, team=team, user_id=bob.pk, role=Role.ADMIN)
    teams.change_role(actor=alice, team=team, user_id=bob.pk, role=Role.MEMBER)
    teams.remove_member(actor=alice, team=team, user_id=bob.pk)
    assert titles(bob)[-3:] == [
        "You are now one of its admins: Alice's team",
        "You are now a member: Alice's team",
        "You were taken out of Alice's team",
    ]
    assert titles(charlie) == ["bob@example.com was taken out of Alice's team"]


def test_ownership_and_the_end_of_a_team_are_told(alice: User, bob: User, team: Team) -> None:
    teams.hand_over(actor=alice, team=team, user_id=bob.pk)
    teams.dissolve(actor=bob, team=team, confirmed=team.name)
    assert titles(bob) == ["You are now its owner: Alice's team"]
    assert titles(alice) == ["The team Alice's team was dissolved"]


def test_members_are_told_of_a_shared_key_but_not_who_changed_it(alice: User, bob: User, team: Team) -> None:
    provider = registry.get("openai")
    made = keys.set_key(actor=alice, owner=Owner("team", team.pk), provider=provider, fields={"api_key": KEY})
    keys.set_active(actor=alice, credential=made, active=False)
    keys.remove(actor=alice, credential=made)
    assert titles(bob) == [
        "Alice's team: the shared OpenAI key was set",
        "Alice's team: the shared OpenAI key was switched off",
        "Alice's team: the shared OpenAI key was removed",
    ]
    assert titles(alice) == []
    assert KEY not in str(list(inbox.of(bob.pk).values()))
    keys.set_key(actor=bob, owner=Owner("user", bob.pk), provider=provider, fields={"api_key": KEY})
    assert len(titles(bob)) == 3
