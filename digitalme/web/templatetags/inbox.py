"""The bell in the header of every page."""

from django import template

from digitalme.accounts.models import User
from digitalme.notifications import inbox

register = template.Library()


@register.simple_tag
def unread_count(user: User) -> str:
    """Return how many notifications somebody has not read, empty for none."""
    number = inbox.unread(user.pk)
    if number >= inbox.MOST_COUNTED:
        return f"{inbox.MOST_COUNTED - 1}+"
    return str(number) if number else ""
