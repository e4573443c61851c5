"""Access tokens that live for an hour: a fresh one before each call.

A token of a consent is renewed with its refresh token, once for all who need it. Who renews holds a claim on the
consent's row and not the row itself, which would hold up everything else that writes (on SQLite the whole
database) for as long as the provider takes. A service account's token is signed for, and kept in this process alone.
"""

import asyncio
import contextvars
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.views.decorators.debug import sensitive_variables

from apikeys import grants, keys, resolution
from apikeys.models import Consent, Credential
from apikeys.resolution import KeySource, ResolvedKey
from digitalme.audit import log as trail
from digitalme.audit.actions import Action, ActorKind
from digitalme.errors import DigitalMeError, KeyNotFound, ProviderUnavailable
from providers import consent, google, registry
from providers.consent import Grant
from providers.manifest import Manifest
from providers.registry import Provider
from providers.secrets import Secret
from providers.validation import Category

REFRESH, EXPIRY = grants.REFRESH, grants.EXPIRY
MARGIN_SECONDS = 60
# Longer than a request to a provider may take: after it, whoever had the claim is gone.
CLAIM = timedelta(seconds=30)
REST = timedelta(seconds=5)
WAIT_SECONDS, LOOK_SECONDS = 15.0, 0.05
KEPT_TOKENS = 1_000
ENDED = "The access to {name} that was given by consent has ended: it was taken back there, or not used for too long."
_WHAT_NOW = {
    KeySource.USER: "Connect again at {site}/settings/api/.",
    KeySource.TEAM: "Whoever looks after your team's keys can connect again at {site}/settings/team/.",
    KeySource.SYSTEM: "It was this server's own: add a key of yours at {site}/settings/api/.",
}

Fields = Mapping[str, Secret]
log = logging.getLogger(__name__)
_threads = ThreadPoolExecutor(16, "renew")
_running: dict[tuple[UUID, int], "asyncio.Task[Fields]"] = {}
_signed: OrderedDict[tuple[UUID, int], google.Token] = OrderedDict()


def fields_of(provider: Provider, grant: Grant, now: datetime, before: Fields | None = None) -> dict[str, Secret]:
    """Return a grant as the fields of a key; without a new refresh token the one from `before` goes on."""
    if provider.manifest.oauth is None:
        raise ValueError("The provider knows no consent.")
    found = {provider.manifest.oauth.field: grant.access_token}
    refresh = grant.refresh_token or (before or {}).get(REFRESH)
    if refresh is not None:
        found[REFRESH] = refresh
    if grant.expires_in is not None:
        found[EXPIRY] = Secret(str(int(now.timestamp()) + grant.expires_in))
    return found


def ready(key: ResolvedKey, manifest: Manifest, fields: Fields) -> Fields | None:
    """Return what a call can be made with at once; None if a token must be fetched first.

    On the way of every call: for a key that is none of these it looks into two small dictionaries.
    """
    if EXPIRY in fields:
        return fields if seconds_left(fields) > MARGIN_SECONDS else None
    signer = manifest.signer_of(fields)
    if signer is None:
        return fields
    token = _signed.get((key.credential_id, key.version)) if key.credential_id else None
    if token is None or token.until - time.time() <= MARGIN_SECONDS:
        return None
    return {**fields, signer.gives: token.secret}


def usable(fields: Fields) -> Fields:
    """Return the fields that a call needs: a renewal's own are none of its business."""
    if EXPIRY not in fields and REFRESH not in fields:
        return fields
    return {name: one for name, one in fields.items() if name not in (EXPIRY, REFRESH)}


def seconds_left(fields: Fields) -> float:
    """Return how long the access token lives on."""
    return int(fields[EXPIRY].reveal()) - time.time() if EXPIRY in fields else float("inf")


async def fetched(key: ResolvedKey, fields: Fields) -> Fields:
    """Return the fields with a fresh token, fetched in a thread, once for all calls of this process that wait for it.

    Raises as `fresh`.
    """
    place = (key.credential_id or UUID(int=0), key.version)
    task = _running.get(place)
    if task is None or task.get_loop() is not asyncio.get_running_loop():
        task = _running[place] = asyncio.ensure_future(_aside(key, fields))
        task.add_done_callback(lambda done: _forget(place, done))
    # A caller who leaves must not take it from the others.
    return await asyncio.shield(task)


