"""How often somebody may ask: token buckets by access token, person and address, for gateway, API and sign-in.

A bucket holds as many tokens as are allowed a minute, fills up evenly, and each request takes one. It lives in the
process, so that a request waits for nothing. With Redis a thread tells the processes' counts to one another once a
second: all together they may let through, beyond the limit, what they let through within about a second. Without
Redis each process counts for itself. A Redis that is away stops nobody.
"""

import hashlib
import ipaddress
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import redis
from django.conf import settings

from digitalme.errors import RateLimited

MINUTE = 60.0
SHARE_SECONDS = 1.0
MOST_BUCKETS = 100_000
# What a bucket may lack of a whole token because its arithmetic is not exact.
_GRAIN = 1e-6
_WORDS = {
    "token": "this access token",
    "user": "this account",
    "address": "this address",
}

log = logging.getLogger(__name__)
Who = tuple[str, str]


class Bucket:
    """What is left to one asker. `told` is what all processes are known to have taken in the minute `minute`."""

    __slots__ = ("at", "left", "minute", "taken", "told")

    def __init__(self, left: float, at: float) -> None:
        self.left, self.at = left, at
        self.taken = self.told = 0
        self.minute = -1


class Buckets:
    """The buckets of a process. `clock` counts seconds from anywhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[Who, Bucket] = {}
        self._lock = threading.Lock()

    def take(self, wanted: Iterable[Who], limits: Mapping[str, int]) -> tuple[str, float]:
        """Take one from each bucket (kind, who), or nothing; return ("", 0), or the kind that has none left for the
        longest, and for how many seconds. `limits` gives requests a minute by kind, 0 for no end."""
        now = self._clock()
        slowest, wait = "", 0.0
        with self._lock:
            found = []
            for who in wanted:
                limit = limits[who[0]]
                if not limit or not who[1]:
                    continue
                bucket = self._filled(who, limit, now)
                found.append(bucket)
                if bucket.left < 1 - _GRAIN:
                    seconds = (1 - bucket.left) * MINUTE / limit
                    slowest, wait = (who[0], seconds) if seconds > wait else (slowest, wait)
            if not slowest:
                for bucket in found:
                    bucket.left -= 1
                    bucket.taken += 1
        return slowest, wait

    def _filled(self, who: Who, limit: int, now: float) -> Bucket:
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= MOST_BUCKETS:
                self._make_room(now)
            bucket = self._buckets[who] = Bucket(limit, now)
        else:
            bucket.left = min(limit, bucket.left + max(0.0, now - bucket.at) * limit / MINUTE)
            bucket.at = now
        return bucket

    def _make_room(self, now: float) -> None:
        """Forget those whose buckets are full again after a minute; else the half that asked least lately."""
        stale = [who for who, bucket in self._buckets.items() if now - bucket.at >= MINUTE]
        by_age = sorted(self._buckets, key=lambda who: self._buckets[who].at)
        for who in stale or by_age[: MOST_BUCKETS // 2]:
            del self._buckets[who]

    def untold(self) -> dict[Who, int]:
        """Return what was taken since it was last told to others, and count it as told."""
        with self._lock:
            found = {who: bucket.taken for who, bucket in self._buckets.items() if bucket.taken}
            for who in found:
                self._buckets[who].taken = 0
        return found

    def hear(self, who: Who, own: int, total: int, limit: int, *, minute: int, second: float) -> None:
        """Take off what other processes took: all took `total` in this `minute`, of which `own` is told just now.

        Of what they took before this process heard of the bucket, so much is back as fills up in the seconds since
        the minute began.
        """
        with self._lock:
            bucket = self._buckets.get(who)
            if bucket is None:
                return
            known = bucket.told if bucket.minute == minute else 0
            others = float(max(0, total - known - own))
            if bucket.minute < 0:
                others = max(0.0, others - second * limit / MINUTE)
            bucket.left = max(-float(limit), bucket.left - others)
            bucket.told, bucket.minute = total, minute

    def forget(self) -> None:
        """Fill all buckets."""
        with self._lock:
            self._buckets.clear()


class Shared:
    """Tells processes of one another's counts by way of Redis, in a thread of its own."""

    def __init__(self, buckets: Buckets, url: str) -> None:
        self._buckets = buckets
        self._server: Any = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._key = hashlib.sha256(settings.SECRET_KEY.encode()).digest()
        self._away = False

    def start(self) -> None:
        """Share once a second for as long as the process lives."""
        threading.Thread(target=self._for_ever, name="throttling", daemon=True).start()

    def _for_ever(self) -> None:
        while True:
            time.sleep(SHARE_SECONDS)
            self.share()

    def share(self, *, now: float | None = None) -> None:
        """Tell what this process took and hear of the others: one round trip. `now` is in seconds since 1970."""
        told = self._buckets.untold()
        if not told:
            return
        moment = time.time() if now is None else now
        minute, second = int(moment // MINUTE), moment % MINUTE
        try:
            with self._server.pipeline(transaction=False) as pipe:
                for who, own in told.items():
                    name = self._name(who, minute)
                    pipe.incrby(name, own)
                    pipe.expire(name, int(2 * MINUTE))
                totals = pipe.execute()[::2]
        except redis.RedisError as problem:
            if not self._away:
                log.warning("requests are counted by each process alone: Redis is away (%s)", type(problem).__name__)
            self._away = True
            return
        self._away = False
        for (who, own), total in zip(told.items(), totals, strict=True):
            limit = settings.THROTTLES.get(who[0], 0)
            if limit:
                self._buckets.hear(who, own, int(total), limit, minute=minute, second=second)

    def _name(self, who: Who, minute: int) -> str:
        """Return a name that tells nobody who reads Redis who it was."""
        told = hashlib.blake2b(f"{who[0]}:{who[1]}".encode(), key=self._key, digest_size=16).hexdigest()
        return f"throttle:{told}:{minute}"


buckets = Buckets()
_shared: list[Shared] = []


def take(*wanted: Who) -> None:
    """Count a request at each of these (kind, who); an empty `who` is not counted.

    Raises RateLimited, which tells the seconds until there is room in each, and has counted it at none of them. The
    kinds and their requests a minute are settings.THROTTLES; 0 is without limit.
    """
    if settings.THROTTLE_REDIS_URL and not _shared:
        _shared.append(Shared(buckets, settings.THROTTLE_REDIS_URL))
        _shared[0].start()
    kind, wait = buckets.take(wanted, settings.THROTTLES)
    if kind:
        seconds = max(1, math.ceil(wait))
        limit = settings.THROTTLES[kind]
        whose = _WORDS.get(kind.partition(".")[2], "you")
        raise RateLimited(
            f"Too many requests from {whose}: {limit} a minute are taken. Try again in {seconds} s.",
            scope=kind,
            allowed_per_minute=limit,
            retry_after=seconds,
        )


@lru_cache(maxsize=16384)
def address(text: str) -> str:
    """Return what an address is counted as: itself, or of IPv6 its /64 network, all of which one host may use.

    It must be the address of the connection, as the server knows it by its trusted proxies, not one from a header.
    """
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return text[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
