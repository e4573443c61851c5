"""Tickets: for ten minutes they stand for an access token, for one path of one provider.

Some SDKs send a file to an address that an earlier answer named, without any key. That address leads through this
server, and the ticket in it says whose call it is.
"""

import time
from urllib.parse import parse_qsl

from django.utils.crypto import constant_time_compare, salted_hmac

LIFE_SECONDS = 600
PARAMETER = "dm_ticket"
_DIGEST_LENGTH = 64


def issue(token_digest: str, slug: str, path: str, *, now: float | None = None) -> str:
    """Return a ticket for this path (without its query). `now` is in seconds since 1970."""
    expires = int((time.time() if now is None else now) + LIFE_SECONDS)
    return f"{expires}.{token_digest}.{_mark(expires, token_digest, slug, path)}"


def redeem(ticket: str, slug: str, path: str, *, now: float | None = None) -> str:
    """Return the digest of the token that a ticket stands for; empty if it is none, for another path, or
    too old."""
    expires, _, rest = ticket.partition(".")
    digest, _, mark = rest.partition(".")
    if not (expires.isascii() and expires.isdigit()) or len(expires) > 12 or len(digest) != _DIGEST_LENGTH:
        return ""
    if int(expires) < (time.time() if now is None else now):
        return ""
    return digest if constant_time_compare(mark, _mark(int(expires), digest, slug, path)) else ""


def taken_from(query: str) -> tuple[str, str]:
    """Return the ticket in a query, and the query without it."""
    pairs = query.split("&")
    kept = [pair for pair in pairs if not pair.startswith(f"{PARAMETER}=")]
    found = [value for pair in pairs if pair not in kept for _, value in parse_qsl(pair)]
    return (found[0] if found else ""), "&".join(kept)


def _mark(expires: int, digest: str, slug: str, path: str) -> str:
    told = f"{expires}|{digest}|{slug}|{path}"
    return salted_hmac("digitalme.gateway.ticket", told, algorithm="sha256").hexdigest()
