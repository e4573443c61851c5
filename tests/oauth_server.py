"""The OAuth sides of Slack, GitHub, Google and ClickUp on loopback, answering as theirs are documented to."""

import base64
import hashlib
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.utils import timezone

from apikeys import keys, oauth
from apikeys.models import Credential
from digitalme.accounts.models import User
from providers import registry
from tests.fakes import FakeProvider, Manner, Reply, Seen

APP = {"id": "app-id.0123456789", "secret": "GOCSPX-app-canary-0123456789"}
TOKEN_PATHS = {
    "slack": "/api/oauth.v2.access",
    "github": "/login/oauth/access_token",
    "google": "/token",
    "clickup": "/api/v2/oauth/token",
}
SLUGS = tuple(TOKEN_PATHS)
_TOKENS = {
    "slack": ("xoxe.xoxb-1-access{n}canary0123456789", "xoxe-1-refresh{n}canary0123456789"),
    "github": ("ghu_access{n}canary0123456789abcdefghijkl", "ghr_refresh{n}canary0123456789abcdefghijkl"),
    "google": ("ya29.access{n}canary-0123456789abcdef", "1//refresh{n}canary-0123456789abcdef"),
    "clickup": ("12345678_access{n}canary0123456789abcdef", ""),
}


@dataclass
class OAuthServer:
    """One provider. `lifetime` is that of access tokens (None: they do not end); refresh tokens serve once if it
    `rotates`; a `gate` holds back answers to renewals until it opens."""

    slug: str
    fake: FakeProvider
    lifetime: int | None = 3599
    rotates: bool = True
    gives_refresh: bool = True
    revoked: bool = False
    grants: str | None = None
    token_reply: Reply | None = None
    gate: threading.Event | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    access_tokens: list[str] = field(default_factory=list)
    revocations: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.fake.manner = Manner(reply=self._reply)

    @property
    def url(self) -> str:
        return self.fake.url

    def agree(self, address: str) -> dict[str, str]:
        """Have the person agree at the address they were sent to; return what they bring back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["client_id"] == APP["id"]
        assert asked["response_type"] == "code"
        code = f"code-{next(self._numbers)}-canary"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}

    def token_calls(self) -> list[dict[str, str]]:
        """Return the forms that came to the token endpoint."""
        return [_form(seen) for seen in self.fake.seen if seen.path == TOKEN_PATHS[self.slug]]

    def renewals(self) -> list[dict[str, str]]:
        return [form for form in self.token_calls() if form.get("grant_type") == "refresh_token"]

    def _reply(self, seen: Seen) -> Reply:
        path = seen.path.partition("?")[0]
        if path == TOKEN_PATHS[self.slug]:
            return self._token(seen)
        if path in ("/revoke", "/api/auth.revoke") or path == f"/applications/{APP['id']}/token":
            self.revocations.append(seen)
            return Reply(200, {"ok": True})
        return self._api(seen)

    def _token(self, seen: Seen) -> Reply:
        form = _form(seen)
        if self.token_reply is not None:
            return self.token_reply
        if _client(seen, form) != (APP["id"], APP["secret"]):
            return self._refuse("invalid_client", 401)
        if form["grant_type"] == "refresh_token":
            return self._renewed(form["refresh_token"])
        with self._lock:
            asked = self.codes.pop(form["code"], None)
        if asked is None or form["redirect_uri"] != asked["redirect_uri"]:
            return self._refuse("bad_verification_code" if self.slug == "github" else "invalid_grant")
        if "code_challenge" in asked:
            assert asked["code_challenge_method"] == "S256"
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
                return self._refuse("invalid_grant")
        return self._given(self.grants if self.grants is not None else asked.get("scope", ""))

    def _renewed(self, refresh: str) -> Reply:
        if self.gate is not None:
            self.gate.wait(20)
        with self._lock:
            scope = self.refresh_tokens.get(refresh)
            if scope is None or self.revoked:
                return self._refuse("bad_refresh_token" if self.slug == "github" else "invalid_grant")
            if self.rotates:
                del self.refresh_tokens[refresh]
        return self._given(scope)

    def _given(self, scope: str) -> Reply:
        number = next(self._numbers)
        access, refresh = (text.format(n=number) for text in _TOKENS[self.slug])
        self.access_tokens.append(access)
        answer: dict[str, Any] = {"access_token": access, "token_type": "bearer"}
        if self.slug != "clickup":
            answer["scope"] = scope
        if self.lifetime is not None:
            answer["expires_in"] = self.lifetime
        if refresh and self.gives_refresh and (self.rotates or not self.refresh_tokens):
            self.refresh_tokens[refresh] = scope
            answer["refresh_token"] = refresh
        return Reply(200, {"ok": True, **answer} if self.slug == "slack" else answer)

    def _refuse(self, code: str, status: int = 400) -> Reply:
        if self.slug == "slack":
            return Reply(200, {"ok": False, "error": code})
        if self.slug == "github":
            return Reply(200, {"error": code, "error_description": "canary of the error"})
        if self.slug == "clickup":
            return Reply(status, {"err": "canary of the error", "ECODE": "OAUTH_010"})
        return Reply(status, {"error": code, "error_description": "canary of the error"})

    def _api(self, seen: Seen) -> Reply:
        sent = f"{seen.headers.get('authorization', '')} {unquote(seen.path)}"
        if self.access_tokens and self.access_tokens[-1] in sent:
            email = "ann@example.com"
            return Reply(200, {"ok": True, "user": {"id": 1}, "id": 1, "login": "ann", "expires_in": 9, "email": email})
        return Reply(401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}, "message": "Bad credentials"})


def connected(server: OAuthServer, user: User, owner: keys.Owner | None = None) -> Credential:
    """Go the whole way of a consent for somebody's own key, or another owner's, and return the key."""
    provider, notes, now = registry.get(server.slug), dict[str, Any](), timezone.now()
    scopes = [scope.name for scope in oauth.scopes_of(provider) if scope.chosen]
    owner = owner or keys.Owner("user", user.pk)
    back = server.agree(oauth.begin(provider, scopes, user=user, owner=owner, notes=notes, now=now))
    return oauth.complete(provider, **back, error="", user=user, notes=notes, now=now).credential


def _form(seen: Seen) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}


def _client(seen: Seen, form: dict[str, str]) -> tuple[str, str]:
    scheme, _, rest = seen.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        name, _, secret = base64.b64decode(rest).decode().partition(":")
        return name, secret
    return form.get("client_id", ""), form.get("client_secret", "")


@contextmanager
def playing(slug: str, settings: Any) -> Iterator[OAuthServer]:
    """Play one provider, for which this server has a registered app."""
    with FakeProvider() as fake:
        settings.DIGITALME_UPSTREAMS = {slug: fake.url}
        settings.DIGITALME_OAUTH_SECRETS = {f"{slug}_id": APP["id"], f"{slug}_secret": APP["secret"]}
        yield OAuthServer(slug, fake)
