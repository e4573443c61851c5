"""The operator's folder of definitions, and the command that checks one."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from digitalme.errors import NotFound
from providers import apps, builtin, definitions, installed, registry
from providers.builtin import BUILT_IN
from providers.manifest import ManifestProblem
from tests.providers.test_admin import TEXT

pytestmark = pytest.mark.django_db
EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "providers" / "examples"


@pytest.fixture
def folder(tmp_path: Path, settings: Any) -> Path:
    """The operator's folder."""
    settings.DIGITALME_PROVIDERS_DIR = str(tmp_path)
    return tmp_path


def put(folder: Path, text: str, name: str = "acme.toml", at: int = 1) -> None:
    (folder / name).write_text(text)
    os.utime(folder / name, ns=(at, at))
    registry.refresh()


def test_a_file_in_the_folder_is_a_provider(folder: Path) -> None:
    put(folder, TEXT)
    assert (registry.get("acme").name, registry.get("acme").origin) == ("Acme", "folder")


def test_a_file_is_read_again_when_it_changes(folder: Path) -> None:
    put(folder, TEXT)
    put(folder, TEXT.replace("Acme", "Bcme"), at=2)
    assert registry.get("acme").name == "Bcme"


def test_a_file_that_is_gone_takes_its_provider_along(folder: Path) -> None:
    put(folder, TEXT)
    (folder / "acme.toml").unlink()
    registry.refresh()
    with pytest.raises(NotFound):
        registry.get("acme")


def test_a_file_that_is_saved_halfway_takes_nothing_away(folder: Path) -> None:
    put(folder, TEXT)
    put(folder, TEXT[:40], at=2)
    assert registry.get("acme").name == "Acme"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slug = 3", "bad.toml, line 1: 'slug'"),
        (TEXT.replace('"acme"', '"openai"'), "'openai' is built in"),
        (TEXT.replace("https:", "http:"), "'base_url'"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_and_left_out(folder: Path, text: str, words: str) -> None:
    put(folder, text, "bad.toml")
    put(folder, TEXT)
    (problem, *_) = installed.folder().problems
    assert words in problem
    assert [one.msg for one in apps.folder()] == [*installed.folder().problems]
    assert registry.get("acme")
    assert registry.get("openai").origin == "built-in"


def test_two_files_for_one_slug_are_told(folder: Path) -> None:
    put(folder, TEXT)
    put(folder, TEXT.replace("Acme", "Other"), "zcme.toml")
    assert "defined by another file" in installed.folder().problems[0]
    assert registry.get("acme").name == "Acme"


def test_a_folder_that_is_not_there_is_told(settings: Any, tmp_path: Path) -> None:
    settings.DIGITALME_PROVIDERS_DIR = str(tmp_path / "absent")
    assert "names no folder" in apps.folder()[0].msg
    registry.refresh()
    assert registry.get("openai")


def test_the_operators_file_comes_before_what_is_installed(folder: Path) -> None:
    definitions.install(TEXT)
    put(folder, TEXT.replace("Acme", "Operator's"))
    assert registry.get("acme").name == "Operator's"
    with pytest.raises(ManifestProblem, match="a file of the operator's"):
        definitions.checked(TEXT)


def test_an_operators_upstream_reaches_an_installed_provider(settings: Any) -> None:
    settings.DIGITALME_UPSTREAMS = {"acme": "http://127.0.0.1:9100"}
    definitions.install(TEXT)
    found = registry.get("acme")
    assert (found.upstream, found.operator_upstream) == ("http://127.0.0.1:9100", True)
    assert found.destination == ("https://api.acme.example",)


def test_a_look_that_finds_nothing_new_asks_one_thing(django_assert_num_queries: Any) -> None:
    definitions.install(TEXT)
    with django_assert_num_queries(1):
        registry.refresh()


def test_calls_between_two_looks_ask_nothing(django_assert_num_queries: Any) -> None:
    registry.refresh()
    with django_assert_num_queries(0):
        registry.get("openai")
        registry.all_providers()


async def test_an_event_loop_is_never_made_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_due", 0.0)
    monkeypatch.setattr(registry, "refresh", lambda: pytest.fail("asked"))
    assert registry.get("openai")


def test_providers_stand_in_their_order(folder: Path) -> None:
    put(folder, TEXT)
    slugs = [one.slug for one in registry.all_providers()]
    assert (slugs[0], slugs[-2:]) == ("anthropic", ["acme", "sandbox"])


# --- check_manifest ------------------------------------------------------------------------------


def check(*files: Path) -> str:
    out = io.StringIO()
    call_command("check_manifest", *map(str, files), stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("name", ["mistral", "notion", "linear"])
def test_the_examples_are_in_order(name: str) -> None:
    assert f"({name}) is in order" in check(EXAMPLES / f"{name}.toml")


@pytest.mark.parametrize("slug", BUILT_IN)
def test_the_built_in_definitions_are_in_order(slug: str) -> None:
    assert "is in order" in check(builtin.CATALOG / f"{slug}.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slug = ", "acme.toml: this is not valid TOML"),
        (TEXT.replace("bearer", "cookie"), "acme.toml, line 13, [auth]: 'place' must be one of bearer"),
        (TEXT.replace('"acme"', '"github"'), "'github' is built in"),
        (TEXT.replace("api.acme.example", "10.1.2.3"), "https://10.1.2.3 cannot be used"),
    ],
)
def test_the_command_names_file_line_key_and_remedy(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "acme.toml").write_text(text)
    with pytest.raises(CommandError) as found:
        check(tmp_path / "acme.toml")
    assert words in str(found.value)
    assert found.value.returncode == 1


def test_the_command_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"absent\.toml: the file cannot be read"):
        check(tmp_path / "absent.toml")
