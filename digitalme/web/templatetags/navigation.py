"""Where a person is within the settings."""

from dataclasses import dataclass
from typing import Any

from django import template

register = template.Library()


@dataclass(frozen=True)
class Item:
    """One entry of the side navigation; `prefixes` are the paths at which it is the current one."""

    label: str
    url_name: str
    icon: str
    prefixes: tuple[str, ...]


ITEMS = (
    Item("Profile", "settings_profile", "user-round", ("/settings/profile/", "/accounts/email/")),
    Item(
        "Preferences", "settings_preferences", "sliders-horizontal", ("/settings/preferences/", "/settings/webhooks/")
    ),
    Item("API keys", "settings_api", "key-round", ("/settings/api/",)),
    Item("Usage", "settings_usage", "chart-column", ("/settings/usage/",)),
    Item("Team", "settings_team", "users-round", ("/settings/team/",)),
    Item("Security", "settings_security", "shield", ("/settings/security/", "/accounts/")),
)


@register.inclusion_tag("includes/settings_nav.html", takes_context=True)
def settings_nav(context: dict[str, Any]) -> dict[str, Any]:
    """Render the side navigation with the current page marked."""
    path = context["request"].path
    current = next((item for item in ITEMS if path.startswith(item.prefixes)), None)
    return {"items": ITEMS, "current": current}
