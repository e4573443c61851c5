"""The providers there are: built-in definitions with the operator's upstreams applied."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

from digitalme.errors import NotFound
from providers import manifest
from providers.manifest import ErrorShape, Manifest, Operation

CATALOG = Path(__file__).parent / "catalog"
BUILT_IN = ("anthropic", "openai", "slack", "github", "clickup", "telegram", "google", "twocaptcha", "sandbox")


@dataclass(frozen=True)
class Provider:
    """A provider as this installation reaches it.

    `upstream` is the address that a path is appended to, without a final slash; empty for the
    sandbox, which answers by itself. `operator_upstream` tells that the operator chose the address,
    so that http and private addresses are allowed.
    """

    manifest: Manifest
    upstream: str
    operator_upstream: bool

    @property
    def slug(self) -> str:
        return self.manifest.slug

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def needs_key(self) -> bool:
        return self.manifest.needs_key

    @property
    def error_shape(self) -> ErrorShape:
        return self.manifest.error_shape

    @property
    def destination(self) -> tuple[str, ...]:
        """The origins that this provider's keys may be sent to, as the definition has them.

        They are sealed together with a key. The operator's own upstream does not change them, so
        that stored keys stay readable.
        """
        return self.manifest.origins

    def at(self, path: str) -> "tuple[Provider, str]":
        """Return where a path goes, the provider at that host, and the path as it is sent there.

        An operator's upstream takes all paths as they come: it stands for every host.
        """
        if self.manifest.hosts and not self.operator_upstream:
            for host in self.manifest.hosts:
                if host.takes(path):
                    there = Provider(self.manifest, host.base_url, False)
                    return there, (path[len(host.prefix) :] or "/") if host.strip else path
        return self, path

    def match(self, method: str, path: str) -> Operation | None:
        """Return the operation for this method and path (what follows /gateway/<slug>), if there is one."""
        return self.manifest.match(method, path)


@cache
def _manifests() -> tuple[Manifest, ...]:
    return tuple(manifest.load(CATALOG / f"{slug}.toml") for slug in BUILT_IN)


class _Known:
    """The providers for one set of upstreams; a change of the setting makes a new one."""

    def __init__(self, upstreams: Mapping[str, str]) -> None:
        self.source = dict(upstreams)
        self.by_slug = {one.slug: _provider(one, self.source.get(one.slug, "")) for one in _manifests()}
        self.all = tuple(self.by_slug.values())


_known: _Known | None = None


def _current() -> _Known:
    global _known
    upstreams = settings.DIGITALME_UPSTREAMS
    if _known is None or _known.source != upstreams:
        _known = _Known(upstreams)
    return _known


def _provider(definition: Manifest, override: str) -> Provider:
    if not override or not definition.base_url:
        return Provider(definition, definition.base_url, False)
    # Paths begin with /v1 already; many people write the base as their SDK wants it, with /v1.
    return Provider(definition, override.rstrip("/").removesuffix("/v1").rstrip("/"), True)


def get(slug: str) -> Provider:
    """Return the provider of that slug. Raises NotFound."""
    provider = _current().by_slug.get(slug)
    if provider is None:
        raise NotFound(f"There is no provider {slug[:64]!r} here. Known: {', '.join(_current().by_slug)}.")
    return provider


def all_providers() -> tuple[Provider, ...]:
    """Return every provider, by slug."""
    return _current().all
