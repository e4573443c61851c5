"""Definitions beside the built-in ones: those of the operator's folder, and those that were installed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from django.conf import settings
from django.db import DatabaseError

from providers import manifest
from providers.builtin import BUILT_IN
from providers.manifest import Manifest, ManifestProblem

log = logging.getLogger(__name__)
Origin = Literal["built-in", "folder", "installed"]


@dataclass(frozen=True)
class Catalogue:
    """What there is beside the built-in definitions, which slugs are switched off, and the house's prices
    (providers.prices). `stamp` changes when any of it does."""

    stamp: Any = None
    definitions: tuple[tuple[Manifest, Origin], ...] = ()
    off: frozenset[str] = frozenset()
    prices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """The usable definitions of the operator's folder, and a sentence for each file that is none."""

    definitions: dict[str, Manifest] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


# The last usable content of each file: one that is saved half-way does not take its provider away.
_last_good: dict[Path, Manifest] = {}


def current(before: Catalogue, built_in: frozenset[str]) -> Catalogue:
    """Return what there is now; the catalogue from before itself, if nothing changed.

    It costs one small query and a look at the folder's file names. While the database cannot be
    read, what was known before goes on.
    """
    from providers import price_rows
    from providers.models import CatalogueStamp, ProviderDefinition

    try:
        stamp = (CatalogueStamp.objects.values_list("stamp", flat=True).first(), _signature())
        if stamp == before.stamp:
            return before
        rows = list(ProviderDefinition.objects.values_list("slug", "definition", "is_enabled"))
        agreed = price_rows.read()
    except DatabaseError as problem:
        log.warning("provider definitions not read problem=%s", type(problem).__name__)
        return before
    found = folder()
    for sentence in found.problems:
        log.error("provider definition not usable problem=%s", sentence)
    named = {slug: one for slug, one in found.definitions.items() if slug not in built_in}
    definitions: list[tuple[Manifest, Origin]] = [(one, "folder") for one in named.values()]
    for slug, text, _ in rows:
        if text and slug not in built_in and slug not in named and (one := _stored(slug, text)):
            definitions.append((one, "installed"))
    # The operator's folder is not for people in the admin to switch off.
    off = frozenset(slug for slug, _, enabled in rows if not enabled and slug not in named)
    return Catalogue(stamp, tuple(sorted(definitions, key=lambda one: one[0].name.lower())), off, agreed)


def folder() -> Folder:
    """Read the operator's folder, if one is set."""
    definitions: dict[str, Manifest] = {}
    problems: list[str] = []
    for file in _files():
        try:
            one = manifest.load(file)
            if one.slug in BUILT_IN:
                raise ManifestProblem(f"{file.name}: '{one.slug}' is built in; choose another slug.")
            if one.adapter:
                raise ManifestProblem(f"{file.name}: 'adapter' is for built-in providers alone; remove it.")
            _last_good[file] = one
        except ManifestProblem as problem:
            problems.append(str(problem))
            if file not in _last_good:
                continue
            one = _last_good[file]
        if one.slug in definitions:
            problems.append(f"{file.name}: '{one.slug}' is defined by another file already; keep one of them.")
            continue
        definitions[one.slug] = one
    if settings.DIGITALME_PROVIDERS_DIR and not Path(settings.DIGITALME_PROVIDERS_DIR).is_dir():
        problems.append("DIGITALME_PROVIDERS_DIR names no folder; make it, or leave the variable out.")
    return Folder(definitions, tuple(problems))


def _files() -> list[Path]:
    place = settings.DIGITALME_PROVIDERS_DIR
    return sorted(Path(place).glob("*.toml")) if place else []


def _signature() -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a file does."""
    found = []
    for file in _files():
        try:
            facts = file.stat()
        except OSError:
            continue
        found.append((file.name, facts.st_mtime_ns, facts.st_size))
    return tuple(found)


def _stored(slug: str, text: str) -> Manifest | None:
    """Return a stored definition. One that an older release let in and this one does not is left out."""
    try:
        one = manifest.read(text, slug)
    except ManifestProblem as problem:
        log.error("provider definition not usable problem=%s", problem)
        return None
    return one if one.slug == slug else None
