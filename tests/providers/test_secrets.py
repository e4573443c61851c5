"""A secret goes nowhere by accident."""

import ast
import copy
import json
import pickle
from pathlib import Path

import pytest

from providers.secrets import Secret

CANARY = "sk-canary-0123456789"
ROOT = Path(__file__).resolve().parents[2]
# Where a credential is put into a request or sealed.
MAY_REVEAL = {"providers/auth.py", "providers/mail.py", "apikeys/vault.py", "apikeys/keys.py"}


@pytest.mark.parametrize("shown", [str, repr, "{}".format, "{:>40}".format, lambda one: f"{one!r} {one}", "%s".__mod__])
def test_it_prints_as_nothing(shown: object) -> None:
    assert callable(shown)
    assert CANARY not in shown(Secret(CANARY))


def test_it_tells_its_value_when_asked() -> None:
    assert Secret(CANARY).reveal() == CANARY


@pytest.mark.parametrize("deed", [pickle.dumps, json.dumps, copy.copy, copy.deepcopy, len, iter, hash, vars])
def test_it_cannot_be_carried_off(deed: object) -> None:
    assert callable(deed)
    with pytest.raises(TypeError):
        deed(Secret(CANARY))


def test_it_does_not_change() -> None:
    secret = Secret(CANARY)
    with pytest.raises(AttributeError):
        secret._value = "other"
    with pytest.raises(AttributeError):
        del secret._value


def test_equal_secrets_are_equal() -> None:
    assert Secret("naïve") == Secret("naïve")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_it_is_revealed_where_it_must_be_only() -> None:
    offenders = [
        str(file.relative_to(ROOT))
        for folder in ("digitalme", "apikeys", "quotas", "usage", "providers")
        for file in (ROOT / folder).rglob("*.py")
        if str(file.relative_to(ROOT)) not in MAY_REVEAL
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    ]
    assert offenders == []
