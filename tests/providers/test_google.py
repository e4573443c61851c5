"""Service accounts of Google: what is kept of the file, where tokens come from, which host serves a path."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from digitalme.errors import InvalidKeyFormat, ProviderUnavailable
from providers import google, outbound, registry, validation
from providers.outbound import Fetched
from providers.registry import Provider
from providers.rewriting import Rewriter
from providers.secrets import Secret
from providers.validation import Category
from tests.fakes import FakeProvider, Manner, Reply, Seen

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TOKEN = "ya29.made" + "d" * 30
NOW = 1_764_000_000


def pem(key: Any = KEY) -> str:
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*kinds).decode()  # type: ignore[no-any-return]


def account(**changed: Any) -> str:
    """A service account's file as Google's console gives it out."""
    given = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k1",
        "private_key": pem(),
        "client_email": "robot@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
        "universe_domain": "googleapis.com",
    }
    return json.dumps({**given, **changed}, indent=2)


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


def at(fake: FakeProvider) -> Provider:
    return replace(registry.get("google"), upstream=fake.url, operator_upstream=True)


def answering(fake: FakeProvider, token: Reply, rest: Reply | None = None) -> None:
    other = rest or Reply(200, {"expires_in": 3599, "scope": "a", "email": "robot@p.iam.gserviceaccount.com"})
    fake.manner = Manner(reply=lambda seen: token if seen.path == "/token" else other)


def check(fake: FakeProvider, text: str, **more: str) -> validation.Outcome:
    fields = {"service_account": google.compact(text), **more}
    return validation.check(at(fake), {name: Secret(value) for name, value in fields.items()})


def claims(seen: Seen) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims of the assertion that was sent, its signature verified."""
    form = parse_qs(seen.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, body, signature = form["assertion"][0].split(".")

    def decoded(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    KEY.public_key().verify(decoded(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    return json.loads(decoded(head)), json.loads(decoded(body))


def test_the_file_signs_for_a_token_which_is_then_checked(fake: FakeProvider) -> None:
    answering(fake, Reply(200, {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}))
    outcome = check(
        fake, account(), scopes="https://www.googleapis.com/auth/drive,https://a.example/b", subject="a@b.c"
    )
    assert outcome.category is Category.VALID
    assert outcome.detail["facts"]["account"] == "robot@p.iam.gserviceaccount.com"
    assert [seen.path for seen in fake.seen] == ["/token", f"/tokeninfo?access_token={TOKEN}"]
    header, stated = claims(fake.seen[0])
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert stated["exp"] - stated["iat"] == 3600
    assert {name: stated[name] for name in ("iss", "aud", "scope", "sub")} == {
        "iss": "robot@p.iam.gserviceaccount.com",
        "aud": "https://oauth2.googleapis.com/token",
        "scope": "https://www.googleapis.com/auth/drive https://a.example/b",
        "sub": "a@b.c",
    }


def test_without_scopes_it_asks_for_the_cloud_platform(fake: FakeProvider) -> None:
    answering(fake, Reply(200, {"access_token": TOKEN, "expires_in": 3599}))
    check(fake, account())
    assert claims(fake.seen[0])[1]["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert "sub" not in claims(fake.seen[0])[1]


@pytest.mark.parametrize("name", ["token_uri", "universe_domain", "auth_uri", "client_x509_cert_url"])
def test_an_address_in_the_file_is_never_asked(name: str, fake: FakeProvider) -> None:
    answering(fake, Reply(200, {"access_token": TOKEN, "expires_in": 3599}))
    with FakeProvider() as sink:
        check(fake, account(**{name: f"{sink.url}/token"}))
        assert sink.seen == []
    assert claims(fake.seen[0])[1]["aud"] == "https://oauth2.googleapis.com/token"


def test_without_an_operators_upstream_the_token_comes_from_google_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def fetch(method: str, url: str, *, operator: bool, **more: Any) -> Fetched:
        asked.append((url, operator))
        return Fetched(200, {}, json.dumps({"access_token": TOKEN, "expires_in": 3599}).encode())

    monkeypatch.setattr(outbound, "fetch", fetch)
    file = Secret(google.compact(account(token_uri="https://evil.example/token", universe_domain="evil.example")))
    token = google.fetch_token(registry.get("google"), {}, file, clock=lambda: NOW)
    assert (token.secret, token.until) == (Secret(TOKEN), NOW + 3599)
    assert asked == [("https://oauth2.googleapis.com/token", False)]


def test_nothing_but_the_key_and_its_name_is_kept() -> None:
    kept = google.compact(account(token_uri="https://evil.example/", private="canary"))
    assert set(json.loads(kept)) == {"private_key", "private_key_id", "client_email"}
    assert "evil" not in kept
    assert google.compact(kept) == kept


@given(st.text() | st.from_regex(r"\{.*\}"))
def test_what_is_no_file_of_one_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidKeyFormat) as caught:
        google.compact(text)
    assert len(text) < 20 or text not in caught.value.message


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"type": "authorized_user"}, "type"),
        ({"type": "external_account"}, "type"),
        ({"client_email": ""}, "no client_email"),
        ({"private_key": None}, "no private_key"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----"}, "RSA"),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "RSA"),
    ],
)
def test_a_file_that_cannot_sign_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidKeyFormat) as caught:
        google.compact(account(**changed))
    assert why in caught.value.message
    assert "canary" not in caught.value.message


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        (Reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}), Category.INVALID),
        (Reply(401, {"error": "invalid_client"}), Category.INVALID),
        (Reply(401, {"error": "unauthorized_client"}), Category.LIMITED),
        (Reply(400, {"error": "invalid_scope"}), Category.LIMITED),
        (Reply(429, {"error": "rate_limit"}), Category.NETWORK),
        (Reply(503, b"<html>"), Category.NETWORK),
        (Reply(200, b"[]"), Category.NETWORK),
    ],
)
def test_a_refusal_of_the_token_says_what_is_wrong_with_the_account(
    reply: Reply, category: Category, fake: FakeProvider
) -> None:
    answering(fake, reply)
    assert check(fake, account()).category is category


