"""What passes in each direction, what a key may look like, where it goes."""

import pytest

from digitalme.errors import InvalidKeyFormat
from providers import auth, registry
from providers.secrets import Secret

TOKEN = b"dm_thecallersowntoken"
OPENAI_KEY = "sk-proj-" + "a" * 40
ANTHROPIC_KEY = "sk-ant-api03-" + "b" * 40
NOT_UP = [
    "Authorization",
    "x-api-key",
    "X-API-Key",
    "x-goog-api-key",
    "api-key",
    "cookie",
    "host",
    "content-length",
    "origin",
    "referer",
    "forwarded",
    "x-forwarded-for",
    "X-Forwarded-Host",
    "x-real-ip",
    "x-digitalme-tag",
    "transfer-encoding",
    "te",
    "upgrade",
    "expect",
    "proxy-authorization",
    "sec-fetch-mode",
    "via",
    "keep-alive",
    "x-http-method-override",
]
NOT_BACK = [
    "Set-Cookie",
    "location",
    "content-length",
    "transfer-encoding",
    "connection",
    "server",
    "x-accel-redirect",
    "X-Accel-Buffering",
    "alt-svc",
    "strict-transport-security",
    "content-security-policy",
    "access-control-allow-origin",
    "refresh",
    "clear-site-data",
    "www-authenticate",
    "x-digitalme-key-source",
    "x-sendfile",
    "date",
    "service-worker-allowed",
]
LINE_BREAKERS = [chr(code) for code in (*range(0x21), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFEFF, 0x201C, 0xE9)]


@pytest.mark.parametrize(
    "name",
    NOT_UP,
)
def test_what_names_the_caller_does_not_go_upstream(name: str) -> None:
    assert auth.forwardable([(name.encode(), TOKEN)]) == {"accept-encoding": "identity"}


def test_what_the_provider_needs_goes_upstream() -> None:
    given = [
        (b"content-type", b"application/json"),
        (b"Anthropic-Version", b"2026-10-21"),
        (b"anthropic-beta", b"one"),
        (b"anthropic-beta", b"two"),
        (b"user-agent", b"sdk"),
        (b"accept-encoding", b"gzip, br"),
    ]
    assert auth.forwardable(given) == {
        "content-type": "application/json",
        "anthropic-version": "2026-10-21",
        "anthropic-beta": "one, two",
        "user-agent": "sdk",
        "accept-encoding": "identity",
    }


def test_what_the_connection_declares_its_own_stays_here() -> None:
    given = [(b"connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"x-kept", b"2")]
    assert auth.forwardable(given) == {"x-kept": "2", "accept-encoding": "identity"}


@pytest.mark.parametrize(
    "name",
    NOT_BACK,
)
def test_what_speaks_for_another_origin_does_not_come_back(name: str) -> None:
    assert auth.returnable([(name.encode(), b"value")]) == [(b"x-content-type-options", b"nosniff")]


def test_what_the_sdk_needs_comes_back() -> None:
    given = [
        (b"Content-Type", b"application/json"),
        (b"x-request-id", b"req"),
        (b"retry-after", b"7"),
        (b"x-ratelimit-remaining-requests", b"3"),
    ]
    passed = auth.returnable(given)
    assert passed[1:] == [(name.lower(), value) for name, value in given]


def test_html_comes_back_as_text() -> None:
    passed = dict(auth.returnable([(b"content-type", b"text/HTML; charset=utf-8")]))
    assert passed == {b"content-type": b"text/plain; charset=utf-8", b"x-content-type-options": b"nosniff"}


def test_the_key_goes_where_the_provider_wants_it() -> None:
    headers: dict[str, str] = {"x-api-key": "caller's"}
    auth.inject(registry.get("openai").manifest, {"api_key": Secret(OPENAI_KEY)}, headers)
    assert headers == {"authorization": f"Bearer {OPENAI_KEY}"}
    headers = {"authorization": "Bearer caller's"}
    auth.inject(registry.get("anthropic").manifest, {"api_key": Secret(ANTHROPIC_KEY)}, headers)
    assert headers == {"x-api-key": ANTHROPIC_KEY}


def test_the_sandbox_gets_no_credential() -> None:
    headers = {"authorization": "Bearer caller's"}
    auth.inject(registry.get("sandbox").manifest, {}, headers)
    assert headers == {}


def test_a_stored_value_that_breaks_headers_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidKeyFormat) as caught:
        auth.inject(registry.get("openai").manifest, {"api_key": Secret("sk-canary\r\nx: y")}, {})
    assert "canary" not in str(caught.value)


def test_surrounding_white_space_is_dropped() -> None:
    assert auth.clean_key("\t sk-abc \r\n") == "sk-abc"


@pytest.mark.parametrize("character", LINE_BREAKERS, ids=lambda one: f"U+{ord(one):04X}")
def test_a_character_that_no_key_has_is_refused_without_the_value(character: str) -> None:
    with pytest.raises(InvalidKeyFormat) as caught:
        auth.clean_key(f"sk-canary{character}tail")
    assert "canary" not in str(caught.value)
    assert "canary" not in str(caught.value.data)


@pytest.mark.parametrize("value", ["", " \n", "x" * 8193])
def test_an_empty_or_endless_key_is_refused(value: str) -> None:
    with pytest.raises(InvalidKeyFormat):
        auth.clean_key(value)


@pytest.mark.parametrize(
    ("slug", "value"),
    [
        ("openai", OPENAI_KEY),
        ("openai", "sk-" + "A1" * 24),
        ("openai", "sk-svcacct-" + "x_" * 20),
        ("anthropic", ANTHROPIC_KEY),
    ],
)
def test_a_plausible_key_passes(slug: str, value: str) -> None:
    auth.check_fields(registry.get(slug).manifest, {"api_key": Secret(value)})


@pytest.mark.parametrize(
    ("slug", "value"),
    [
        ("openai", ANTHROPIC_KEY),
        ("openai", "sk-or-" + "c" * 40),
        ("openai", "sk-admin-" + "c" * 40),
        ("openai", "sk-short"),
        ("openai", "canary-" + "c" * 40),
        ("anthropic", OPENAI_KEY),
        ("anthropic", "sk-ant-admin01-" + "c" * 40),
        ("anthropic", "dm_" + "c" * 40),
    ],
)
def test_a_key_of_the_wrong_kind_is_refused_without_the_value(slug: str, value: str) -> None:
    with pytest.raises(InvalidKeyFormat) as caught:
        auth.check_fields(registry.get(slug).manifest, {"api_key": Secret(value)})
    assert value not in str(caught.value)
    assert caught.value.data == {"field": "api_key"}


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidKeyFormat, match="API key is missing"):
        auth.check_fields(registry.get("openai").manifest, {})
