"""OAuth 2 at a provider: ask for a person's consent, take what it grants, renew it, give it back.

RFC 6749 with Authlib, PKCE after RFC 7636; what providers do otherwise stands in their definitions. Every request
goes to an address of the definition, through providers.outbound.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from authlib.oauth2 import OAuth2Client, OAuth2Error
from django.conf import settings

from digitalme.errors import DigitalMeError, InvalidRequest, ProviderUnavailable
from providers import auth, outbound
from providers.manifest import OAuth, Revocation
from providers.registry import Provider
from providers.secrets import Secret

TIMEOUT_SECONDS = 10.0
MAX_LIFETIME = 366 * 24 * 3600
# What providers call a grant that is over, whatever is tried: RFC 6749 5.2, then GitHub's, then Slack's words.
OVER = frozenset(
    {
        "invalid_grant",
        "bad_refresh_token",
        "invalid_refresh_token",
        "token_expired",
        "token_revoked",
        "account_inactive",
        "deleted_client",
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a consent came to: tokens, the access token's life in seconds (None: it does not end), and the scopes,
    None where the provider does not say."""

    access_token: Secret
    refresh_token: Secret | None
    expires_in: int | None
    scopes: tuple[str, ...] | None


class Refused(Exception):
    """The provider refuses; `code` is its own word for it, letters, digits and underscores alone."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    @property
    def over(self) -> bool:
        """Whether the grant has ended, so that only a new consent helps."""
        return self.code in OVER


def available(provider: Provider) -> bool:
    """Whether people can connect by consent: the definition says how, and the operator has registered an app.

    Not for a definition that was entered in the admin: who installs one need not be who gave the app's secret.
    """
    if provider.manifest.oauth is None or provider.origin == "installed":
        return False
    return all(settings.DIGITALME_OAUTH_SECRETS.get(f"{provider.slug}_{part}") for part in ("id", "secret"))


def authorize_url(provider: Provider, scopes: Sequence[str], *, state: str, verifier: str, redirect: str) -> str:
    """Return the address at the provider where a person is asked. Raises InvalidRequest if there is none."""
    oauth = _oauth(provider)
    client = _client(provider, oauth, redirect)
    url, _ = client.create_authorization_url(
        provider.pinned(oauth.authorize_url),
        state=state,
        code_verifier=verifier,
        scope=oauth.separator.join(scopes) or None,
        **oauth.parameters,
    )
    return str(url)


def exchange(provider: Provider, code: str, *, verifier: str, redirect: str) -> Grant:
    """Take the tokens that a code stands for. Blocking.

    Raises Refused, and ProviderUnavailable, ValidationTimeout or SecurityViolation without the code.
    """
    oauth = _oauth(provider)
    proof = {"code_verifier": verifier} if oauth.pkce else {}
    client = _client(provider, oauth, redirect)
    url = provider.pinned(oauth.token_url)
    return _grant(lambda: client.fetch_token(url, grant_type="authorization_code", code=code, **proof), client)


def renew(provider: Provider, refresh_token: Secret) -> Grant:
    """Take new tokens for a refresh token; where the provider gives no new one, the old one goes on. Blocking.

    Raises as exchange.
    """
    oauth = _oauth(provider)
    client = _client(provider, oauth, None)
    url = provider.pinned(oauth.token_url)
    return _grant(lambda: client.refresh_token(url, refresh_token=auth.printable(refresh_token)), client)


def revoke(provider: Provider, access_token: Secret, refresh_token: Secret | None) -> bool:
    """Have the provider end a grant; tell whether it did. Blocking; never raises for what the provider does."""
    if not available(provider) or (oauth := _oauth(provider)).revoke is None:
        return False
    how = oauth.revoke
    renewing = refresh_token if how.token == "refresh" else None  # noqa: S105 (which of the two)
    secret = auth.printable(renewing or access_token)
    client_id, _ = _app(provider)
    headers = {"accept": "application/json"}
    if how.place == "bearer":
        headers["authorization"] = f"Bearer {secret}"
    if how.client_auth == "basic":
        _, headers, _ = _client(provider, oauth, None).client_auth("client_secret_basic").prepare("", "", headers, "")
    body = _revocation(how, secret, headers)
    try:
        found = outbound.fetch(
            how.method,
            provider.pinned(how.url.replace("{client_id}", client_id)),
            headers=headers,
            body=body,
            timeout=TIMEOUT_SECONDS,
            operator=provider.operator_upstream,
        )
    except DigitalMeError:
        return False
    # 200 with ok:false is Slack's way to refuse.
    return 200 <= found.status < 300 and _object(found.body).get("ok") is not False


def _revocation(how: Revocation, secret: str, headers: dict[str, str]) -> bytes | None:
    if how.place == "form":
        headers["content-type"] = "application/x-www-form-urlencoded"
        return urlencode({how.name: secret}).encode()
    if how.place == "json":
        headers["content-type"] = "application/json"
        return json.dumps({how.name: secret}).encode()
    return None


def _oauth(provider: Provider) -> OAuth:
    if not available(provider) or provider.manifest.oauth is None:
        raise InvalidRequest(f"This server is not set up to connect {provider.name} by consent. Enter a key instead.")
    return provider.manifest.oauth


def _app(provider: Provider) -> tuple[str, str]:
    known = settings.DIGITALME_OAUTH_SECRETS
    return known[f"{provider.slug}_id"], known[f"{provider.slug}_secret"]


def _client(provider: Provider, oauth: OAuth, redirect: str | None) -> OAuth2Client:
    client_id, client_secret = _app(provider)
    return OAuth2Client(
        _Door(provider),
        client_id=client_id,
        client_secret=client_secret,
        token_endpoint_auth_method=f"client_secret_{oauth.client_auth}",
        redirect_uri=redirect,
        code_challenge_method="S256" if oauth.pkce else None,
    )


class _Door:
    """What Authlib takes for a session of an HTTP client: its requests leave through providers.outbound."""

    def __init__(self, provider: Provider) -> None:
        self._operator = provider.operator_upstream
        self.found: outbound.Fetched | None = None

    def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> "_Door":
        """Send a form and return the answer, which is this object too."""
        url, sent, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        self.found = outbound.fetch(
            "POST", url, headers=sent, body=body.encode(), timeout=TIMEOUT_SECONDS, operator=self._operator
        )
        return self

    @property
    def status_code(self) -> int:
        return self.found.status if self.found else 0

    def json(self) -> dict[str, Any]:
        """Return the answer; an object in any case, so that Authlib quotes nothing of it."""
        return _object(self.found.body) if self.found else {}

    def raise_for_status(self) -> None:
        """Refuse what is no answer."""
        raise ProviderUnavailable("The provider gives out no access right now. Try again later.", reason="token")


def _grant(deed: Any, client: OAuth2Client) -> Grant:
    door = client.session
    with contextlib.suppress(OAuth2Error, ValueError):  # Authlib's quote what the provider said
        deed()
    answer = door.json()
    if door.status_code == 429 or door.status_code >= 500:
        door.raise_for_status()
    if "error" in answer:
        raise Refused(_word(answer["error"]) or "refused")
    if not isinstance(answer.get("access_token"), str):
        raise Refused(_word(answer.get("ECODE")) or "no_token")
    refresh, seconds, scope = answer.get("refresh_token"), answer.get("expires_in"), answer.get("scope")
    lasting = not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 < seconds <= MAX_LIFETIME
    return Grant(
        access_token=Secret(auth.clean_key(answer["access_token"])),
        refresh_token=Secret(auth.clean_key(refresh)) if isinstance(refresh, str) and refresh else None,
        expires_in=None if lasting else seconds,
        scopes=tuple(scope.replace(",", " ").split()) if isinstance(scope, str) else None,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    return value[:64] if isinstance(value, str) and value.replace("_", "").isalnum() else ""
