"""The providers there are: built-in, installed and the operator's, with the operator's upstreams applied."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from digitalme.errors import NotFound
from providers import installed, manifest
from providers.builtin import BUILT_IN, CATALOG
from providers.installed import Catalogue, Origin
from providers.manifest import ErrorShape, Manifest, Operation

CHECK_SECONDS = 1.0  # how long an installed provider may take to be seen


@dataclass(frozen=True)
class Provider:
    """A provider as this installation reaches it.

    `upstream` is the address that a path is appended to, without a final slash; empty for the
    sandbox, which answers by itself. `operator_upstream` tells that the operator chose the address,
    so that http and private addresses are allowed. `origin` tells where the definition comes from.
    """

    manifest: Manifest
    upstream: str
    operator_upstream: bool
    origin: Origin = "built-in"

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
                if there := host.at(path):
                    return Provider(self.manifest, there[0], False, self.origin), there[1]
        return self, path

    def pinned(self, url: str) -> str:
        """Return where one of the definition's fixed addresses is here: at the operator's upstream, if there is
        one, whatever path that has."""
        if not self.operator_upstream:
            return url
        origin, there = urlsplit(self.upstream), urlsplit(url)
        return f"{origin.scheme}://{origin.netloc}{there.path}"

    def match(self, method: str, path: str) -> Operation | None:
        """Return the operation for this method and path (what follows /gateway/<slug>), if there is one."""
        return self.manifest.match(method, path)


@cache
def _manifests() -> tuple[Manifest, ...]:
    return tuple(manifest.load(CATALOG / f"{slug}.toml") for slug in BUILT_IN)


class _Known:
    """The providers for one set of upstreams and one catalogue; a change of either makes a new one."""

    def __init__(self, upstreams: Mapping[str, str], catalogue: Catalogue) -> None:
        self.source, self.catalogue = dict(upstreams), catalogue
        built_in: list[tuple[Manifest, Origin]] = [(one, "built-in") for one in _manifests()]
        every = [
            _provider(one, self.source.get(one.slug, ""), origin)
            for one, origin in (*built_in[:-1], *catalogue.definitions, built_in[-1])
        ]
        self.by_slug = {one.slug: one for one in every if one.slug not in catalogue.off}
        self.off = {one.slug: one.name for one in every if one.slug in catalogue.off}
        self.all = tuple(self.by_slug.values())


_known: _Known | None = None
_catalogue = Catalogue()
_due = 0.0


def _current() -> _Known:
    global _known
    if time.monotonic() >= _due and not _in_event_loop():
        refresh()
    upstreams = settings.DIGITALME_UPSTREAMS
    if _known is None or _known.catalogue is not _catalogue or _known.source != upstreams:
        _known = _Known(upstreams, _catalogue)
    return _known


def refresh() -> None:
    """Look whether definitions were installed, changed or removed.

    It asks the database, so an event loop must not call it; there, whoever owns the loop has a thread of
    their own do it every CHECK_SECONDS. Everywhere else it happens by itself, that often at most.
    """
    global _catalogue, _due
    _due = time.monotonic() + CHECK_SECONDS
    _catalogue = installed.current(_catalogue, frozenset(BUILT_IN))


def prices() -> Mapping[str, tuple[Any, ...]]:
    """Return the house's own prices by provider (providers.prices), as they were last read."""
    return _catalogue.prices


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _provider(definition: Manifest, override: str, origin: Origin) -> Provider:
    if not override or not definition.base_url:
        return Provider(definition, definition.base_url, False, origin)
    # Paths begin with /v1 already; many people write the base as their SDK wants it, with /v1.
    return Provider(definition, override.rstrip("/").removesuffix("/v1").rstrip("/"), True, origin)


def get(slug: str) -> Provider:
    """Return the provider of that slug. Raises NotFound."""
    known = _current()
    provider = known.by_slug.get(slug)
    if provider is None:
        if slug in known.off:
            raise NotFound(f"{known.off[slug]} is switched off on this server. Ask its administrator.")
        raise NotFound(f"There is no provider {slug[:64]!r} here. Known: {', '.join(known.by_slug)}.")
    return provider


def all_providers() -> tuple[Provider, ...]:
    """Return every provider, by slug."""
    return _current().all
