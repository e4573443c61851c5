"""Reading a mapping by a key that is only known in the template."""

from collections.abc import Mapping

from django import template

register = template.Library()


@register.filter
def named(names: Mapping[str, str], key: str) -> str:
    """Return the name of this key, or the key itself."""
    return names.get(key, key)
