"""The mails that people get: what is on its way to them is delivered first."""

from datetime import UTC, datetime

from django.core import mail
from django.core.mail import EmailMessage

from digitalme.notifications import letters

# After every time that a test gives to its rows.
LATER = datetime(2200, 1, 1, tzinfo=UTC)


def sent() -> list[EmailMessage]:
    """Return all mails that went out, those that are due included."""
    letters.send_due(now=LATER)
    found: list[EmailMessage] = mail.outbox
    return found
