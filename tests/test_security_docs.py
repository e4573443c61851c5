"""What docs/security.md says is tested, is."""

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)))
# Those that have to be named whatever else is.
THREATS = {"T01", "T02", "T03", "T04", "T05", "T06", "T07", "T08", "T09", "T10", "T39", "T42", "T47", "T48", "T54"}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not name or name in found


def test_every_threat_to_keys_has_its_test() -> None:
    rows = re.findall(r"^\| (T\d\d(?:, T\d\d)*) [^|]*\| (.*) \|$", TEXT, flags=re.MULTILINE)
    assert {threat for threats, tests in rows if "tests/" in tests for threat in threats.split(", ")} >= THREATS
