"""Management commands, as an operator types them, in this process."""

import io
import sys

import pytest
from django.core.management import call_command


def run(name: str, *arguments: str, stdin: str = "") -> str:
    """Run a command and return what it printed."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        call_command(name, *arguments, stdout=out)
    return out.getvalue()
