"""Marked secrets, and a search for them wherever a process leaves anything behind."""

import base64
import contextlib
import io
import json
import logging
import random
import re
import string
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core import mail
from django.core.cache import caches
from django.db import connection

from digitalme import logs
from providers.registry import Provider

# So much of each secret is looked for, without the four characters that may be shown: a part of it is a leak too.
CORE, SHOWN = 16, 4
_PARSER: Any = re._parser  # type: ignore[attr-defined]  # the standard library's own reading of a pattern
_ALPHANUMERIC = string.ascii_letters + string.digits
_CLASSES = {"CATEGORY_DIGIT": string.digits, "CATEGORY_WORD": _ALPHANUMERIC, "CATEGORY_SPACE": " "}


# Their form is more than a pattern can say; the tests of Google's adapter have whole ones.
_NOT_BY_PATTERN = {"service_account", "scopes", "subject"}


def fields_of(provider: Provider, number: int) -> dict[str, str]:
    """A secret for each field of a provider, of the form it wants and found nowhere else."""
    fields = [field for field in provider.manifest.fields if field.name not in _NOT_BY_PATTERN]
    return {field.name: _secret(provider.slug, field.name, number, field.pattern) for field in fields}


@cache
def _secret(slug: str, field: str, number: int, pattern: str) -> str:
    return sample(pattern, random.Random(f"{slug} {field} {number}"))  # noqa: S311 (the same in every run)


def sample(pattern: str, chance: random.Random) -> str:
    """A random text that matches."""
    for _ in range(1000):
        text = "".join(_texts(_PARSER.parse(pattern), chance))
        if re.fullmatch(pattern, text):
            return text
    raise AssertionError(f"nothing that matches {pattern}")


def _texts(tree: Iterable[tuple[Any, Any]], chance: random.Random) -> Iterator[str]:
    for what, value in tree:
        name = str(what)
        if name == "LITERAL":
            yield chr(value)
        elif name in ("IN", "ANY", "NOT_LITERAL"):
            yield chance.choice(_choices(name, value))
        elif name.endswith("_REPEAT"):
            least, most, inner = value
            for _ in range(min(int(most), max(least, 24))):
                yield from _texts(inner, chance)
        elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
            yield from _texts(value[-1] if name == "SUBPATTERN" else value, chance)
        elif name == "BRANCH":
            yield from _texts(chance.choice(value[1]), chance)


def _choices(name: str, value: Any) -> str:
    if name == "ANY":
        return string.ascii_letters
    members = value if name == "IN" else [("NEGATE", None), ("LITERAL", value)]
    found = ""
    for kind, inner in members:
        if str(kind) == "LITERAL":
            found += chr(inner)
        elif str(kind) == "RANGE":
            found += "".join(map(chr, range(inner[0], inner[1] + 1)))
        elif str(kind) == "CATEGORY":
            found += _CLASSES.get(str(inner), "x")
    if str(members[0][0]) == "NEGATE":
        return "".join(sorted(set(_ALPHANUMERIC) - set(found)))
    # Letters and digits tell one secret from another; the rest of a class adds nothing to that.
    return "".join(filter(str.isalnum, found)) or found


def forms(secret: str) -> dict[str, bytes]:
    """What to look for: the middle of a secret as it stands and as programs write it, made apart from the product."""
    core = secret[:-SHOWN][-CORE:]
    raw = core.encode()
    found = {
        "as it stands": raw,
        "reversed": raw[::-1],
        "in hex": raw.hex().encode(),
        "in an address": quote(core, safe="").encode(),
        "in JSON": json.dumps(core)[1:-1].encode(),
    }
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + raw + b"\0" * (-(offset + len(raw)) % 3))
        found[f"in base64 at {offset}"] = whole[4 if offset else 0 : -4]
        found[f"in base64 of addresses at {offset}"] = found[f"in base64 at {offset}"].translate(
            bytes.maketrans(b"+/", b"-_")
        )
    return found


class Surfaces:
    """Everything that is left behind between `open` and `search`, and what the tests add."""

    def __init__(self) -> None:
        self.seen: dict[str, bytearray] = {}
        self._log, self._bare = io.StringIO(), io.StringIO()
        self._handlers = [logging.StreamHandler(self._log), logging.StreamHandler(self._bare)]
        self._handlers[0].setFormatter(logs.formatter())
        self._before: tuple[int, list[logging.Handler]] | None = None
        self._commands: list[bytes] = []
        self._monitor: Any = None

    def add(self, surface: str, *pieces: bytes) -> None:
        """Keep something that came out."""
        self.seen.setdefault(surface, bytearray()).extend(b"\n".join(pieces) + b"\n")

    def open(self) -> None:
        """Listen to the log at its most talkative level, and to everything that Redis is told."""
        root = logging.getLogger()
        self._before = root.level, root.handlers
        root.setLevel(logging.DEBUG)
        root.handlers = [*self._handlers]
        if settings.REDIS_URL:
            self._listen()

    def _listen(self) -> None:
        import redis

        client: Any = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=None)
        self._monitor = client.monitor()
        self._monitor.__enter__()

        def listen() -> None:
            # Until the connection is closed under it.
            with contextlib.suppress(Exception):
                for command in self._monitor.listen():
                    self._commands.append(repr(command).encode())

        threading.Thread(target=listen, daemon=True).start()

    def stop(self) -> None:
        """Let the log be as it was."""
        if self._before:
            root = logging.getLogger()
            root.setLevel(self._before[0])
            root.handlers = self._before[1]
        if self._monitor:
            self._monitor.__exit__(None, None, None)
        self._before = self._monitor = None

    def close(self) -> None:
        """Stop listening, and gather what lies about."""
        self.stop()
        self.add("log", self._log.getvalue().encode())
        self.add("log before it is redacted", self._bare.getvalue().encode())
        self.add("database", *_rows())
        self.add("files", *_files())
        self.add("mail", *(message.message().as_bytes() for message in mail.outbox))
        if settings.REDIS_URL:
            self.add("commands to Redis", *self._commands)
            self.add("Redis", *_everything_in_redis())
        else:
            self.add("cache", repr(vars(caches["default"])).encode())

    def search(self, secrets: Iterable[str]) -> list[tuple[str, str]]:
        """Return where a secret was found, and in which form."""
        return sorted(
            {
                (surface, form)
                for secret in secrets
                for form, needle in forms(secret).items()
                for surface, content in self.seen.items()
                if needle in content
            }
        )


def _rows() -> Iterator[bytes]:
    """Every row of every table: what a dump has."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 (the database's own names)
            for row in cursor.fetchall():
                yield from (bytes(one) if isinstance(one, bytes | memoryview) else str(one).encode() for one in row)


def _files() -> Iterator[bytes]:
    """The embedded database with its journal, freed pages included, and the embedded broker's messages."""
    places = [path for path in Path(settings.VAR_DIR).rglob("*") if path.is_file()]
    if connection.vendor == "sqlite":
        name = Path(str(connection.settings_dict["NAME"]))
        places += [path for path in name.parent.glob(f"{name.name}*") if path.is_file()]
    yield from (path.read_bytes() for path in set(places))


def _everything_in_redis() -> Iterator[bytes]:
    import redis

    base = settings.REDIS_URL.rsplit("/", 1)[0]
    for number in (0, 15):
        client = redis.Redis.from_url(f"{base}/{number}")
        for key in client.scan_iter():
            yield key
            yield client.dump(key) or b""
