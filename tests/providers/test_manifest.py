"""Provider definitions are read strictly, and errors say what to do."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from providers import manifest
from providers.builtin import BUILT_IN, CATALOG
from providers.manifest import ManifestProblem

GOOD = (CATALOG / "openai.toml").read_text()


def values() -> dict[str, Any]:
    return tomllib.loads(GOOD)


@pytest.mark.parametrize("slug", BUILT_IN)
def test_the_built_in_definitions_are_valid(slug: str) -> None:
    assert manifest.load(CATALOG / f"{slug}.toml").slug == slug


def test_the_first_field_is_the_api_key() -> None:
    for slug in ("anthropic", "openai"):
        first = manifest.load(CATALOG / f"{slug}.toml").fields[0]
        assert (first.name, first.secret) == ("api_key", True)


def test_one_credential_for_each_owner_is_the_rule_and_several_are_asked_for() -> None:
    assert not manifest.parse(values(), "house.toml").several
    assert manifest.parse({**values(), "several": True}, "house.toml").several


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"slug": "Not A Slug"}, "slug"),
        ({"slug": 3}, "slug"),
        ({"colour": "red"}, "colour"),
        ({"base_url": "http://api.openai.com"}, "base_url"),
        ({"base_url": "https://api.openai.com/v1"}, "base_url"),
        ({"base_url": "https://me@api.openai.com"}, "base_url"),
        ({"base_url": ""}, "base_url"),
        ({"help_url": "javascript:alert(1)"}, "help_url"),
        ({"needs_key": "yes"}, "needs_key"),
        ({"needs_key": False}, "fields"),
        ({"several": "yes"}, "several"),
        ({"several": True, "needs_key": False, "fields": []}, "several"),
        ({"fields": []}, "fields"),
        ({"error_shape": "xml"}, "error_shape"),
        ({"operations": []}, "operations"),
        ({"operations": "all"}, "operations"),
        ({"auth": {"place": "cookie", "field": "api_key"}}, "place"),
        ({"auth": {"place": "query", "field": "api_key"}}, "name"),
        ({"auth": {"place": "bearer", "field": "token"}}, "field"),
        ({"auth": {"place": "bearer", "field": "api_key", "name": "x-key"}}, "name"),
        ({"auth": {"place": "bearer", "field": "api_key", "scheme": "Key"}}, "scheme"),
        ({"auth": {"place": "bearer", "field": "api_key", "when": "("}}, "when"),
        ({"auth": {"place": "path", "field": "api_key"}}, "prefixes"),
        ({"auth": {"place": "header", "field": "api_key", "name": "X Key"}}, "name"),
        ({"auth": []}, "auth"),
        ({"accepts_token_in": "cookie"}, "accepts_token_in"),
        ({"accepts_token_in": "path"}, "accepts_token_in"),
        ({"hosts": [{"prefix": "x", "base_url": "https://a.example"}]}, "prefix"),
        ({"hosts": [{"prefix": "/x", "base_url": "http://a.example"}]}, "base_url"),
        ({"rewrite": {"tickets": "upload_url"}}, "tickets"),
        ({"failures": [{"json": "ok"}]}, r"\[\[failures\]\] 1: this"),
        ({"auth": "bearer"}, "auth"),
        ({"check": {"method": "GET", "path": "v1/models"}}, "path"),
        ({"strip_headers": ["Bad Header"]}, "strip_headers"),
        ({"strip_headers": 3}, "strip_headers"),
    ],
)
def test_a_wrong_definition_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ManifestProblem, match=rf"house\.toml.*({named}|'{named}')"):
        manifest.parse({**values(), **change}, "house.toml")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"method": "FETCH"}, "method"),
        ({"path": "v1/models"}, "path"),
        ({"path": "/v1/*/models"}, "path"),
        ({"dialect": "latin"}, "dialect"),
        ({"system": 1}, "system"),
        ({"requests": -1}, "requests"),
        ({"requests": True}, "requests"),
        ({"cost": 3}, "cost"),
        ({"path": "*"}, "system"),
        ({"dialect": "json", "usage": {"cost": "cost"}}, "system"),
        ({"dialect": "json"}, "usage"),
        ({"unit_price": "0.5"}, "unit_price"),
        ({"unit_price": 0.5}, "unit_price"),
        ({"name": "{model}"}, "name"),
        ({"name": "chat"}, "operations"),
    ],
)
def test_a_wrong_operation_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    given = values()
    given["operations"][1].update(change)
    with pytest.raises(ManifestProblem, match=named):
        manifest.parse(given, "house.toml")


def test_a_pattern_must_be_one() -> None:
    given = values()
    given["fields"][0]["pattern"] = "("
    with pytest.raises(ManifestProblem, match="pattern"):
        manifest.parse(given, "house.toml")


def test_a_missing_key_is_named() -> None:
    given = values()
    del given["name"]
    with pytest.raises(ManifestProblem, match="'name' is missing"):
        manifest.parse(given, "house.toml")


@pytest.mark.parametrize("content", [b"slug = ", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(content)
    with pytest.raises(ManifestProblem, match=r"broken\.toml"):
        manifest.load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestProblem, match=r"absent\.toml"):
        manifest.load(tmp_path / "absent.toml")


def test_an_error_names_line_table_key_and_remedy() -> None:
    text = GOOD.replace(
        'method = "GET"\npath = "/v1/models"\nsuccess', 'method = "FETCH"\npath = "/v1/models"\nsuccess'
    )
    line = text[: text.index("FETCH")].count("\n") + 1
    with pytest.raises(ManifestProblem) as found:
        manifest.read(text, "house.toml")
    assert str(found.value) == f"house.toml, line {line}, [check]: 'method' must be one of GET, POST."


def test_all_errors_are_told_at_once() -> None:
    text = GOOD.replace('slug = "openai"', 'slug = "Open AI"').replace(
        'dialect = "openai_chat"', 'dialekt = "openai_chat"', 1
    )
    with pytest.raises(ManifestProblem) as found:
        manifest.read(text, "house.toml")
    first, second = str(found.value).splitlines()
    assert "line 1: 'slug'" in first
    assert (
        "[[operations]] 1: 'dialekt' is not known here; remove it or correct its spelling (perhaps 'dialect')."
        in second
    )


def test_a_definition_of_absurd_length_is_refused() -> None:
    with pytest.raises(ManifestProblem, match="200000 characters"):
        manifest.read("#" * 200_001, "house.toml")


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = 1\na = 2", "\x00"])
def test_what_is_no_toml_is_refused(text: str) -> None:
    with pytest.raises(ManifestProblem, match="not valid TOML"):
        manifest.read(text, "house.toml")
