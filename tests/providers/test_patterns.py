"""Patterns that could take very long to match are refused; what definitions need is not."""

import re
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from providers import manifest, patterns
from providers.auth import MAX_KEY_LENGTH
from providers.builtin import BUILT_IN, CATALOG
from providers.manifest import ManifestProblem

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "providers" / "examples"
FILES = [CATALOG / f"{slug}.toml" for slug in BUILT_IN] + sorted(EXAMPLES.glob("*.toml"))
GOOD = (EXAMPLES / "mistral.toml").read_text()
OLD = tomllib.loads(GOOD)["fields"][0]["pattern"]


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+",
        r"(a*)*b",
        r"(a|aa)+",
        r"(a|a)*x",
        r"(?:a?){1,60}a{60}",
        r"([a-z]+\d*)+!",
        r"(\w+\s?)*",
        r"(.*a){20}",
        r"([0-9a-f]{1,8}){1,64}z",
        r"(a?b?)+c",
        r"(?=(a+)+b)x",
        r"((ab?)+(ba?)+)+c",
        r"(x(?:y|yz)*)+z",
        r"(?i)(a+A*)+b",
        r"(a{0,5000}){0,5000}",
        r".*.*x",
        r"a*a*a*a*b",
        r"[a-z]+[a-z0-9]+[a-z_]+x",
        r"(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)x",
        r"(a)+(\1)+b",
        r"(a)?(?(1)b|c)",
        r"((){1000}){1000}x",
        r"([^x]+y?)+z",
        r"(é+ü*)+x",
    ],
)
def test_what_may_take_very_long_is_refused(pattern: str) -> None:
    assert "very long" in patterns.flaw(pattern)
    with pytest.raises(ManifestProblem, match=r"line 13, .*'pattern' could take very long to match"):
        manifest.read(GOOD.replace(f"'{OLD}'", f"'{pattern}'"), "house.toml")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_definition_here_has_good_patterns(file: Path) -> None:
    manifest.load(file)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a|b)+",
        r"(ab|cd)*e",
        r"(\.[a-z0-9-]{1,63}){1,8}",
        r"[a-z]+(,[a-z]+)*",
        r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}",
        r".+-[a-z]{4}",
        r"(?i)key-[a-f0-9]+(:[a-f0-9]+)*",
        r"a?b?c?d",
        r"\w+@\w+",
        r"(live|test|tmp)_[A-Za-z0-9]{20,}",
        r"sk_(?!bad)[^\s]{8,}",
        r"",
    ],
)
def test_what_the_next_character_settles_is_taken(pattern: str) -> None:
    assert patterns.flaw(pattern) == ""


@pytest.mark.parametrize("pattern", ["(", "[a", "a{3,1}", "*", "(?P<x", "(?<=a+)b"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert "not a regular expression" in patterns.flaw(pattern)


def test_a_pattern_of_many_levels_is_judged() -> None:
    assert patterns.flaw("(?:" * 200 + "a" + ")?" * 200) in ("", patterns.flaw("("))


PIECES = st.recursive(
    st.sampled_from(["a", "b", "ab", "[ab]", "[^a]", ".", r"\w", "c"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2,9}", "{3}"])).map(lambda two: f"(?:{two[0]}){two[1]}"),
    ),
    max_leaves=7,
)


@settings(max_examples=300, deadline=None)
@given(pattern=PIECES, text=st.sampled_from(["a", "b", "ab", "ba", "aab", "c"]), end=st.sampled_from(["", "!", "c"]))
def test_what_is_taken_is_matched_soon(pattern: str, text: str, end: str) -> None:
    assume(not patterns.flaw(pattern))
    value = (text * MAX_KEY_LENGTH)[: MAX_KEY_LENGTH - 1] + end
    begun = time.process_time()
    re.fullmatch(pattern, value)
    # Milliseconds, where what is refused would outlast the run.
    assert time.process_time() - begun < 5
