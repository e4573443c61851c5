"""The adapters there are, by the name that a definition calls them."""

from collections.abc import Mapping

from providers import auth, mail, mcp, sandbox
from providers.adapter import Adapter
from providers.registry import Provider
from providers.secrets import Secret

_ADAPTERS: Mapping[str, Adapter] = {"mail": mail.Mail(), "mcp": mcp.Mcp(), "sandbox": sandbox.Sandbox()}


def of(provider: Provider) -> Adapter | None:
    """Return what answers in the provider's place, None where its definition says everything."""
    name = provider.manifest.adapter
    return _ADAPTERS[name] if name else None


def check_fields(provider: Provider, fields: Mapping[str, Secret]) -> None:
    """Raise InvalidKeyFormat, without a value, unless these fields can be a credential of the provider's: each by
    itself, and together."""
    auth.check_fields(provider.manifest, fields)
    if adapter := of(provider):
        adapter.check_fields(provider.manifest, fields)


def destination(provider: Provider, fields: Mapping[str, Secret]) -> tuple[str, ...]:
    """Return the places that a credential with these fields may be sent to."""
    adapter = of(provider)
    return adapter.destination(provider, fields) if adapter else provider.destination


def moved(provider: Provider, sealed_for: tuple[str, ...]) -> bool:
    """Whether the provider is reached elsewhere than a credential was sealed for, which therefore opens no more."""
    return not own_destination(provider) and sealed_for != provider.destination


def own_destination(provider: Provider) -> bool:
    """Whether each credential names for itself where it may be sent."""
    adapter = of(provider)
    return adapter is not None and adapter.own_destination
