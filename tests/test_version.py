"""The version stands in two places, which say the same."""

import tomllib
from pathlib import Path

from digitalme.version import VERSION

ROOT = Path(__file__).resolve().parent.parent


def test_the_code_says_the_version_of_the_project() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
