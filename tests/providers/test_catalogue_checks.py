"""What the checks of the built-in providers come to, with answers as the providers document them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from providers import registry, validation
from providers.secrets import Secret
from providers.validation import Outcome
from tests.fakes import FakeProvider, Manner, Reply

KEYS = {
    "slack": {"token": "xoxb-1234567890-1234567890-canary"},
    "github": {"token": "ghp_canary" + "a" * 30},
    "clickup": {"token": "pk_12345678_CANARY0123456789ABCD"},
    "telegram": {"bot_token": "123456789:AAcanary" + "b" * 27},
    "twocaptcha": {"api_key": "0123456789abcdef0123456789abcdef"},
    "google": {"api_key": "AIzacanary" + "c" * 29},
    "google oauth": {"access_token": "ya29.canary" + "d" * 30},
}


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProvider]:
    with FakeProvider() as server:
        yield server


@pytest.fixture(autouse=True)
def _afresh(fake: FakeProvider) -> None:
    fake.reset()


def check(fake: FakeProvider, which: str, reply: Reply) -> Outcome:
    fake.manner = Manner(reply=lambda seen: reply)
    provider = replace(registry.get(which.split()[0]), upstream=fake.url, operator_upstream=True)
    fields = {name: Secret(value) for name, value in KEYS[which].items()}
    found = validation.check(provider, fields, timeout=5)
    assert not any(value in repr(found) for value in KEYS[which].values())
    return found


GOOD: list[tuple[str, Reply, str, str, dict[str, str]]] = [
    (
        "slack",
        Reply(
            200, {"ok": True, "team": "Acme", "user": "bot", "url": "x"}, {"x-oauth-scopes": "chat:write,files:read"}
        ),
        "POST",
        "/api/auth.test",
        {"workspace": "Acme", "user": "bot", "scopes": "chat:write,files:read"},
    ),
    (
        "github",
        Reply(
            200,
            {"login": "octocat", "id": 1},
            {"x-oauth-scopes": "repo, gist", "github-authentication-token-expiration": "2027-10-07 19:07:53 UTC"},
        ),
        "GET",
        "/user",
        {"user": "octocat", "scopes": "repo, gist", "expires": "2027-10-07 19:07:53 UTC"},
    ),
    ("clickup", Reply(200, {"user": {"id": 7, "username": "Ann"}}), "GET", "/api/v2/user", {"user": "Ann"}),
    (
        "telegram",
        Reply(200, {"ok": True, "result": {"id": 1, "is_bot": True, "username": "acme_bot"}}),
        "GET",
        f"/bot{KEYS['telegram']['bot_token']}/getMe",
        {"bot": "acme_bot"},
    ),
    ("twocaptcha", Reply(200, {"errorId": 0, "balance": 12.34}), "POST", "/getBalance", {"balance": "12.34"}),
    ("google", Reply(200, {"kind": "discovery#directoryList"}), "GET", "/discovery/v1/apis?name=discovery", {}),
    (
        "google oauth",
        Reply(200, {"expires_in": 3000, "scope": "email profile", "email": "ann@example.com"}),
        "GET",
        f"/tokeninfo?access_token={KEYS['google oauth']['access_token']}",
        {"scopes": "email profile", "account": "ann@example.com"},
    ),
]


@pytest.mark.parametrize(("which", "reply", "method", "path", "facts"), GOOD, ids=[one[0] for one in GOOD])
def test_a_good_key_is_valid_and_tells_about_itself(
    which: str, reply: Reply, method: str, path: str, facts: dict[str, str], fake: FakeProvider
) -> None:
    found = check(fake, which, reply)
    assert (found.category, found.message) == ("valid", "The key works.")
    assert found.detail.get("facts", {}) == facts
    (seen,) = fake.seen
    assert (seen.method, seen.path) == (method, path)


@pytest.mark.parametrize(
    ("which", "header", "value"),
    [
        ("slack", "authorization", f"Bearer {KEYS['slack']['token']}"),
        ("github", "authorization", f"Bearer {KEYS['github']['token']}"),
        ("clickup", "authorization", KEYS["clickup"]["token"]),
        ("google", "x-goog-api-key", KEYS["google"]["api_key"]),
        ("telegram", "authorization", None),
        ("google oauth", "authorization", None),
    ],
)
def test_the_key_stands_where_the_provider_wants_it(
    which: str, header: str, value: str | None, fake: FakeProvider
) -> None:
    check(fake, which, Reply(200, {}))
    assert fake.seen[0].headers.get(header) == value


def test_the_key_of_2captcha_stands_in_the_body_alone(fake: FakeProvider) -> None:
    check(fake, "twocaptcha", Reply(200, {}))
    assert fake.seen[0].json == {"clientKey": KEYS["twocaptcha"]["api_key"]}


def slack(code: str, status: int = 200) -> Reply:
    return Reply(status, {"ok": False, "error": code})


def github(status: int, message: str, **headers: str) -> Reply:
    return Reply(
        status, {"message": message, "status": str(status)}, {k.replace("_", "-"): v for k, v in headers.items()}
    )


def telegram(status: int, description: str = "no") -> Reply:
    return Reply(status, {"ok": False, "error_code": status, "description": description})


def captcha(number: int, code: str) -> Reply:
    return Reply(200, {"errorId": number, "errorCode": code, "errorDescription": "no"})


def google(status: int, reason: str, message: str = "no", detail: str = "") -> Reply:
    error: dict[str, Any] = {"code": status, "message": message, "errors": [{"reason": reason}]}
    if detail:
        error["details"] = [{"reason": detail}]
    return Reply(status, {"error": error})


BAD: list[tuple[str, Reply, str]] = [
    ("slack", slack("not_authed"), "malformed"),
    ("slack", slack("invalid_auth"), "invalid"),
    ("slack", slack("token_revoked"), "invalid"),
    ("slack", slack("account_inactive"), "invalid"),
    ("slack", slack("token_expired"), "expired"),
    ("slack", slack("missing_scope"), "limited"),
    ("slack", slack("not_allowed_token_type"), "limited"),
    ("slack", slack("ekm_access_denied"), "limited"),
    ("slack", slack("accesslimited"), "limited"),
    ("slack", slack("ratelimited"), "rate_limited"),
    ("slack", slack("ratelimited", 429), "rate_limited"),
    ("slack", Reply(429, b""), "rate_limited"),
    ("slack", slack("internal_error"), "unavailable"),
    ("slack", slack("fatal_error"), "unavailable"),
    ("slack", slack("request_timeout"), "timeout"),
    ("slack", slack("something_new"), "unavailable"),
    ("slack", Reply(200, b"<html>"), "unavailable"),
    ("github", github(401, "Bad credentials"), "invalid"),
    ("github", github(401, "Requires authentication"), "malformed"),
    ("github", github(403, "API rate limit exceeded for user", x_ratelimit_remaining="0"), "rate_limited"),
    ("github", github(403, "You have exceeded a secondary rate limit."), "rate_limited"),
    ("github", github(403, "Slow down", retry_after="60"), "rate_limited"),
    ("github", github(429, "Too many", x_ratelimit_remaining="0"), "rate_limited"),
    ("github", github(403, "Resource not accessible by personal access token"), "limited"),
    ("github", github(403, "Forbidden", x_ratelimit_remaining="4999"), "limited"),
    ("github", github(403, "Resource protected by organization SAML", x_github_sso="required"), "limited"),
    ("github", github(403, "Resource not accessible by integration"), "valid"),
    ("github", github(502, "Bad gateway"), "unavailable"),
    ("clickup", Reply(401, {"err": "Authorization header required", "ECODE": "OAUTH_017"}), "malformed"),
    ("clickup", Reply(401, {"err": "Token invalid", "ECODE": "OAUTH_025"}), "invalid"),
    ("clickup", Reply(401, {"err": "Token not found", "ECODE": "OAUTH_019"}), "invalid"),
    ("clickup", Reply(401, {"err": "Team not authorized", "ECODE": "OAUTH_023"}), "limited"),
    ("clickup", Reply(401, {"err": "Team not authorized", "ECODE": "OAUTH_027"}), "limited"),
    ("clickup", Reply(401, {"err": "?", "ECODE": "OAUTH_999"}), "invalid"),
    ("clickup", Reply(429, {"err": "Rate limit reached", "ECODE": "APP_002"}), "rate_limited"),
    ("clickup", Reply(500, b""), "unavailable"),
    ("telegram", telegram(401, "Unauthorized"), "invalid"),
    ("telegram", telegram(404, "Not Found"), "malformed"),
    ("telegram", telegram(409, "Conflict"), "unavailable"),
    ("telegram", telegram(429, "Too Many Requests: retry after 34"), "rate_limited"),
    ("telegram", telegram(502), "unavailable"),
    ("telegram", Reply(200, {"ok": False, "error_code": 401}), "invalid"),
    ("twocaptcha", captcha(1, "ERROR_KEY_DOES_NOT_EXIST"), "invalid"),
    ("twocaptcha", captcha(1, "ERROR_WRONG_USER_KEY"), "malformed"),
    ("twocaptcha", captcha(2, "ERROR_NO_SLOT_AVAILABLE"), "unavailable"),
    ("twocaptcha", captcha(10, "ERROR_ZERO_BALANCE"), "quota"),
    ("twocaptcha", captcha(11, "ERROR_IP_NOT_ALLOWED"), "limited"),
    ("twocaptcha", captcha(21, "ERROR_IP_BLOCKED"), "rate_limited"),
    ("twocaptcha", captcha(14, "ERROR_NO_SUCH_METHOD"), "unavailable"),
    ("twocaptcha", Reply(200, {"errorId": 0, "balance": 0}), "quota"),
    ("twocaptcha", Reply(200, {"errorId": 0, "balance": -0.5}), "quota"),
    ("twocaptcha", Reply(200, {"errorId": 0, "balance": "0.00"}), "quota"),
    ("twocaptcha", Reply(200, b"ERROR"), "unavailable"),
    ("google", google(400, "badRequest", "API key not valid. Please pass a valid API key."), "invalid"),
    ("google", google(400, "badRequest", detail="API_KEY_INVALID"), "invalid"),
    ("google", google(403, "accessNotConfigured"), "limited"),
    ("google", google(403, "forbidden", detail="SERVICE_DISABLED"), "limited"),
    ("google", google(403, "ipRefererBlocked"), "limited"),
    ("google", google(403, "rateLimitExceeded"), "rate_limited"),
    ("google", google(403, "userRateLimitExceeded"), "rate_limited"),
    ("google", google(403, "quotaExceeded"), "quota"),
    ("google", google(403, "dailyLimitExceeded"), "quota"),
    ("google", google(429, "RESOURCE_EXHAUSTED"), "rate_limited"),
    ("google", google(503, "backendError"), "unavailable"),
    ("google oauth", Reply(400, {"error": "invalid_token", "error_description": "Invalid Value"}), "expired"),
    ("google oauth", Reply(500, {"error": "internal"}), "unavailable"),
]


@pytest.mark.parametrize(("which", "reply", "category"), BAD)
def test_other_answers_are_told_apart(which: str, reply: Reply, category: str, fake: FakeProvider) -> None:
    found = check(fake, which, reply)
    assert found.category == category
    assert found.message
    assert "{name}" not in found.message


def test_what_a_provider_says_about_itself_is_made_harmless(fake: FakeProvider) -> None:
    found = check(fake, "slack", Reply(200, {"ok": True, "team": "<script>", "user": "a\nb"}))
    assert found.category == "valid"
    assert "facts" not in found.detail


@pytest.mark.parametrize(
    ("slug", "name", "good", "bad"),
    [
        ("slack", "token", ["xoxb-1-2-abcdefg", "xoxp-1234567890", "xoxe.xoxb-1-abcdefghij"], ["xapp-1-A-abcdef", "x"]),
        ("github", "token", ["ghp_" + "a" * 36, "github_pat_" + "b" * 82, "gho_" + "c" * 200], ["ghr_" + "a" * 36]),
        ("clickup", "token", ["pk_1_ABCDEFGHIJKLMNOPQRST"], ["pk_x"]),
        ("telegram", "bot_token", ["12345:" + "A" * 35], ["12345", "abc:" + "A" * 35]),
        ("twocaptcha", "api_key", ["0" * 32], ["0" * 31, "g" * 32]),
        ("google", "api_key", ["AIza" + "a" * 35], ["AIza", "ya29." + "a" * 30]),
        ("google", "access_token", ["ya29." + "a" * 30], ["AIza" + "a" * 35]),
    ],
)
def test_a_key_has_its_form(slug: str, name: str, good: list[str], bad: list[str], fake: FakeProvider) -> None:
    provider = replace(registry.get(slug), upstream=fake.url, operator_upstream=True)
    fake.manner = Manner(reply=lambda seen: Reply(500, {}))
    for value in good:
        assert validation.check(provider, {name: Secret(value)}).category == "unavailable", value
    asked = len(fake.seen)
    for value in bad:
        found = validation.check(provider, {name: Secret(value)})
        assert found.category == "malformed", value
        assert len(value) < 10 or value not in found.message
    assert len(fake.seen) == asked


def test_one_of_several_fields_is_enough_but_none_is_not(fake: FakeProvider) -> None:
    provider = replace(registry.get("google"), upstream=fake.url, operator_upstream=True)
    found = validation.check(provider, {})
    assert (found.category, found.message) == (
        "malformed",
        "Enter one of these: OAuth access token or API key or Service account (JSON) or Refresh token.",
    )
