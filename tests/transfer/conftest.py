"""What the tests of imports and backups share."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import call_command

HOUSE_KEY = "sk-proj-0123456789abcdefghijklmnopWXYZ"
OTHER_KEY = "sk-proj-zyxwvutsrqponmlkjihg9876543210"
ANTHROPIC_KEY = "sk-ant-api03-0123456789abcdefghijklmnop"


def run(name: str, *arguments: str) -> str:
    """Run a command and return what it printed."""
    out = io.StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a file of settings and return its path."""

    def to(text: str) -> str:
        path = tmp_path / "appsettings.json"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return to
