"""What people can be told about, and by which ways."""

from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    """A way to reach somebody."""

    INBOX = "inbox"
    MAIL = "mail"
    WEBHOOK = "webhook"


class Kind(StrEnum):
    """What a notification is about; webhooks name it as the type of their event."""

    QUOTA = "quota.threshold"
    DEMO = "demo.ending"
    BUDGET = "budget.passed"
    FORECAST = "forecast.over_limit"
    SPEND = "spend.unusual"
    KEY_FAILING = "key.failing"
    KEY_EXPIRING = "key.expiring"
    SIGN_IN = "sign_in.new"
    TEAM = "team.changed"
    RAISE = "raise.answered"
    GIFT = "gift.given"
    WEBHOOK = "webhook.failing"
    EXPORT = "export.ready"
    RAISE_ASKED = "raise.asked"
    UNPRICED = "model.unpriced"


@dataclass(frozen=True, slots=True)
class About:
    """A kind in words, and by which ways it does not go to somebody who chose nothing, and to nobody ever."""

    label: str
    help: str
    icon: str
    off: frozenset[Channel] = frozenset()
    never: frozenset[Channel] = frozenset()
    for_staff: bool = False


_NO_MAIL = frozenset({Channel.MAIL})
_NO_WEBHOOK = frozenset({Channel.WEBHOOK})
ABOUT: dict[Kind, About] = {
    Kind.QUOTA: About(
        "Limits", "A limit is 50, 80, 95 or 100 percent used. The first of these is not worth a mail.", "gauge"
    ),
    Kind.DEMO: About("Demo", "The demo is nearly or entirely used up.", "gauge"),
    Kind.BUDGET: About("Budgets that only warn", "You went past one.", "gauge"),
    Kind.FORECAST: About("Forecast", "At the present pace a monthly limit will not last the month.", "chart-column"),
    Kind.SPEND: About("Unusual spending", "Today costs much more than your days usually do.", "chart-column"),
    Kind.KEY_FAILING: About("Failing keys", "A provider no longer accepts a key.", "key-round"),
    Kind.KEY_EXPIRING: About("Expiring keys", "A key expires, or is to be replaced, soon.", "key-round"),
    Kind.SIGN_IN: About("New sign-ins", "Somebody signed in from a place or with a device not seen before.", "log-in"),
    Kind.TEAM: About("Teams", "Who joins and leaves, roles, shared keys.", "users-round", _NO_MAIL),
    Kind.RAISE: About("Answers", "What became of your request for more.", "gauge"),
    Kind.GIFT: About("Gifts", "Somebody gave you a part of their allowance, or you gave some.", "gift"),
    Kind.EXPORT: About("Exports", "A file of your calls is ready, or could not be made.", "download"),
    Kind.WEBHOOK: About("Failing webhooks", "One of yours takes nothing.", "webhook", _NO_WEBHOOK, _NO_WEBHOOK),
    Kind.RAISE_ASKED: About("Requests", "Somebody asks for more than a limit allows.", "gauge", for_staff=True),
    Kind.UNPRICED: About(
        "Models without a price",
        "Calls of a model are recorded whose price is not known.",
        "circle-help",
        for_staff=True,
    ),
}


def offered_to(*, staff: bool) -> list[Kind]:
    """Return the kinds that somebody can choose about, in the order of pages."""
    return [kind for kind, about in ABOUT.items() if staff or not about.for_staff]
