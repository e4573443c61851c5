"""Where the caller's token is taken from and the provider's key is put."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.errors import InvalidKeyFormat, InvalidRequest
from providers import manifest, registry
from providers.manifest import Inlet, Manifest
from providers.placement import Incoming, Outgoing, place_in, take_from_address, take_from_body
from providers.secrets import Secret

TOKEN = "dm_token"
KEY = "key:/+&=é"[:-1] + "x"
FORM = "application/x-www-form-urlencoded"


def looks(text: str) -> bool:
    return text == TOKEN


def definition(auth: Any, *inlets: str) -> Manifest:
    return manifest.parse(
        {
            "slug": "acme",
            "name": "Acme",
            "help_text": "Ask.",
            "base_url": "https://api.acme.example",
            "fields": [
                {"name": "key", "label": "Key", "pattern": ".*"},
                {"name": "org", "label": "Org", "pattern": ".*", "required": False},
            ],
            "auth": auth,
            "accepts_token_in": list(inlets),
            "operations": [{"name": "x", "method": "*", "path": "/x/*"}],
        },
        "acme.toml",
    )


def put(auth: Any, request: Outgoing, *, came_in: Inlet | None = None, **more: str) -> Outgoing:
    fields = {name: Secret(value) for name, value in {"key": KEY, **more}.items()}
    place_in(definition(auth), fields, request, came_in=came_in)
    return request


def request(path: str = "/x", body: bytes = b"", **headers: str) -> Outgoing:
    return Outgoing("POST", path, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"place": "bearer"}, "authorization", f"Bearer {KEY}"),
        ({"place": "token"}, "authorization", f"token {KEY}"),
        ({"place": "header", "name": "authorization"}, "authorization", KEY),
        ({"place": "header", "name": "X-Key"}, "x-key", KEY),
        ({"place": "header", "name": "authorization", "scheme": "Key"}, "authorization", f"Key {KEY}"),
    ],
)
def test_a_key_goes_into_a_header(auth: dict[str, str], header: str, value: str) -> None:
    sent = put({**auth, "field": "key"}, request(authorization=f"Bearer {TOKEN}", x_api_key=TOKEN))
    assert sent.headers == {header: value}


def test_a_key_goes_into_the_query_in_the_place_of_what_stood_there() -> None:
    sent = put({"place": "query", "name": "key", "field": "key"}, request("/x?a=%2F&key=old&%6Bey=older&b="))
    assert sent.path == "/x?a=%2F&b=&key=key%3A%2F%2B%26%3Dx"


def test_a_key_goes_into_a_query_that_was_not_there() -> None:
    assert put({"place": "query", "name": "k", "field": "key"}, request()).path == "/x?k=key%3A%2F%2B%26%3Dx"


def test_a_key_goes_into_a_form_whose_other_fields_stay_as_they_are() -> None:
    sent = put({"place": "form", "name": "key", "field": "key"}, request(body=b"a=%2f+b&key=old&c", content_type=FORM))
    assert sent.body == b"a=%2f+b&c&key=key%3A%2F%2B%26%3Dx"


def test_a_form_comes_into_being_for_a_key() -> None:
    sent = put({"place": "form", "name": "key", "field": "key"}, request())
    assert (sent.body, sent.headers["content-type"]) == (b"key=key%3A%2F%2B%26%3Dx", FORM)


def multipart(*parts: tuple[str, bytes]) -> bytes:
    pieces = [
        b'--B\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in parts
    ]
    return b"".join(pieces) + b"--B--\r\n"


def test_a_key_goes_into_a_multipart_form_whose_files_stay_as_they_are() -> None:
    body = multipart(("key", b"old"), ("file", b"\x00\r\n--Bx\xff"))
    sent = put(
        {"place": "form", "name": "key", "field": "key"},
        request(body=body, content_type="multipart/form-data; charset=utf-8; boundary=B"),
    )
    assert sent.body == multipart(("key", KEY.encode()), ("file", b"\x00\r\n--Bx\xff"))


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"--B\r\n\r\n", 'multipart/form-data; boundary="B"'), (b"{}", "application/json"), (b"x", "text/plain")],
)
def test_a_body_that_is_no_form_takes_no_key(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidRequest):
        put({"place": "form", "name": "key", "field": "key"}, request(body=body, content_type=kind))


def test_a_key_goes_into_json() -> None:
    sent = put({"place": "json", "name": "clientKey", "field": "key"}, request(body=b'{"a": 1, "clientKey": "old"}'))
    assert json.loads(sent.body) == {"a": 1, "clientKey": KEY}


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_what_is_no_object_takes_no_key(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        put({"place": "json", "name": "clientKey", "field": "key"}, request(body=body))


PATH = {"place": "path", "field": "key", "prefixes": ["/bot", "/file/bot"]}


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/bot/getMe", "/botkey:%2F+&=x/getMe"),
        ("/file/bot/a%2Fb?c=d", "/file/botkey:%2F+&=x/a%2Fb?c=d"),
        ("/bot", "/botkey:%2F+&=x"),
    ],
)
def test_a_key_goes_into_the_path(path: str, sent: str) -> None:
    assert put(PATH, request(path)).path == sent


@pytest.mark.parametrize("path", ["/botanic/x", "/x/bot/getMe", "/"])
def test_a_path_without_a_place_takes_no_key(path: str) -> None:
    with pytest.raises(InvalidRequest):
        put(PATH, request(path))


KINDS = [
    {"place": "none", "paths": "/x/free/*"},
    {"place": "query", "name": "key", "field": "key", "paths": ["/x/q", "/x/both"]},
    {"place": "header", "name": "x-key", "field": "key", "paths": "/x/both"},
    {"place": "header", "name": "x-org", "field": "org", "extra": True},
    {"place": "token", "field": "key", "when": "old.*"},
    {"place": "bearer", "field": "key"},
]


@pytest.mark.parametrize(
    ("path", "more", "came_in", "sent", "headers"),
    [
        ("/x/free/1", {}, None, "/x/free/1", {}),
        ("/x/q", {}, None, "/x/q?key=key%3A%2F%2B%26%3Dx", {}),
        ("/x/y", {}, None, "/x/y", {"authorization": f"Bearer {KEY}"}),
        ("/x/y", {"key": "old1"}, None, "/x/y", {"authorization": "token old1"}),
        ("/x/y", {"org": "o"}, None, "/x/y", {"authorization": f"Bearer {KEY}", "x-org": "o"}),
        ("/x/both", {}, None, "/x/both?key=key%3A%2F%2B%26%3Dx", {}),
        ("/x/both", {}, Inlet("header", "x-key"), "/x/both", {"x-key": KEY}),
        ("/x/both", {}, Inlet("form", "other"), "/x/both?key=key%3A%2F%2B%26%3Dx", {}),
    ],
)
def test_of_several_places_the_first_that_fits_takes_the_key(
    path: str, more: dict[str, str], came_in: Inlet | None, sent: str, headers: dict[str, str]
) -> None:
    found = put(KINDS, request(path), came_in=came_in, **more)
    assert (found.path, found.headers) == (sent, headers)


def test_a_call_without_its_key_is_not_made() -> None:
    with pytest.raises(InvalidKeyFormat):
        place_in(definition({"place": "query", "name": "key", "field": "org"}), {"key": Secret(KEY)}, request())


@pytest.mark.parametrize("value", ["a b", "a\r\nb", "é", "\x00"])
def test_a_value_that_no_key_has_goes_nowhere(value: str) -> None:
    for place in ("query", "form", "json"):
        with pytest.raises(InvalidKeyFormat):
            put({"place": place, "name": "key", "field": "key"}, request(), key=value)


# --- The caller's token --------------------------------------------------------------------------


def taken(arrived: Incoming, *inlets: str) -> Incoming:
    found = definition([PATH, {"place": "bearer", "field": "key"}], *inlets)
    take_from_address(found, arrived, looks)
    take_from_body(found, arrived, looks)
    return arrived


def test_a_token_is_taken_out_of_the_path() -> None:
    found = taken(Incoming("/botdm_token/send%2FMessage", ""), "path")
    assert (found.token, found.inlet, found.path) == (TOKEN, Inlet("path"), "/bot/send%2FMessage")


def test_a_token_is_taken_out_of_the_longest_prefix() -> None:
    assert taken(Incoming("/file/botdm_token/a.jpg", ""), "path").path == "/file/bot/a.jpg"


def test_what_is_no_token_stays_in_the_path() -> None:
    found = taken(Incoming("/bot12345:AAA/getMe", ""), "path")
    assert (found.token, found.path) == ("", "/bot12345:AAA/getMe")


def test_a_token_is_taken_out_of_the_query() -> None:
    found = taken(Incoming("/x", "a=%2f&key=dm_token&b"), "query:key")
    assert (found.token, found.query) == (TOKEN, "a=%2f&b")


@pytest.mark.parametrize("query", ["key=other", "kee=dm_token", ""])
def test_another_parameter_stays_in_the_query(query: str) -> None:
    found = taken(Incoming("/x", query), "query:key")
    assert (found.token, found.query) == ("", query)


def test_a_token_is_taken_out_of_a_form() -> None:
    found = taken(Incoming("/x", "", FORM, b"key=dm_token&a=%2f"), "form:key")
    assert (found.token, found.body) == (TOKEN, b"a=%2f")


def test_a_token_is_taken_out_of_a_multipart_form() -> None:
    body = multipart(("file", b"\x00\xff"), ("key", TOKEN.encode()), ("a", b"b"))
    found = taken(Incoming("/x", "", "multipart/form-data; boundary=B", body), "form:key")
    assert (found.token, found.body) == (TOKEN, multipart(("file", b"\x00\xff"), ("a", b"b")))


def test_a_token_is_taken_out_of_json() -> None:
    found = taken(Incoming("/x", "", "application/json", b'{"clientKey": "dm_token", "a": [1.5]}'), "json:clientKey")
    assert (found.token, json.loads(found.body)) == (TOKEN, {"a": [1.5]})


@pytest.mark.parametrize("body", [b'{"clientKey": "other"}', b'{"clientKey": 3}', b'["dm_token"]', b"{", b""])
def test_what_holds_no_token_is_left_byte_for_byte(body: bytes) -> None:
    found = taken(Incoming("/x", "", "application/json", body), "json:clientKey")
    assert (found.token, found.body) == ("", body)


def test_every_copy_of_the_token_is_taken_out() -> None:
    found = taken(
        Incoming("/botdm_token/x", "key=dm_token&key=dm_token", FORM, b"k=dm_token"), "path", "query:key", "form:k"
    )
    assert (found.path, found.query, found.body) == ("/bot/x", "", b"")
    assert found.inlet == Inlet("path")


@given(st.lists(st.tuples(st.text("abk%=+ ", max_size=4), st.text("xyz&% =", max_size=6)), max_size=5))
def test_a_query_without_a_token_comes_through_byte_for_byte(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    assert taken(Incoming("/x", query), "query:key").query == query


@given(st.lists(st.tuples(st.sampled_from(["a", "file", "b"]), st.binary(max_size=40)), max_size=4), st.integers(0, 4))
def test_a_multipart_form_comes_through_byte_for_byte(parts: list[tuple[str, bytes]], place: int) -> None:
    parts = [(name, value) for name, value in parts if b"--B" not in value]
    with_token = [*parts[:place], ("key", TOKEN.encode()), *parts[place:]]
    found = taken(Incoming("/x", "", "multipart/form-data; boundary=B", multipart(*with_token)), "form:key")
    assert (found.token, found.body) == (TOKEN, multipart(*parts))


@pytest.mark.parametrize("slug", ["slack", "telegram", "twocaptcha", "google", "clickup"])
def test_the_built_in_providers_name_where_their_sdks_put_keys(slug: str) -> None:
    assert registry.get(slug).manifest.inlets
