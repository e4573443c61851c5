"""What operators are given: image, compose file, variables, make targets. No container runs here: the files are
read as what they are, and what they name must exist in the product."""

import ast
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from digitalme import env

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {"migrate", "web", "worker", "beat"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGES = {"digitalme", "apikeys", "quotas", "usage", "providers"}
EXAMPLES = {
    "DIGITALME_SYSTEM_KEY_": ("OPENAI",),
    "DIGITALME_UPSTREAM_": ("OPENAI",),
    "DIGITALME_OAUTH_": ("GOOGLE_ID", "GOOGLE_SECRET"),
}


def variables_read() -> set[str]:
    """Every variable that the code reads through digitalme.env; a prefix counts with an example's ending."""
    return {name for file in sorted(ROOT.glob("digitalme/*.py")) for name in _names(file)}


def _names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if not isinstance(node.func.value, ast.Name) or node.func.value.id != "env" or not node.args:
            continue
        if isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
            endings = EXAMPLES[name] if node.func.attr == "by_prefix" else ("",)
            yield from (name + ending for ending in endings)


READ = variables_read()


def test_the_variables_are_found() -> None:
    assert {"DATABASE_URL", "PORT", "DIGITALME_MASTER_KEYS", "DIGITALME_SYSTEM_KEY_OPENAI"} <= READ


# --- Variables ----------------------------------------------------------------------------------


def test_the_example_file_names_every_variable_and_no_other() -> None:
    named = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), flags=re.MULTILINE)
    assert sorted(named) == sorted(READ)


def test_the_example_file_holds_no_secret() -> None:
    assert not any(env.read_file(ROOT / ".env.example").values())


def test_the_table_in_the_documentation_names_every_variable_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]*(?:<PROVIDER>(?:_[A-Z]+)?)?)` \|", text, flags=re.MULTILINE)
    named = [name.replace("<PROVIDER>", "GOOGLE" if "OAUTH" in name else "OPENAI") for name in rows]
    assert sorted(named) == sorted(READ)


@pytest.mark.parametrize("name", sorted(OURS))
def test_the_compose_file_sets_only_variables_that_are_read(name: str) -> None:
    given = {variable.removesuffix("_FILE") for variable in SERVICES[name]["environment"]}
    assert given <= READ


def test_the_image_sets_only_variables_that_are_read() -> None:
    given = set(re.findall(r"\b((?:DIGITALME|STATIC|SECRET)_[A-Z_]+)=", DOCKERFILE))
    assert given
    assert given <= READ


# --- The compose file ---------------------------------------------------------------------------


def test_every_service_is_there() -> None:
    assert set(SERVICES) == OURS | {"postgres", "redis"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_can_change_nothing_but_its_data(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert "cap_add" not in service
    assert service.get("network_mode") is None
    assert not [volume for volume in service.get("volumes", []) if volume.startswith(("/", "."))]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_says_whether_it_is_well(name: str) -> None:
    assert (
        SERVICES[name]["healthcheck"] == {"disable": True}
        if name == "migrate"
        else SERVICES[name]["healthcheck"]["test"]
    )


def test_tables_are_brought_up_to_date_once_before_anything_serves() -> None:
    migrate = SERVICES["migrate"]
    assert (migrate["restart"], migrate["command"]) == ("no", ["python", "manage.py", "prepare"])
    assert migrate["depends_on"]["postgres"] == {"condition": "service_healthy"}
    for name in OURS - {"migrate"}:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_databases_are_reached_from_inside_alone() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert SERVICES[name]["networks"] == ["inside"]
        assert "ports" not in SERVICES[name]


def test_the_web_server_listens_on_loopback_unless_told_otherwise() -> None:
    assert SERVICES["web"]["ports"] == ["${BIND:-127.0.0.1}:${PORT:-8000}:8000"]


@pytest.mark.parametrize("name", ["SITE_URL", "ALLOWED_HOSTS"])
def test_what_must_be_chosen_fails_loudly_if_it_is_not(name: str) -> None:
    for service in OURS:
        assert str(SERVICES[service]["environment"][name]).startswith(f"${{{name}:?")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_secrets_come_from_files(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    for variable, value in environment.items():
        if re.search(r"KEY|PASSWORD|SECRET|DATABASE_URL", variable):
            assert variable.endswith("_FILE"), variable
            assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]
    assert set(SERVICES[name].get("secrets", [])) <= set(COMPOSE["secrets"])


def test_the_script_makes_every_secret_once(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets"
    script.write_text((ROOT / "deploy" / "make-secrets").read_text())
    for _ in range(2):
        subprocess.run(["sh", str(script)], check=True, capture_output=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert {f"deploy/secrets/{name}" for name in made} == {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert len(set(made.values())) == len(made)
    assert made["database_password"].strip() in made["database_url"]
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_the_secrets_that_the_script_makes_pass_the_checks_at_start(tmp_path: Path) -> None:
    from django.test import override_settings

    from apikeys import keyring

    script = tmp_path / "make-secrets"
    script.write_text((ROOT / "deploy" / "make-secrets").read_text())
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    named = {
        variable.removesuffix("_FILE"): (tmp_path / "secrets" / Path(value).name).read_text().strip()
        for variable, value in SERVICES["web"]["environment"].items()
        if variable.startswith("DIGITALME_") and variable.endswith("_FILE")
    }
    with override_settings(**named):
        assert keyring.ring().sealing_id == "k1"


# --- The image ----------------------------------------------------------------------------------


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, flags=re.MULTILINE) == ["10001:10001"]
    for name in OURS:
        assert "user" not in SERVICES[name]
        assert "/data:uid=10001,gid=10001,mode=0700" in SERVICES[name]["tmpfs"]


def test_the_image_installs_what_the_lock_pins() -> None:
    assert "--require-hashes --only-binary :all:" in DOCKERFILE
    assert "requirements/dev" not in DOCKERFILE


def test_the_image_holds_every_package_and_nothing_else() -> None:
    sources = set(re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, flags=re.MULTILINE))
    assert sources == {"requirements/core.txt", "manage.py", "templates"} | PACKAGES
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources


def test_the_image_checks_itself() -> None:
    assert "HEALTHCHECK" in DOCKERFILE
    assert "/healthz" in DOCKERFILE


def test_no_file_of_keys_is_kept_in_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {".env", "var/", "deploy/secrets/", "deploy/extra.env"} <= set(ignored)


# --- Make and the locks -------------------------------------------------------------------------


def test_make_alone_lists_every_target() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert targets
    assert re.findall(r"^  make ([\w-]+) ", listed, flags=re.MULTILINE) == targets[1].split()


@pytest.mark.parametrize("name", ["core", "dev"])
def test_a_lock_pins_every_package_by_hash_and_names_no_host(name: str) -> None:
    lock = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in lock
    assert not re.search(r"^-", lock, flags=re.MULTILINE)
    pinned = re.findall(r"^[^\s\[]+(\[[^\]]+\])?==\S+( ;.*)? \\\n    --hash=sha256:", lock, flags=re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", lock, flags=re.MULTILINE))


@pytest.mark.parametrize("path", [".ci/run", ".ci/check", "deploy/make-secrets"])
def test_a_script_can_be_run(path: str) -> None:
    assert (ROOT / path).stat().st_mode & 0o111