def _forget(place: tuple[UUID, int], done: "asyncio.Task[Fields]") -> None:
    if _running.get(place) is done:
        del _running[place]
    if not done.cancelled():
        done.exception()  # seen, even if all who waited are gone


async def _aside(key: ResolvedKey, fields: Fields) -> Fields:
    context = contextvars.copy_context()

    def deed() -> Fields:
        try:
            return context.run(fresh, key, fields, kind=ActorKind.GATEWAY)
        finally:
            connection.close()  # this thread needs one for this moment only

    return await asyncio.get_running_loop().run_in_executor(_threads, deed)


@sensitive_variables("fields")
def fresh(
    key: ResolvedKey,
    fields: Fields,
    *,
    kind: ActorKind | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fields:
    """Return the fields with a token that lives for a minute or longer. Blocks while the provider is asked.

    Raises KeyNotFound, whose data["reason"] is `consent`, if the provider says that the access has ended, and
    ProviderUnavailable if it cannot be asked.
    """
    provider = registry.get(key.provider)
    at_hand = ready(key, provider.manifest, fields)
    if at_hand is not None:
        return at_hand
    if EXPIRY not in fields:
        return _signed_for(key, provider, fields, kind)
    if REFRESH not in fields or provider.manifest.oauth is None:
        return _last(key, provider, fields)
    return _Renewal(key, provider, kind, sleep).run(fields)


def _signed_for(key: ResolvedKey, provider: Provider, fields: Fields, kind: ActorKind | None) -> Fields:
    signer = provider.manifest.signer_of(fields)
    if signer is None:
        raise ValueError("Nothing signs here.")
    try:
        token = google.token_of(provider, signer, fields)
    except google.Refused as refused:
        if refused.renewing and refused.code == "invalid_grant" and key.credential_id:
            _reject(key, key.credential_id, google.REFRESH_OVER.format(name=provider.name), kind)
        raise KeyNotFound(
            f"{provider.name} gives no access to what is entered as {signer.label} ({refused.code}). Test it at "
            f"{settings.SITE_URL}/settings/api/, and replace it if need be.",
            reason="consent",
        ) from None
    if key.credential_id is not None:
        _signed[key.credential_id, key.version] = token
        if len(_signed) > KEPT_TOKENS:
            _signed.popitem(last=False)
    return {**fields, signer.gives: token.secret}


def _reject(key: ResolvedKey, id: UUID, detail: str, kind: ActorKind | None) -> None:
    """Note that the provider ended what a key renews its tokens with; its owner is told once."""
    alive = Credential.objects.filter(id=id, version=key.version)
    alive = alive.exclude(status__in=(Credential.Status.EXPIRED, Credential.Status.INVALID))
    with transaction.atomic():
        if alive.update(status=Credential.Status.EXPIRED, status_detail=detail[:200], untold=True):
            trail.record(
                Action.SYSTEM_KEY_REJECTED if key.owner == "system" else Action.CREDENTIAL_REJECTED,
                target=f"credential:{id}",
                subject=key.owner,
                kind=kind,
                provider=key.provider,
                version=key.version,
                category=Category.EXPIRED,
            )


def _last(key: ResolvedKey, provider: Provider, fields: Fields) -> Fields:
    """Return a token in its last minute; raise if it is over."""
    if seconds_left(fields) > 0:
        return fields
    raise KeyNotFound(_ended(provider, key), reason="consent")


def _ended(provider: Provider, key: ResolvedKey) -> str:
    return f"{ENDED} {_WHAT_NOW[key.source]}".format(name=provider.name, site=settings.SITE_URL)


class _Renewal:
    """One attempt to have a fresh token, by renewing it or by waiting for who does."""

    def __init__(
        self, key: ResolvedKey, provider: Provider, kind: ActorKind | None, sleep: Callable[[float], None]
    ) -> None:
        self._key, self._provider, self._kind, self._sleep = key, provider, kind, sleep
        if key.credential_id is None:
            raise ValueError("A key of the environment is renewed by nobody.")
        self._id = key.credential_id
        self._consents = Consent.objects.filter(credential=self._id, version=key.version)
        self._claim = uuid4()

    def run(self, fields: Fields) -> Fields:
        end = time.monotonic() + WAIT_SECONDS
        while True:
            if self._claimed():
                return self._renew(fields)
            stored = self._stored()
            if stored is None:
                return _last(self._key, self._provider, fields)
            if seconds_left(stored) > MARGIN_SECONDS:
                return stored
            known = self._consents.first()
            if known is None:
                return _last(self._key, self._provider, stored)
            if known.ended_at:
                raise KeyNotFound(_ended(self._provider, self._key), reason="consent")
            if (known.rest_until and known.rest_until > _now()) or time.monotonic() > end:
                return self._unrenewed(stored)
            self._sleep(LOOK_SECONDS)

    def _claimed(self) -> bool:
        """Take the claim if nobody has it: one statement, so that only one of many can."""
        now = _now()
        free = Q(claimed_until=None) | Q(claimed_until__lte=now)
        rested = Q(rest_until=None) | Q(rest_until__lte=now)
        those = self._consents.filter(free, rested, ended_at=None)
        return bool(those.update(claim=self._claim, claimed_until=now + CLAIM))

    def _stored(self) -> dict[str, Secret] | None:
        """Return what is stored now; None if the key was replaced or removed meanwhile."""
        row = self._row()
        return resolution.unseal(resolution.resolved(row)) if row else None

    def _row(self, *, lock: bool = False) -> Credential | None:
        rows = Credential.objects.select_for_update(of=("self",)) if lock else Credential.objects
        return rows.select_related("salt").filter(id=self._id, version=self._key.version).first()

    def _renew(self, fields: Fields) -> Fields:
        try:
            # Somebody may have renewed or replaced it between our look and our claim.
            stored = self._stored()
            if stored is None or REFRESH not in stored:
                return _last(self._key, self._provider, fields)
            if seconds_left(stored) > MARGIN_SECONDS:
                return stored
            return self._asked(stored)
        finally:
            Consent.objects.filter(credential=self._id, claim=self._claim).update(claim=None, claimed_until=None)

    def _asked(self, stored: dict[str, Secret]) -> Fields:
        try:
            grant = consent.renew(self._provider, stored[REFRESH])
        except consent.Refused as refused:
            log.warning("renewal refused credential=%s code=%s", self._id, refused.code)
            if refused.over:
                return self._over(stored)
            return self._failed(stored)
        except DigitalMeError:
            return self._failed(stored)
        renewed = {**stored, **fields_of(self._provider, grant, _now(), stored)}
        if grant.expires_in is None:
            renewed.pop(EXPIRY)
        self._keep(renewed)
        return renewed

    def _keep(self, renewed: Fields) -> None:
        """Store the newest tokens; a refresh token may serve once, so the former ones are worth nothing now."""
        with transaction.atomic():
            row = self._row(lock=True)
            if row is not None:
                keys.reseal_fields(row, self._provider, renewed)
                self._consents.update(renewed_at=_now(), rest_until=None)

    def _over(self, stored: Fields) -> Fields:
        """Note that the provider ended the grant, unless somebody else has just taken a newer token for it."""
        newest = self._stored()
        if newest and newest.get(REFRESH) != stored[REFRESH]:
            return newest
        detail = ENDED.format(name=self._provider.name)
        with transaction.atomic():
            self._consents.update(ended_at=_now())
            Credential.objects.filter(id=self._id, version=self._key.version).update(
                status=Credential.Status.EXPIRED, status_detail=detail, untold=True
            )
            trail.record(
                Action.SYSTEM_KEY_TESTED if self._key.owner == "system" else Action.CREDENTIAL_TESTED,
                target=f"credential:{self._id}",
                subject=self._key.owner,
                kind=self._kind,
                provider=self._key.provider,
                version=self._key.version,
                category=Category.EXPIRED,
            )
        raise KeyNotFound(_ended(self._provider, self._key), reason="consent")

    def _failed(self, stored: Fields) -> Fields:
        """Let the provider rest for some seconds before anybody asks again."""
        self._consents.update(rest_until=_now() + REST)
        return self._unrenewed(stored)

    def _unrenewed(self, stored: Fields) -> Fields:
        if seconds_left(stored) > 0:
            return stored
        raise ProviderUnavailable(
            f"The access to {self._provider.name} could not be renewed just now. Try again in some seconds.",
            reason="connect",
        )


def _now() -> datetime:
    return datetime.now(UTC)