@pytest.mark.parametrize("lifetime", [None, "3600", -1, 10**9])
def test_a_token_of_unknown_life_is_used_once(lifetime: Any, fake: FakeProvider) -> None:
    answering(fake, Reply(200, {"access_token": TOKEN, "expires_in": lifetime}))
    token = google.fetch_token(at(fake), {}, Secret(google.compact(account())), clock=lambda: NOW)
    assert token.until == NOW


def test_an_answer_without_a_token_is_a_problem_of_google(fake: FakeProvider) -> None:
    answering(fake, Reply(200, {"token": "x"}))
    with pytest.raises(ProviderUnavailable):
        google.fetch_token(at(fake), {}, Secret(google.compact(account())))


# --- Hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/drive/v3/files?q=%20", "https://www.googleapis.com/drive/v3/files?q=%20"),
        ("/upload/drive/v3/files", "https://www.googleapis.com/upload/drive/v3/files"),
        ("/v4/spreadsheets/x", "https://sheets.googleapis.com/v4/spreadsheets/x"),
        ("/gmail/v1/users/me", "https://gmail.googleapis.com/gmail/v1/users/me"),
        ("/bigquery.googleapis.com/bigquery/v2/projects", "https://bigquery.googleapis.com/bigquery/v2/projects"),
        ("/us-east1-run.googleapis.com/v1/x%2Fy?a=b", "https://us-east1-run.googleapis.com/v1/x%2Fy?a=b"),
        ("/storage.googleapis.com", "https://storage.googleapis.com/"),
        ("/storage.googleapis.com?x", "https://storage.googleapis.com/?x"),
    ],
)
def test_a_path_goes_to_the_host_that_has_it(path: str, where: str) -> None:
    there, rest = registry.get("google").at(path)
    assert there.upstream + rest == where


@pytest.mark.parametrize(
    "path",
    [
        "/evil.example/x",
        "/googleapis.com/x",
        "/.googleapis.com/x",
        "/a.b.googleapis.com/x",
        "/evil.example%2F.googleapis.com/x",
        "/evil.example#.googleapis.com/x",
        "/evil@x.googleapis.com/x",
        "/x.googleapis.com.evil.example/x",
        "/x.googleapis.com:8443/x",
        "/X.googleapis.com/x",
        "/-x.googleapis.com/x",
        "//x.googleapis.com/x",
    ],
)
def test_no_path_leads_to_a_host_that_is_not_googles(path: str) -> None:
    there, _ = registry.get("google").at(path)
    assert there.upstream == "https://www.googleapis.com"


@given(st.text(alphabet="ab.-/:@%?#\\googleapis.com", max_size=40))
def test_whatever_the_path_the_host_is_one_of_googles(path: str) -> None:
    there, rest = registry.get("google").at(f"/{path}.googleapis.com/x")
    host = there.upstream.removeprefix("https://")
    assert host.endswith(".googleapis.com")
    assert not set(host) & set("/:@%?#\\")
    assert rest.startswith("/")


def test_addresses_of_any_service_lead_back_here() -> None:
    rewriter = Rewriter(registry.get("google"), "https://dm.example/gateway/google", lambda path: "")
    assert rewriter.address("https://storage.googleapis.com/upload/x?upload_id=1") == (
        "https://dm.example/gateway/google/storage.googleapis.com/upload/x?upload_id=1"
    )
    assert rewriter.address("https://evil.example/storage.googleapis.com/x") == ""
