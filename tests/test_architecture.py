"""Imports point down only, late ones included; siblings meet only above."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent

# From the ground up. Packages in one layer never import one another.
LAYERS: list[set[str]] = [
    {"digitalme.errors", "digitalme.env"},
    {"digitalme.logs"},
    {"digitalme.error_reports", "digitalme.sentry"},
    {
        "digitalme.env_file",
        "digitalme.commands",
        "digitalme.database",
        "digitalme.downloads",
        "digitalme.material",
        "digitalme.celery",
        "digitalme.settings",
        "digitalme.throttling",
        "digitalme.version",
    },
    {"digitalme.statements"},
    {"digitalme.pipeline"},
    {"providers"},
    {"digitalme.audit"},
    {"digitalme.notifications"},
    {"digitalme.accounts"},
    {"apikeys", "quotas", "usage"},
    {"digitalme.gateway"},
    {"digitalme.forecasts"},
    {"digitalme.alerts"},
    {"digitalme.transfer"},
    {"digitalme.web", "digitalme.api", "admin"},
    {"digitalme.middleware", "digitalme.ops"},
    {"digitalme.urls", "digitalme.asgi", "digitalme.server", "digitalme.supervisor"},
]
RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
STANDARD_LIBRARY_ONLY = {"digitalme.errors", "digitalme.env"}


def owner(module: str) -> str | None:
    """The package of LAYERS that a module belongs to; an admin.py is a face wherever it lies."""
    if module.endswith(".admin") and not module.startswith("django"):
        return "admin"
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in RANK), None)


def imports(source: str) -> set[str]:
    """Every module that the source names in an import, wherever it stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offences(module: str, source: str) -> list[str]:
    """The imports of this module that do not point down."""
    here = owner(module)
    if here is None:
        return []
    found = []
    for name in sorted(imports(source)):
        there = owner(name)
        if there and there != here and RANK[there] >= RANK[here]:
            found.append(f"{module} imports {name}")
    return found


def modules() -> dict[str, Path]:
    """The product's own modules by dotted name."""
    files = [
        file
        for folder in ("digitalme", "apikeys", "quotas", "usage", "providers")
        for file in (ROOT / folder).rglob("*.py")
        if "migrations" not in file.parts
    ]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def test_imports_point_down_only() -> None:
    found = [
        offence
        for module, file in modules().items()
        if module != "digitalme"
        for offence in offences(module, file.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("apikeys.keys", "import quotas.ledger"),
        ("digitalme.accounts.tokens", "from apikeys import keys"),
        ("providers.auth", "def late():\n    from usage.models import UsageRecord"),
        ("quotas.ledger", "from digitalme.gateway import admission"),
    ],
)
def test_an_import_that_points_up_or_sideways_is_found(module: str, source: str) -> None:
    assert offences(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("digitalme.gateway.app", "from quotas import ledger"),
        ("apikeys.admin", "from usage.models import UsageRecord"),
        ("apikeys.keys", "from providers import registry"),
    ],
)
def test_an_import_that_points_down_passes(module: str, source: str) -> None:
    assert offences(module, source) == []


def test_every_module_has_its_layer() -> None:
    homeless = [module for module in modules() if module != "digitalme" and owner(module) is None]
    assert homeless == []


@pytest.mark.parametrize("module", sorted(STANDARD_LIBRARY_ONLY))
def test_the_lowest_modules_need_the_standard_library_only(module: str) -> None:
    import sys

    named = imports(modules()[module].read_text())
    assert {name.split(".")[0] for name in named} <= sys.stdlib_module_names


def test_only_the_outbound_module_opens_connections() -> None:
    clients = {"aiohttp", "requests", "httpx", "urllib3", "socket", "smtplib", "imaplib", "ftplib"}
    # It speaks these protocols over lines that the outbound module has opened.
    over_lines = {"providers.mail_servers": {"socket", "smtplib", "imaplib"}}
    offenders = [
        f"{module} imports {name}"
        for module, file in modules().items()
        if module != "providers.outbound"
        for name in imports(file.read_text())
        if name.split(".")[0] in clients - over_lines.get(module, set())
        or name.startswith(("urllib.request", "http.client"))
    ]
    assert offenders == []


def test_mail_goes_over_lines_that_are_given_to_it() -> None:
    tree = ast.parse(modules()["providers.mail_servers"].read_text())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {name for name in called if name.split(".")[0] in ("socket", "smtplib", "imaplib")} == set()
    assert "outbound.connect" in called
