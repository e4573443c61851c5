"""What happened to somebody's account lately, in plain words."""

from dataclasses import dataclass
from datetime import datetime

from digitalme.accounts.models import User
from digitalme.audit import reading
from digitalme.audit.actions import Action
from digitalme.audit.models import AuditEvent
from digitalme.errors import DigitalMeError
from providers import registry

SHOWN = 10
_KEY, _PERSON, _TEAM, _WARNING = "key-round", "user-round", "users-round", "triangle-alert"
_WORDS: dict[Action | None, tuple[str, str]] = {
    Action.CREDENTIAL_SET: (_KEY, "{provider} key saved"),
    Action.CREDENTIAL_REMOVED: (_KEY, "{provider} key removed"),
    Action.CREDENTIAL_DISABLED: (_KEY, "{provider} key switched off"),
    Action.CREDENTIAL_ENABLED: (_KEY, "{provider} key switched on"),
    Action.CREDENTIAL_TESTED: (_KEY, "{provider} key tested"),
    Action.CREDENTIAL_REJECTED: (_WARNING, "{provider} no longer accepts the key: make a new one"),
    Action.CREDENTIAL_UNREADABLE: (_WARNING, "{provider} key could not be read: enter it again"),
    Action.CREDENTIAL_GRANT_ENDED: (_KEY, "Access to {provider} by consent given back"),
    Action.SYSTEM_KEY_SET: (_KEY, "{provider} key of the house saved"),
    Action.SYSTEM_KEY_REMOVED: (_KEY, "{provider} key of the house removed"),
    Action.TOKEN_ISSUED: ("ticket", "Access token made"),
    Action.TOKEN_REVOKED: ("ticket", "Access token revoked"),
    Action.WEBHOOK_ADDED: ("webhook", "Webhook added"),
    Action.WEBHOOK_SECRET_CHANGED: ("webhook", "Webhook given another secret"),
    Action.WEBHOOK_ENABLED: ("webhook", "Webhook switched on"),
    Action.WEBHOOK_DISABLED: ("webhook", "Webhook switched off"),
    Action.WEBHOOK_REMOVED: ("webhook", "Webhook removed"),
    Action.USER_CREATED: (_PERSON, "Account made"),
    Action.USER_CHANGED: (_PERSON, "Account details changed"),
    Action.USER_DISABLED: (_PERSON, "Account disabled"),
    Action.USER_ENABLED: (_PERSON, "Account enabled"),
    Action.USER_ROLE_CHANGED: (_PERSON, "Role changed"),
    Action.USER_FALLBACK_CHANGED: (_KEY, "Changed what happens when an own key fails"),
    Action.USER_TIER_CHANGED: (_PERSON, "Tier changed"),
    Action.TEAM_CREATED: (_TEAM, "Team made"),
    Action.TEAM_CHANGED: (_TEAM, "Team changed"),
    Action.TEAM_DELETED: (_TEAM, "Team dissolved"),
    Action.TEAM_INVITED: (_TEAM, "Somebody invited to a team"),
    Action.TEAM_INVITATION_WITHDRAWN: (_TEAM, "Invitation to a team withdrawn"),
    Action.TEAM_INVITATION_DECLINED: (_TEAM, "Invitation to a team declined"),
    Action.TEAM_JOINED: (_TEAM, "Team joined"),
    Action.TEAM_LEFT: (_TEAM, "Team left"),
    Action.TEAM_MEMBER_REMOVED: (_TEAM, "Taken out of a team"),
    Action.TEAM_ROLE_CHANGED: (_TEAM, "Role in a team changed"),
    Action.TEAM_HANDED_OVER: (_TEAM, "Team handed over"),
    Action.ALLOCATION_SET: ("gauge", "Limit changed"),
    Action.LIMITS_ADJUSTED: ("gauge", "Share of the tier's limits changed"),
    Action.EMERGENCY_USED: ("gauge", "A critical call went beyond a limit"),
    Action.RAISE_ASKED: ("gauge", "More asked for"),
    Action.RAISE_GRANTED: ("gauge", "More granted for a while"),
    Action.RAISE_REFUSED: ("gauge", "More refused"),
    Action.RAISE_ENDED: ("gauge", "Raise ended early"),
    Action.GIFT_GIVEN: ("gift", "Allowance given"),
    Action.LIMIT_SET: ("gauge", "Limit changed"),
    Action.LIMIT_REMOVED: ("gauge", "Limit removed"),
    Action.LOGIN: ("log-in", "Signed in"),
    Action.LOGIN_FAILED: (_WARNING, "Someone tried to sign in and failed"),
    Action.LOGIN_CONFIRMED: ("log-in", "Password confirmed"),
    Action.LOGOUT: ("log-out", "Signed out"),
    Action.PASSWORD_CHANGED: ("lock-keyhole", "Password changed"),
    Action.PASSWORD_RESET: ("lock-keyhole", "Password reset by mail"),
    Action.EMAIL_CONFIRMED: ("mail", "E-mail address confirmed"),
    Action.EMAIL_CHANGED: ("mail", "E-mail address changed"),
    Action.SECOND_FACTOR_ADDED: ("smartphone", "Second factor set up"),
    Action.SECOND_FACTOR_REMOVED: ("smartphone", "Second factor removed"),
}
_BY = {
    "you": "by you",
    "staff": "by an administrator",
    "team": "by somebody who looks after the team",
    "command": "by the server's operator",
    "task": "by itself",
    "gateway": "during a call",
    "visitor": "without being signed in",
}


@dataclass(frozen=True, slots=True)
class Activity:
    """One line of the list."""

    icon: str
    sentence: str
    by: str
    address: str
    at: datetime


def recent(user: User) -> list[Activity]:
    """Return the latest things that the person did or that were done to what is theirs, newest first."""
    return [_line(event, user) for event in reading.concerning(user.pk)[:SHOWN]]


def _line(event: AuditEvent, user: User) -> Activity:
    icon, words = _WORDS.get(_action(event), ("circle-dot", _said(event.action)))
    seen = reading.seen_by(event, user.pk)
    return Activity(icon, words.format(provider=_provider(event)), _BY.get(seen.by, ""), seen.address, event.at)


def _action(event: AuditEvent) -> Action | None:
    return Action(event.action) if event.action in list(Action) else None


def _said(action: str) -> str:
    """Words for what has none of its own: "master_key.promoted" becomes "Master key promoted"."""
    return action.replace(".", " ").replace("_", " ").capitalize()


def _provider(event: AuditEvent) -> str:
    slug = str(event.facts.get("provider", ""))
    try:
        return registry.get(slug).name
    except DigitalMeError:
        return slug
