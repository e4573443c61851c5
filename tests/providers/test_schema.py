"""The published JSON schema says what the reader takes."""

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers import schema, shape
from providers.builtin import BUILT_IN, CATALOG

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "providers" / "manifest.schema.json"
VALIDATOR = jsonschema.Draft202012Validator(schema.published())
DEFINITIONS = {slug: tomllib.loads((CATALOG / f"{slug}.toml").read_text()) for slug in BUILT_IN}
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2000),
    st.sampled_from(["", "x", "GET", "*", "/v1/*", "https://a.example", "header", "a\tb", "{x}"]),
    st.lists(st.sampled_from(["x", "GET", 3, True]), max_size=2),
    st.dictionaries(st.sampled_from(["name", "place", "json", "x"]), st.sampled_from(["x", 3]), max_size=2),
)


def test_the_published_schema_is_that_of_the_code() -> None:
    assert json.loads(PUBLISHED.read_text()) == schema.published()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.published())


@pytest.mark.parametrize("slug", BUILT_IN)
def test_the_built_in_definitions_fit_the_schema(slug: str) -> None:
    assert list(VALIDATOR.iter_errors(DEFINITIONS[slug])) == []


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place within a definition."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_the_reader_takes_what_the_schema_takes(data: st.DataObject) -> None:
    """A definition in which one thing was replaced, left out or added is refused by both or by none."""
    changed = copy.deepcopy(DEFINITIONS[data.draw(st.sampled_from(BUILT_IN))])
    *way, last = data.draw(st.sampled_from(places(changed)[1:]))
    inner: Any = changed
    for step in way:
        inner = inner[step]
    what = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if what == "remove":
        del inner[last]
    elif what == "add" and isinstance(inner, dict):
        inner[data.draw(st.sampled_from(["colour", "path", "system", "name", "status"]))] = data.draw(JUNK)
    else:
        inner[last] = data.draw(JUNK)
    reader = shape.Reader()
    reader.table(schema.DEFINITION, changed)
    assert bool(reader.problems) is bool(list(VALIDATOR.iter_errors(changed))), (changed, reader.problems)


TEXT = """slug = "x"
# a comment = "y"
[auth]
place = "bearer"
[[operations]]
name = "one"
[[operations]]
name = "two"
path = "/x"
[operations.usage]
cost = "c"
[[check]]
method = "GET"
[[check.errors]]
status = 401
[[check.errors]]
status = 402
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("slug",), 1),
        (("auth", "place"), 4),
        (("auth", 0, "place"), 3),
        (("operations", 0, "name"), 6),
        (("operations", 1, "path"), 9),
        (("operations", 1, "method"), 7),
        (("operations", 1, "usage", "cost"), 11),
        (("check", 0, "errors", 1, "status"), 17),
        (("check", 0, "errors", 1, "category"), 16),
        (("absent",), 0),
    ],
)
def test_the_line_of_a_key_is_found(path: shape.Path, line: int) -> None:
    assert shape.line_of(path, TEXT) == line
