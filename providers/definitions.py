"""Install, change, switch and remove provider definitions; every process sees it within a second."""

import uuid

from django.db import transaction

from digitalme.errors import SecurityViolation
from providers import addresses, installed, manifest, registry
from providers.builtin import BUILT_IN
from providers.manifest import Manifest, ManifestProblem
from providers.models import CatalogueStamp, ProviderDefinition

WHERE = "definition"


def checked(text: str, *, slug: str = "", where: str = WHERE) -> Manifest:
    """Return a definition that may be installed, or may take the place of the one of that slug.

    Raises ManifestProblem, which names every mistake: what cannot be read, a slug that is built in or taken,
    an address that is not on the public internet.
    """
    found = manifest.read(text, where)
    if found.slug in BUILT_IN:
        raise ManifestProblem(f"{where}: '{found.slug}' is built in and cannot be replaced; choose another slug.")
    if found.adapter:
        raise ManifestProblem(f"{where}: 'adapter' is for built-in providers alone; remove it.")
    if slug and found.slug != slug:
        raise ManifestProblem(f"{where}: 'slug' must stay '{slug}'; to rename a provider, install it anew.")
    if found.slug in installed.folder().definitions:
        raise ManifestProblem(f"{where}: '{found.slug}' is defined by a file of the operator's; choose another slug.")
    if not slug and ProviderDefinition.objects.filter(slug=found.slug).exists():
        raise ManifestProblem(f"{where}: '{found.slug}' is installed already; change it there.")
    check_origins(found, where)
    return found


@transaction.atomic
def install(text: str) -> ProviderDefinition:
    """Install a definition. Raises ManifestProblem."""
    row = ProviderDefinition.objects.create(slug=checked(text).slug, definition=text)
    announce()
    return row


@transaction.atomic
def change(row: ProviderDefinition, text: str) -> None:
    """Put another definition in the place of an installed one. Raises ManifestProblem.

    Stored keys are sealed for the addresses of the definition that they were entered under: if these
    change, the keys open no more and must be entered again.
    """
    if row.is_built_in:
        raise ManifestProblem(f"{WHERE}: '{row.slug}' is built in and cannot be replaced; choose another slug.")
    checked(text, slug=row.slug)
    row.definition = text
    row.save(update_fields=["definition", "updated_at"])
    announce()


@transaction.atomic
def switch(row: ProviderDefinition, *, on: bool) -> None:
    """Let a provider be called and shown, or not. Its keys and records stay."""
    row.is_enabled = on
    row.save(update_fields=["is_enabled", "updated_at"])
    announce()


@transaction.atomic
def remove(row: ProviderDefinition) -> None:
    """Remove an installed definition. Keys and records stay; the keys serve again if a provider of this slug with
    the same addresses is installed. Raises ManifestProblem for a built-in one, which can be switched off."""
    if row.is_built_in:
        raise ManifestProblem(f"{WHERE}: '{row.slug}' is built in; it can be switched off, not removed.")
    row.delete()
    announce()


def check_origins(found: Manifest, where: str) -> None:
    """Raise ManifestProblem if an address of a definition is none that a key may ever be sent to."""
    for origin in found.origins:
        try:
            addresses.check_url(origin.replace("://*.", "://any."), operator=False)
        except SecurityViolation as problem:
            raise ManifestProblem(f"{where}: 'base_url' {origin} cannot be used: {problem.message}") from None


def list_built_in() -> None:
    """See that each built-in provider has its row, by which it can be switched off."""
    ProviderDefinition.objects.bulk_create([ProviderDefinition(slug=slug) for slug in BUILT_IN], ignore_conflicts=True)


def announce() -> None:
    """Change the stamp, and look at once in this process."""
    CatalogueStamp.objects.update_or_create(id=1, defaults={"stamp": uuid.uuid4()})
    registry.refresh()
