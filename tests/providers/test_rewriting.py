"""Addresses of the provider in its answers lead through this server; everything else stays as it is."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers import registry
from providers.rewriting import Rewriter, leads_away

JSON = [(b"Content-Type", b"application/json; charset=utf-8")]


def rewriter(slug: str, upstream: str = "") -> Rewriter:
    provider = registry.get(slug)
    provider = replace(provider, upstream=upstream or provider.manifest.base_url, operator_upstream=bool(upstream))
    return Rewriter(provider, f"https://gw.example/gateway/{slug}", lambda path: f"<{path}>")


def test_the_next_page_lies_here() -> None:
    given = [
        (
            b"Link",
            b'<https://api.github.com/repositories/1/issues?page=2>; rel="next", <https://else.example/>; rel="x"',
        )
    ]
    assert rewriter("github").headers(given, [(b"link", b"old"), (b"etag", b"1")]) == [
        (b"etag", b"1"),
        (
            b"link",
            b'<https://gw.example/gateway/github/repositories/1/issues?page=2>; rel="next", '
            b'<https://else.example/>; rel="x"',
        ),
    ]


def test_objects_are_loaded_from_here() -> None:
    body = (
        b'{"url":"https://api.github.com/repos/a/b","html_url":"https://github.com/a/b", "body":"see '
        b'https://api.github.com/x", "issues_url" : "https:\\/\\/api.github.com\\/repos\\/a\\/b\\/issues{\\/number}",'
        b'"upload_url":"https://uploads.github.com/repos/a/b/releases/1/assets{?name,label}","n":1.50}'
    )
    assert rewriter("github").body(JSON, body) == (
        b'{"url":"https://gw.example/gateway/github/repos/a/b","html_url":"https://github.com/a/b", "body":"see '
        b'https://api.github.com/x", "issues_url" : "https://gw.example/gateway/github/repos/a/b/issues{/number}",'
        b'"upload_url":"https://gw.example/gateway/github/uploads/repos/a/b/releases/1/assets{?name,label}","n":1.50}'
    )


def test_an_upload_without_a_key_gets_a_ticket_for_its_path() -> None:
    body = b'{"ok":true,"upload_url":"https:\\/\\/files.slack.com\\/upload\\/v1\\/ABC?x=1","file_id":"F1"}'
    assert json.loads(rewriter("slack").body(JSON, body)) == {
        "ok": True,
        "upload_url": "https://gw.example/gateway/slack/files/upload/v1/ABC?x=1&dm_ticket=</files/upload/v1/ABC>",
        "file_id": "F1",
    }


def test_a_resumable_upload_goes_on_here() -> None:
    given = [(b"location", b"https://www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id=1")]
    ((_, value),) = rewriter("google").headers(given, [])
    assert value == b"https://gw.example/gateway/google/upload/drive/v3/files?uploadType=resumable&upload_id=1"


@pytest.mark.parametrize(
    "address",
    [
        "https://api.github.com.evil.example/x",
        "https://api.github.comx/",
        "http://api.github.com/x",
        "https://evil.example/https://api.github.com/",
        "//api.github.com/x",
        "https://me@api.github.com/x",
        "",
    ],
)
def test_another_address_is_not_taken_for_the_providers(address: str) -> None:
    assert rewriter("github").address(address) == ""


def test_an_operators_upstream_names_itself() -> None:
    found = rewriter("github", "http://127.0.0.1:9")
    assert found.address("http://127.0.0.1:9/user") == "https://gw.example/gateway/github/user"
    assert found.address("https://api.github.com/user") == "https://gw.example/gateway/github/user"


@pytest.mark.parametrize("headers", [[(b"content-type", b"text/plain")], [*JSON, (b"content-encoding", b"gzip")], []])
def test_what_is_not_plain_json_stays_as_it_is(headers: list[tuple[bytes, bytes]]) -> None:
    body = b'{"url":"https://api.github.com/x"}'
    assert rewriter("github").body(headers, body) == body


@given(
    st.recursive(
        st.text(max_size=12) | st.integers() | st.none(),
        lambda inner: (
            st.dictionaries(st.sampled_from(["url", "a_url", "body"]), inner, max_size=3) | st.lists(inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_json_without_the_providers_addresses_comes_through_byte_for_byte(value: object) -> None:
    body = json.dumps(value).encode()
    assert rewriter("github").body(JSON, body) == body


def test_an_address_quoted_in_a_text_is_no_member() -> None:
    body = json.dumps({"body": '{"url": "https://api.github.com/x"}'}).encode()
    assert rewriter("github").body(JSON, body) == body


@pytest.mark.parametrize(
    ("slug", "location", "away"),
    [
        ("github", "https://api.github.com/repositories/1", False),
        ("github", "/repositories/1", False),
        ("github", "https://codeload.github.com/a/b/zip", True),
        ("google", "https://www.googleapis.com/upload/x", False),
        ("openai", "https://api.openai.com/v1/models", True),
        ("slack", "https://slack.com/x", True),
    ],
)
def test_a_redirect_that_leaves_the_provider_is_told(slug: str, location: str, away: bool) -> None:
    assert leads_away(registry.get(slug), [(b"Location", location.encode())]) is away


def test_an_answer_without_a_location_leads_nowhere() -> None:
    assert not leads_away(registry.get("openai"), [(b"range", b"bytes=0-99")])
