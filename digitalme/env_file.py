"""The file that keeps a clone's own variables: made once with fresh keys, never overwritten."""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from digitalme import env

ROOT = Path(__file__).resolve().parent.parent


def _random_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


KEYS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(48),
    "DIGITALME_MASTER_KEYS": lambda: f"k1:{_random_key()}",
    "DIGITALME_FINGERPRINT_KEY": _random_key,
    "DIGITALME_AUDIT_KEY": _random_key,
}


def location() -> Path | None:
    """Return the file's path, or None where DIGITALME_ENV_FILE is empty."""
    name = env.text("DIGITALME_ENV_FILE", str(ROOT / ".env"))
    return Path(name) if name else None


def create(path: Path) -> bool:
    """Write fresh keys to a new file that only its owner may read; return False if there is one already.

    An existing file is never touched: stored keys open only with the master key that sealed them.
    """
    lines = ["# Made by `make run`. Keep a copy apart: without DIGITALME_MASTER_KEYS no stored key can be read."]
    lines += [f"{name}={make()}" for name, make in KEYS.items()]
    return write_new(path, "\n".join(lines) + "\n")


def write_new(path: Path, content: str) -> bool:
    """Write a file of mode 600, whole or not at all; return False, and change nothing, where one exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True
