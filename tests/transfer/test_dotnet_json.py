"""Settings as .NET reads them: what passes, what is refused, and where exactly."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digitalme.transfer import dotnet_json
from digitalme.transfer.dotnet_json import BadFile


def values(text: str | bytes) -> dict[str, str]:
    data = text.encode() if isinstance(text, str) else text
    return {entry.name: entry.text for entry in dotnet_json.read(data, "a.json")}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1, "b": "x",}', {"a": "1", "b": "x"}),
        ('// first\n{"a": /* in */ 1 // after\n}\n// last', {"a": "1"}),
        ('{"a": "// none", "b": "/* none */"}', {"a": "// none", "b": "/* none */"}),
        ('{"a": {"b": [1, {"c": true},], "d": null}}', {"a:b:0": "1", "a:b:1:c": "True", "a:d": ""}),
        ('{"a:b": "x"}', {"a:b": "x"}),
        ('{"a": {}, "b": []}', {"a": "", "b": ""}),
        ('{"a": "\\u00e9\\ud83d\\ude00\\n\\/"}', {"a": "é😀\n/"}),
        ('{"a": -1.5e+3}', {"a": "-1.5e+3"}),
    ],
)
def test_it_is_read(text: str, found: dict[str, str]) -> None:
    assert values(text) == found


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_understood(encoding: str) -> None:
    assert values('{"a": "é"}'.encode(encoding)) == {"a": "é"}


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", "1:1", "must begin with {"),
        ("[]", "1:1", "must begin with {"),
        ("{", "1:2", "begins at 1:1; } is missing"),
        ('{"a": [1,\n', "2:1", "begins at 1:7; ] is missing"),
        ('{"a" 1}', "1:6", "colon"),
        ('{"a": 1 "b": 2}', "1:9", "comma"),
        ("{'a': 1}", "1:2", "double quotes"),
        ("{a: 1}", "1:2", "double quotes"),
        ("{,}", "1:2", "double quotes"),
        ('{"a": [1,,2]}', "1:10", "value is missing"),
        ('{"a": }', "1:7", "value is missing"),
        ('{"a": 01}', "1:8", "no number"),
        ('{"a": 1x}', "1:8", "no number"),
        ('{"a": truely}', "1:11", "no number"),
        ('{"a": nul}', "1:7", "value is missing"),
        ('{"a": "x\ny"}', "1:9", "ends in its line"),
        ('{"a": "x', "1:9", "ends in a text"),
        ('{"a": "\\x"}', "1:8", "escape"),
        ('{"a": "\\', "1:8", "escape"),
        ('{"a": "\\u12g4"}', "1:8", "hexadecimal"),
        ('{"a": "\\ud800"}', "1:7", "half a character"),
        ('{"a": 1} x', "1:10", "follows"),
        ('{"a": 1 /* x }', "1:9", "no end"),
        ('{"a": 1,\n "A": 2}', "2:7", "line 1 already"),
        ('{"a": {"b": 1}, "A:B": 2}', "1:24", "line 1 already"),
        ('{"a":\n' + "[" * 70, "2:64", "nested"),
    ],
)
def test_a_mistake_is_named_where_it_stands(text: str, place: str, said: str) -> None:
    with pytest.raises(BadFile) as refusal:
        values(text)
    assert refusal.value.message.startswith(f"a.json:{place}: ")
    assert said in refusal.value.message


def test_what_is_not_utf8_is_named_where_it_stands() -> None:
    with pytest.raises(BadFile, match=r"a\.json:2:7: .*UTF-8"):
        values(b'{\n "a": \xff"}')


def test_a_file_that_is_too_large_is_not_read() -> None:
    with pytest.raises(BadFile, match="bytes"):
        values(b" " * (dotnet_json.MAX_BYTES + 1))


def test_an_entry_does_not_print_its_value() -> None:
    assert "secret" not in repr(dotnet_json.read(b'{"a": "secret"}', "a.json"))


texts = st.text(alphabet='aé\u4e2d😀"\\/\n\t\x00\x7f:{}[],*', max_size=12)
scalars = st.none() | st.booleans() | st.integers() | texts
names = st.text(alphabet="abcdefgh", min_size=1, max_size=8)
documents = st.dictionaries(
    names,
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)),
    max_size=5,
)


def flat(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """The document as .NET flattens it."""
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else ((str(at), one) for at, one in enumerate(value))
        return {place: text for name, one in pairs for place, text in flat(one, (*path, name)).items()}
    if isinstance(value, dict | list) or value is None:
        return {path: ""}
    return {path: str(value)}


@given(document=documents, escaped=st.booleans(), indent=st.sampled_from([None, 2]))
def test_whatever_json_is_comes_out_as_it_went_in(document: dict[str, Any], escaped: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=escaped, indent=indent)
    found = dotnet_json.read(text.encode(), "a.json")
    assert {entry.path: entry.text for entry in found} == flat(document)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:/*\\u0 \n1truefalsn', max_size=60).map(str.encode))
def test_whatever_else_it_is_gives_a_place_and_no_other_error(data: bytes) -> None:
    try:
        dotnet_json.read(data, "a.json")
    except BadFile as refusal:
        assert refusal.message.startswith("a.json:")  # noqa: PT017
