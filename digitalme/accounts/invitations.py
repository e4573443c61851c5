"""Invitations into teams: by mail, with a signed link that works once, for one address, for a week.

The same happens whether somebody of the address has an account or not, so inviting tells nothing about that.
"""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.template.loader import render_to_string

from digitalme.accounts import teams
from digitalme.accounts.models import Invitation, Membership, Team, User
from digitalme.accounts.teams import MANAGERS, Role
from digitalme.audit.actions import Action
from digitalme.errors import InvalidRequest, NotFound, ProviderUnavailable, QuotaExceeded

LIFE = timedelta(days=7)
# Letters go to strangers, so nobody sends many.
MOST_A_DAY = 50
_DAY = timedelta(days=1)
_SALT = "digitalme.accounts.invitation"
_GONE = (
    "This invitation cannot be used: it was answered, withdrawn or is too old, or it is for another address. "
    "Sign in with the account of the address that it was sent to, or ask for a new one."
)

log = logging.getLogger(__name__)
State = Invitation.State


def open_invitations(team: Team, now: datetime) -> QuerySet[Invitation]:
    """Return the invitations into a team that can still be accepted, newest first."""
    return Invitation.objects.filter(team=team, state=State.OPEN, expires_at__gt=now).select_related("invited_by")


def invite(*, actor: User, team: Team, email: str, role: str = Role.MEMBER, now: datetime) -> Invitation:
    """Ask somebody into a team by mail. Another invitation of the same address is withdrawn by it.

    Admins ask in members, the owner admins too. Raises SecurityViolation, InvalidRequest for an address or role
    that cannot be, or a member's address, QuotaExceeded for too many letters within a day, and
    ProviderUnavailable, with nothing left behind, if the letter cannot be sent.
    """
    email = _address(email)
    invitation = _write(actor, team, email, role, now)
    try:
        _send(invitation, actor, team)
    except OSError as problem:  # which what a mail server answers is too
        log.warning("An invitation could not be sent: %s", type(problem).__name__)
        withdraw(actor=actor, team=team, invitation_id=invitation.pk)
        raise ProviderUnavailable("The letter could not be sent, so nobody is invited. Try again later.") from None
    return invitation


@transaction.atomic
def _write(actor: User, team: Team, email: str, role: str, now: datetime) -> Invitation:
    mine = teams.locked(actor, team, *MANAGERS)
    if role not in (Role.ADMIN, Role.MEMBER):
        raise InvalidRequest("People are asked in as a member or an admin.")
    if role == Role.ADMIN and mine.role != Role.OWNER:
        raise InvalidRequest("Only the owner asks in admins.")
    if Membership.objects.filter(team=team, user__email__iexact=email).exists():
        raise InvalidRequest("Somebody of this address belongs to the team already.")
    _check_rate(actor, now)
    Invitation.objects.filter(team=team, email=email, state=State.OPEN).update(state=State.WITHDRAWN)
    invitation = Invitation.objects.create(
        team=team, email=email, role=role, invited_by=actor, created_at=now, expires_at=now + LIFE
    )
    teams.record(Action.TEAM_INVITED, team, actor, role=Role(role))
    return invitation


def _check_rate(actor: User, now: datetime) -> None:
    User.objects.select_for_update().get(pk=actor.pk)
    sent = Invitation.objects.filter(invited_by=actor, created_at__gt=now - _DAY).order_by("-created_at")
    counted = list(sent.values_list("created_at", flat=True)[:MOST_A_DAY])
    if len(counted) == MOST_A_DAY:
        wait = int((counted[-1] + _DAY - now).total_seconds()) + 1
        raise QuotaExceeded(f"One person invites up to {MOST_A_DAY} people a day. Go on later.", retry_after=wait)


def _send(invitation: Invitation, actor: User, team: Team) -> None:
    link = f"{settings.SITE_URL}/settings/team/invitation/{link_token(invitation)}/"
    facts = {"team": team, "inviter": actor, "invitation": invitation, "link": link, "days": LIFE.days}
    subject = " ".join(render_to_string("emails/team_invitation.subject.txt", facts).split())
    EmailMessage(subject, render_to_string("emails/team_invitation.txt", facts), to=[invitation.email]).send()


def link_token(invitation: Invitation) -> str:
    """Return what the link of an invitation ends with."""
    return signing.dumps(invitation.pk.hex, salt=_SALT)


def find(user: User, token: str, *, now: datetime) -> Invitation:
    """Return the open invitation of a link, for somebody who has the address that it was sent to.

    Raises NotFound with one and the same sentence whatever is wrong with it.
    """
    try:
        invitation_id = UUID(signing.loads(token, salt=_SALT))
    except (signing.BadSignature, ValueError, TypeError, AttributeError):
        raise NotFound(_GONE) from None
    found = Invitation.objects.filter(pk=invitation_id, state=State.OPEN, expires_at__gt=now)
    invitation = found.select_related("team", "invited_by").first()
    if invitation is None or not _theirs(user, invitation.email):
        raise NotFound(_GONE)
    return invitation


def accept(*, actor: User, token: str, now: datetime) -> Team:
    """Join the team that a link asks into. Raises NotFound, and InvalidRequest if the team is full."""
    with transaction.atomic():
        invitation = _close(actor, token, State.ACCEPTED, now)
        teams.join(team=invitation.team, user=actor, role=invitation.role, now=now)
    return invitation.team


def decline(*, actor: User, token: str, now: datetime) -> Team:
    """Say no to an invitation; it cannot be accepted any more. Raises NotFound."""
    with transaction.atomic():
        team = _close(actor, token, State.DECLINED, now).team
        teams.record(Action.TEAM_INVITATION_DECLINED, team, actor)
    return team


@transaction.atomic
def withdraw(*, actor: User, team: Team, invitation_id: UUID) -> None:
    """Take an invitation back: its link works no more. Raises SecurityViolation for a plain member, NotFound if it is
    not open."""
    teams.locked(actor, team, *MANAGERS)
    those = Invitation.objects.filter(pk=invitation_id, team=team, state=State.OPEN)
    if not those.update(state=State.WITHDRAWN):
        raise NotFound("There is no such open invitation of this team.")
    teams.record(Action.TEAM_INVITATION_WITHDRAWN, team, actor)


def _close(actor: User, token: str, state: str, now: datetime) -> Invitation:
    """Answer an invitation; of two answers at once the second finds none."""
    invitation = find(actor, token, now=now)
    Team.objects.select_for_update().get(pk=invitation.team_id)
    if not Invitation.objects.filter(pk=invitation.pk, state=State.OPEN).update(state=state):
        raise NotFound(_GONE)
    return invitation


def _theirs(user: User, email: str) -> bool:
    """Whether the address is one of the person's. The link, which went there, proves that they read its mail."""
    return user.email.lower() == email or EmailAddress.objects.filter(user=user, email__iexact=email).exists()


def _address(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidRequest("This is no e-mail address.", field="email") from None
    if len(email) > 254:
        raise InvalidRequest("This is no e-mail address.", field="email")
    return email
