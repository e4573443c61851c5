"""Google's access tokens, fetched from one fixed place: a service account's file signs for them, a refresh token of
somebody's own client is exchanged for them.

The file names the place itself (`token_uri`, `universe_domain`). Neither is read, nor even kept: whoever pastes a
file that somebody else made must not have this server sign for that one's server.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from digitalme.errors import InvalidKeyFormat, ProviderUnavailable
from providers import outbound
from providers.manifest import Field
from providers.registry import Provider
from providers.secrets import Secret

# https://developers.google.com/identity/protocols/oauth2/service-account
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEFAULT_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
SCOPES, SUBJECT = "scopes", "subject"
CLIENT_ID, CLIENT_SECRET = "client_id", "client_secret"
REFRESH_OVER = (
    "{name} takes this refresh token no more: it was revoked or not used for six months, or its app is still in "
    "testing, where it ends after seven days. Get a new one."
)
CLIENT_UNKNOWN = "{name} refuses the client: its id or secret is wrong, or the refresh token was given to another one."
ASSERTION_SECONDS = 3600
MIN_KEY_BITS = 2048
_KEPT = ("private_key", "private_key_id", "client_email")
_NOT_ONE = "This is not the JSON file of a service account: {why}. Paste the whole file that Google gave you."


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, and when it ends (seconds since 1970)."""

    secret: Secret
    until: float


class Refused(Exception):
    """Google gives no token; `code` is its word for why, such as invalid_grant, and `renewing` tells that it was asked
    with a refresh token."""

    def __init__(self, code: str, status: int, *, renewing: bool = False) -> None:
        super().__init__(code)
        self.code, self.status, self.renewing = code, status, renewing


def compact(text: str) -> str:
    """Return what is needed of a service account's file, in one line without spaces, and nothing else of it.

    Raises InvalidKeyFormat, without anything of the file, for what is none.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise InvalidKeyFormat(_NOT_ONE.format(why="it is not a JSON object"))
    if given.get("type", "service_account") != "service_account":
        raise InvalidKeyFormat(_NOT_ONE.format(why='its "type" is another one'))
    kept = {name: given[name] for name in _KEPT if isinstance(given.get(name), str)}
    for name in ("private_key", "client_email"):
        if not kept.get(name):
            raise InvalidKeyFormat(_NOT_ONE.format(why=f"it has no {name}"))
    _private_key(kept["private_key"])
    # Spaces stand within texts alone; escaped, the whole is what keys are everywhere: printable, without spaces.
    return json.dumps(kept, separators=(",", ":")).replace(" ", "\\u0020")


def token_of(provider: Provider, signer: Field, fields: Mapping[str, Secret], *, timeout: float = 10.0) -> Token:
    """Fetch an access token with the field that gives them; blocks for `timeout` seconds at most. Raises as
    fetch_token."""
    if signer.kind == "google_refresh_token":
        return renewed_token(provider, fields, fields[signer.name], timeout=timeout)
    return fetch_token(provider, fields, fields[signer.name], timeout=timeout)


def renewed_token(
    provider: Provider,
    fields: Mapping[str, Secret],
    refresh: Secret,
    *,
    timeout: float = 10.0,
    clock: Callable[[], float] = time.time,
) -> Token:
    """Exchange a refresh token for an access token, as the client in `fields` that it was given to. Raises as
    fetch_token."""
    now = clock()
    client = {CLIENT_ID: _text(fields, CLIENT_ID), CLIENT_SECRET: _text(fields, CLIENT_SECRET)}
    form = {"grant_type": "refresh_token", **client, "refresh_token": refresh.reveal()}
    return _token(_asked(provider, form, timeout), now, renewing=True)


def fetch_token(
    provider: Provider,
    fields: Mapping[str, Secret],
    account: Secret,
    *,
    timeout: float = 10.0,
    clock: Callable[[], float] = time.time,
) -> Token:
    """Sign for an access token and fetch it; blocks for `timeout` seconds at most.

    `fields` may hold `scopes`, separated by commas, and `subject`, the person in whose name the account acts.
    Raises Refused, and what outbound.fetch raises.
    """
    now = clock()
    claims = {"scope": _text(fields, SCOPES).replace(",", " ") or DEFAULT_SCOPE, "aud": TOKEN_URL}
    if subject := _text(fields, SUBJECT):
        claims["sub"] = subject
    form = {"grant_type": GRANT, "assertion": _assertion(account, claims, int(now))}
    return _token(_asked(provider, form, timeout), now)


def _asked(provider: Provider, form: Mapping[str, str], timeout: float) -> outbound.Fetched:
    return outbound.fetch(
        "POST",
        provider.pinned(TOKEN_URL),
        headers={"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
        body=urlencode(form).encode(),
        timeout=timeout,
        operator=provider.operator_upstream,
    )


def _text(fields: Mapping[str, Secret], name: str) -> str:
    return fields[name].reveal() if name in fields else ""


def _token(found: outbound.Fetched, now: float, *, renewing: bool = False) -> Token:
    try:
        answer = json.loads(found.body)
    except (ValueError, RecursionError):
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    if found.status != 200:
        code = answer.get("error")
        if found.status >= 500 or found.status == 429 or not isinstance(code, str):
            raise ProviderUnavailable("Google gives out no access tokens right now.", reason="token")
        raise Refused(code[:64], found.status, renewing=renewing)
    token, seconds = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str) or not token:
        raise ProviderUnavailable("Google's answer has no access token.", reason="token")
    lifetime = seconds if isinstance(seconds, int) and 0 < seconds <= ASSERTION_SECONDS else 0
    return Token(Secret(token), now + lifetime)


def _assertion(account: Secret, claims: Mapping[str, str], now: int) -> str:
    """Return the signed statement (RFC 7523, RS256) that Google exchanges for a token."""
    known = json.loads(account.reveal())
    header = {"alg": "RS256", "typ": "JWT"}
    if "private_key_id" in known:
        header["kid"] = known["private_key_id"]
    stated = {**claims, "iss": known["client_email"], "iat": now, "exp": now + ASSERTION_SECONDS}
    signed = b".".join(_encoded(json.dumps(part, separators=(",", ":")).encode()) for part in (header, stated))
    signature = _private_key(known["private_key"]).sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return (signed + b"." + _encoded(signature)).decode()


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def _private_key(pem: str) -> RSAPrivateKey:
    """Return the key. Raises InvalidKeyFormat without anything of it."""
    key: Any = None
    try:
        key = load_pem_private_key(pem.encode("ascii", "replace"), password=None)
    except Exception:  # whatever cryptography raises, and whatever that quotes
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MIN_KEY_BITS:
        raise InvalidKeyFormat(_NOT_ONE.format(why="its private_key is no RSA key of 2048 bits or more"))
    return key
