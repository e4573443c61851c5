"""A secret goes nowhere by accident."""

import ast
import copy
import dataclasses
import json
import operator
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.utils.saferepr import saferepr
from django.core import signing
from django.core.serializers.json import DjangoJSONEncoder
from django.template import Context, Template
from kombu.utils import json as kombu_json
from rest_framework.renderers import JSONRenderer

from providers.secrets import Secret

CANARY = "sk-canary-0123456789"
ROOT = Path(__file__).resolve().parents[2]
# Where a credential is put into a request, sealed, or reduced to what may be shown of it.
MAY_REVEAL = {
    "providers/auth.py",
    "providers/echoes.py",
    "providers/google.py",
    "providers/mail.py",
    "providers/mcp.py",
    "providers/mail.py:mailbox",
    "providers/mail_servers.py:_log_in",
    "providers/mail_servers.py:_enter",
    "providers/mail_servers.py:_plain",
    "apikeys/vault.py",
    "digitalme/notifications/signing.py:headers",
    "apikeys/renewal.py:seconds_left",
    "apikeys/keys.py:hint",
    "apikeys/keys.py:plain_fields",
}
NAMES = {"reveal", "_value"}
PRODUCT = ("digitalme", "apikeys", "quotas", "usage", "providers")


@dataclasses.dataclass
class Holder:
    """Something that carries a secret about."""

    key: Secret


@pytest.mark.parametrize("shown", [str, repr, "{}".format, "{:>40}".format, lambda one: f"{one!r} {one}", "%s".__mod__])
def test_it_prints_as_nothing(shown: object) -> None:
    assert callable(shown)
    assert CANARY not in shown(Secret(CANARY))


def test_it_tells_its_value_when_asked() -> None:
    assert Secret(CANARY).reveal() == CANARY


@pytest.mark.parametrize(
    "deed",
    [
        pickle.dumps,
        *(
            lambda one, protocol=protocol: pickle.dumps(one, protocol)
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
        json.dumps,
        lambda one: json.dumps({"key": one}, cls=DjangoJSONEncoder),
        lambda one: JSONRenderer().render({"key": one}),
        kombu_json.dumps,
        signing.dumps,
        yaml.dump,
        copy.copy,
        copy.deepcopy,
        lambda one: dataclasses.asdict(Holder(one)),
        len,
        iter,
        list,
        hash,
        vars,
        bytes,
        operator.methodcaller("__reduce__"),
        operator.methodcaller("__reduce_ex__", 2),
        operator.methodcaller("__getstate__"),
        lambda one: one + "",
        lambda one: "" in one,
        lambda one: one[0],
        lambda one: one < one,
        lambda one: {one: 1},
        lambda one: "".join([one]),
        lambda one: type("Other", (Secret,), {}),
    ],
)
def test_it_cannot_be_carried_off(deed: Any) -> None:
    with pytest.raises(TypeError) as problem:
        deed(Secret(CANARY))
    assert CANARY not in str(problem.value)


def test_it_prints_as_nothing_wherever_it_is_held() -> None:
    held = {"key": Secret(CANARY), "list": [Secret(CANARY)], "held": Holder(Secret(CANARY))}
    shown = [repr(held), str(held), f"{held}", saferepr(held), json.dumps(held, default=repr)]
    assert not [text for text in shown if CANARY in text]


@pytest.mark.parametrize("expression", ["key", "key.reveal", "key|default:1", "key|pprint", "key|safe", "key|upper"])
def test_no_template_prints_it(expression: str) -> None:
    assert CANARY not in Template(f"{{{{ {expression} }}}}").render(Context({"key": Secret(CANARY)}))


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


def test_secrets_of_any_text_are_compared() -> None:
    assert Secret("\ud800") == Secret("\ud800")


def revelations(source: str, place: str) -> list[str]:
    """Where a module gets at the value: by attribute, by a text that names it, or under another name."""
    found = []

    def walk(node: ast.AST, where: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            where = f"{place}:{node.name}"
        named = isinstance(node, ast.Attribute) and node.attr in NAMES and not _own(node)
        said = isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(NAMES & {node.value})
        matched = isinstance(node, ast.MatchClass) and bool(NAMES & set(node.kwd_attrs))
        if (named or said or matched) and not MAY_REVEAL & {place, where}:
            found.append(f"{where}, line {getattr(node, 'lineno', 0)}")
        for child in ast.iter_child_nodes(node):
            walk(child, where)

    walk(ast.parse(source), place)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "print(key.reveal())",
        "show = key.reveal",
        "from providers.secrets import Secret as S\nS.reveal(key)",
        "getattr(key, 'reveal')()",
        "import operator\noperator.methodcaller('reveal')(key)",
        "key._value",
        "object.__getattribute__(key, '_value')",
        "match key:\n    case Secret(_value=found):\n        print(found)",
        "def hint():\n    pass\nkey.reveal()",
    ],
)
def test_a_revelation_is_found_however_it_is_written(source: str) -> None:
    assert revelations(source, "digitalme/web/page.py")


def test_it_is_revealed_where_it_must_be_only() -> None:
    product = {file for folder in PRODUCT for file in (ROOT / folder).rglob("*.py")} | {ROOT / "manage.py"}
    product -= {ROOT / "providers/secrets.py"}
    assert len(product) > 100
    offenders = [one for file in sorted(product) for one in revelations(file.read_text(), _place(file))]
    assert offenders == []


def test_every_folder_with_code_is_looked_at() -> None:
    holding = {file.relative_to(ROOT).parts[0] for file in ROOT.glob("*/**/*.py")}
    assert {one for one in holding if not one.startswith(".")} <= {*PRODUCT, "tests", "bench", "var"}


def _own(node: ast.Attribute) -> bool:
    """Whether it is another class's own attribute of that name: a secret itself has no code but its own."""
    return node.attr == "_value" and isinstance(node.value, ast.Name) and node.value.id == "self"


def _place(file: Path) -> str:
    return str(file.relative_to(ROOT))
