"""Whole installations of the product, each with a database and keys of its own, driven by real processes."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from digitalme.transfer import container
from digitalme.transfer.backup_manifest import Manifest
from tests.transfer.conftest import HOUSE_KEY, OTHER_KEY

ROOT = Path(__file__).resolve().parent.parent.parent
ANTHROPIC_KEY = "sk-ant-api03-canary-0123456789abcdefghij"

# People, keys (one of them kept aside by an import), a session, and running calls that the ledger holds.
SEED = f"""
import json, pathlib, tempfile
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from apikeys import keys
from digitalme.accounts.models import User
from providers import registry
from tests.quotas.conftest import hold, reserve
users = [User.objects.create_user(f"person{{n}}@example.com", None) for n in range(3)]
system = dict(actor=None, owner=keys.SYSTEM, provider=registry.get("openai"))
keys.set_key(fields={{"api_key": "{OTHER_KEY}"}}, **system)
file = pathlib.Path(tempfile.mkdtemp()) / "appsettings.json"
file.write_text(json.dumps({{"ApiKeys": {{"OpenAI": "{HOUSE_KEY}"}}}}))
call_command("import_appsettings", str(file))
keys.set_key(actor=None, owner=keys.Owner("user", users[0].pk), provider=registry.get("anthropic"),
             fields={{"api_key": "{ANTHROPIC_KEY}"}})
SessionStore().create()
reserve([hold(user) for user in users])
"""
# What must be the same after a restore.
STATE = """
import json
from django.contrib.sessions.models import Session
from apikeys import kept, resolution
from apikeys.models import Credential, KeptKey
from digitalme.accounts.models import User
from digitalme.audit.models import AuditEvent
from digitalme.gateway import invariant
from quotas.models import Lease
print(json.dumps({
    "people": sorted(User.objects.values_list("email", flat=True)),
    "keys": sorted(resolution.unseal(resolution.resolved(one))["api_key"].reveal() for one in Credential.objects.all()),
    "kept": [kept.readable(one) for one in KeptKey.objects.all()],
    "ledger": [str(one) for one in invariant.differences()],
    "leases": Lease.objects.count(),
    "sessions": Session.objects.count(),
    "events": list(AuditEvent.objects.order_by("sequence").values_list("action", flat=True)),
}))
"""


def new_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@dataclass(frozen=True)
class Installation:
    """One installation; `replace` makes another one with other keys or another database."""

    folder: Path
    database_url: str
    master_keys: str = field(default_factory=lambda: f"k1:{new_key()}")
    fingerprint_key: str = field(default_factory=new_key)
    audit_key: str = field(default_factory=new_key)
    path: str = os.environ["PATH"]

    def manage(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run manage.py and return how it ended and what it said."""
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")}
        variables = {
            **kept,
            "PATH": self.path,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "digitalme.settings",
            "DIGITALME_ENV_FILE": "",
            "DIGITALME_VAR_DIR": str(self.folder),
            "DATABASE_URL": self.database_url,
            "SECRET_KEY": "only-for-the-tests-" + "x" * 40,
            "DIGITALME_MASTER_KEYS": self.master_keys,
            "DIGITALME_FINGERPRINT_KEY": self.fingerprint_key,
            "DIGITALME_AUDIT_KEY": self.audit_key,
            "LOG_LEVEL": "WARNING",
        }
        return subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env=variables,
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
        )

    def done(self, *arguments: str) -> str:
        """Run manage.py, which must succeed, and return what it printed."""
        ended = self.manage(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def refused(self, *arguments: str) -> str:
        """Run manage.py, which must refuse in one line, and return this line."""
        ended = self.manage(*arguments)
        assert ended.returncode == 1, ended.stdout + ended.stderr
        lines = ended.stderr.strip().splitlines()
        assert len(lines) == 1, ended.stderr
        return lines[0]

    def state(self) -> str:
        """Return what must be the same after a restore, as JSON."""
        return self.done("shell", "--verbosity", "0", "-c", STATE).strip()

    def seed(self) -> None:
        self.done("prepare")
        self.done("shell", "--verbosity", "0", "-c", SEED)

    def with_keys(self, master_keys: str) -> "Installation":
        return replace(self, master_keys=master_keys)


def manifest_of(path: Path) -> Manifest:
    with container.reading(path, None) as opened:
        return opened.manifest


def rewritten(path: Path, to: Path, change: Callable[[Manifest, Path], Manifest]) -> Path:
    """A backup with something else in it, whose checksums fit."""
    with container.reading(path, None) as opened:
        name = next(iter(opened.manifest.parts))
        part = to.with_name(f"{to.name}.part")
        opened.extract(name, part)
        manifest = change(opened.manifest, part)
    manifest = replace(manifest, parts={name: container.fact_of(part)})
    container.write(to, manifest, {name: part}, None)
    return to
