"""The keys of the house: masters that seal, fingerprint keys, the audit key. They come from the
environment, from files or from a KMS, never from the database, and never leave the process."""

import hmac
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from django.conf import settings

from apikeys import kms
from digitalme import material
from digitalme.material import UnusableKey as UnusableKey  # whoever asks for the ring catches it

FINGERPRINT_KEY_ID = "fp1"
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
_NOT_SET = "DIGITALME_MASTER_KEYS is not set. Make one with: python manage.py generate_master_key"


@dataclass(frozen=True)
class State:
    """What the database says about masters: which one was promoted (empty: none, so the configuration
    decides which one seals), and which ones open nothing any more."""

    sealing_id: str = ""
    retired: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class KeyRing:
    """All masters and fingerprint keys by id; `sealing_id` is the master that new secrets are sealed with.

    It is empty where several masters lie in a folder and nothing says which one. A promoted master that
    is not here is named all the same: then nothing can be sealed, and what is here still opens.
    """

    configured_id: str
    sealing_id: str
    _masters: Mapping[str, bytes]
    _roots: Mapping[str, bytes]
    _fingerprint_keys: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self._masters)}>"

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._masters

    @property
    def ids(self) -> tuple[str, ...]:
        """The masters' ids in the order in which they are given; retired ones are not among them."""
        return tuple(self._masters)

    @property
    def fingerprint_id(self) -> str:
        """The fingerprint key that computes."""
        return next(iter(self._fingerprint_keys))

    @property
    def fingerprint_ids(self) -> tuple[str, ...]:
        """The fingerprint keys' ids, the one that computes first."""
        return tuple(self._fingerprint_keys)

    def root(self, key_id: str) -> bytes:
        """Return the root from which owners' keys of this master are derived. Raises KeyError for an id that
        is unknown or retired."""
        return self._roots[key_id]

    def check_value(self, key_id: str) -> str:
        """Return a value that tells whether two processes hold the same master, and nothing about it."""
        return _check_value(self._masters[key_id])

    def fingerprint_check_value(self, key_id: str) -> str:
        """Return the same of a fingerprint key."""
        return _check_value(self._fingerprint_keys[key_id])

    def fingerprint(self, message: bytes) -> bytes:
        """Return the keyed digest of a message, 32 bytes."""
        return hmac.digest(self._fingerprint_keys[self.fingerprint_id], message, "sha256")

    def under(self, state: State) -> "KeyRing":
        """Return the ring as the database wants it: without the retired masters, sealing with the promoted one."""
        masters = {key_id: key for key_id, key in self._masters.items() if key_id not in state.retired}
        roots = {key_id: self._roots[key_id] for key_id in masters}
        return replace(self, sealing_id=state.sealing_id or self.configured_id, _masters=masters, _roots=roots)


_state = State()


def adopt(state: State) -> None:
    """Take note of what the database says; `ring` follows it from now on."""
    global _state
    _state = state


def ring() -> KeyRing:
    """Return the process's key ring; other settings make another one.

    Raises UnusableKey with a sentence an operator can act on.
    """
    return _under(load(settings), _state)


def load(source: Any) -> KeyRing:
    """Return the key ring of these settings, whatever the database says. Raises UnusableKey.

    Masters that a KMS has wrapped are unwrapped once in a process.
    """
    return _load(
        source.DIGITALME_MASTER_KEYS,
        source.DIGITALME_MASTER_KEYS_DIR,
        source.DIGITALME_SEALING_KEY_ID,
        source.DIGITALME_FINGERPRINT_KEY,
        source.DIGITALME_AUDIT_KEY,
        source.DIGITALME_VAULT_ADDR,
        source.DIGITALME_VAULT_TOKEN,
        source.DIGITALME_VAULT_KEY,
    )


def check(source: Any) -> None:
    """Raise UnusableKey for settings from which no ring can be made, without asking a KMS for anything."""
    texts = _texts(source.DIGITALME_MASTER_KEYS, source.DIGITALME_MASTER_KEYS_DIR)
    _configured_id(texts, source.DIGITALME_MASTER_KEYS_DIR, source.DIGITALME_SEALING_KEY_ID)
    plain = {key_id: text for key_id, text in texts.items() if ":" not in text}
    for key_id in texts.keys() - plain.keys():
        _in_one_sentence(key_id, partial(kms.of, source, texts[key_id]))
    masters = {key_id: material.decoded(f"The master key '{key_id}'", text) for key_id, text in plain.items()}
    _refuse_twins(masters, _fingerprint_keys(source.DIGITALME_FINGERPRINT_KEY), source.DIGITALME_AUDIT_KEY)


def is_key_id(text: str) -> bool:
    """Tell whether a master may be called that."""
    return _KEY_ID.fullmatch(text) is not None


@lru_cache(maxsize=8)
def _under(base: KeyRing, state: State) -> KeyRing:
    return base.under(state)


@dataclass(frozen=True, repr=False)
class _Vault:
    """The part of the settings that kms reads, as something that was handed in."""

    DIGITALME_VAULT_ADDR: str
    DIGITALME_VAULT_TOKEN: str
    DIGITALME_VAULT_KEY: str


@lru_cache(maxsize=4)
def _load(
    masters: str, folder: str, sealing_id: str, fingerprint: str, audit: str, address: str, token: str, key: str
) -> KeyRing:
    vault = _Vault(address, token, key)
    texts = _texts(masters, folder)
    configured = _configured_id(texts, folder, sealing_id)
    by_id = {key_id: _master(vault, key_id, text) for key_id, text in texts.items()}
    fingerprint_keys = _fingerprint_keys(fingerprint)
    _refuse_twins(by_id, fingerprint_keys, audit)
    roots = {key_id: material.expand(master, b"digitalme/v1/enc-root") for key_id, master in by_id.items()}
    return KeyRing(configured, configured, by_id, roots, fingerprint_keys)


def _texts(masters: str, folder: str) -> dict[str, str]:
    """Return what stands for each master, by id: base64, or what a KMS has wrapped."""
    if folder:
        if masters.strip():
            raise UnusableKey("DIGITALME_MASTER_KEYS and DIGITALME_MASTER_KEYS_DIR are both set; keep one.")
        return dict(_files(Path(folder)))
    found = dict(_entries("DIGITALME_MASTER_KEYS", masters))
    if not found:
        raise UnusableKey(_NOT_SET)
    return found


def _entries(variable: str, text: str, default_id: str = "") -> Iterator[tuple[str, str]]:
    """Yield id and text of each entry; one without a colon has the default id, if there is one."""
    seen = set()
    for entry in filter(str.strip, text.replace("\n", ",").split(",")):
        key_id, colon, rest = entry.strip().partition(":")
        key_id, rest = (key_id, rest) if colon else (default_id, key_id)
        if not is_key_id(key_id):
            raise UnusableKey(f"{variable} must read id:base64,id:base64; one entry has no usable id.")
        if key_id in seen:
            raise UnusableKey(f"{variable} names the id '{key_id}' twice.")
        seen.add(key_id)
        yield key_id, rest


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield name and content of each key's file; what begins with a dot is how mounted secrets are kept."""
    try:
        files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
        texts = {file.name: file.read_text(encoding="utf-8").strip() for file in files}
    except (OSError, UnicodeDecodeError):
        raise UnusableKey("The folder that DIGITALME_MASTER_KEYS_DIR names, or a file in it, cannot be read.") from None
    if not texts:
        raise UnusableKey("The folder that DIGITALME_MASTER_KEYS_DIR names holds no key.")
    for name, text in texts.items():
        if not is_key_id(name):
            raise UnusableKey(
                "In DIGITALME_MASTER_KEYS_DIR a file's name is a key's id: 1 to 32 letters, digits, dots, dashes"
                " or underscores. One file is named otherwise."
            )
        yield name, text


def _configured_id(texts: Mapping[str, str], folder: str, sealing_id: str) -> str:
    """Return the master that seals as long as none was promoted; empty if nothing says which."""
    if sealing_id:
        if sealing_id not in texts:
            raise UnusableKey(f"DIGITALME_SEALING_KEY_ID names '{sealing_id[:32]}', but there is no such master key.")
        return sealing_id
    return "" if folder and len(texts) > 1 else next(iter(texts))


def _master(vault: Any, key_id: str, text: str) -> bytes:
    name = f"The master key '{key_id}'"
    if ":" not in text:
        return material.decoded(name, text)
    key: bytes = _in_one_sentence(key_id, lambda: kms.of(vault, text).unwrap(key_id, text))
    return material.strong(name, key)


def _in_one_sentence(key_id: str, deed: Callable[[], Any]) -> Any:
    try:
        return deed()
    except kms.CannotUnwrap as problem:
        raise UnusableKey(f"The master key '{key_id}' cannot be unwrapped: {problem}") from None


def _fingerprint_keys(text: str) -> dict[str, bytes]:
    name = "DIGITALME_FINGERPRINT_KEY"
    entries = dict(_entries(name, text, FINGERPRINT_KEY_ID)) or {FINGERPRINT_KEY_ID: ""}
    several = len(entries) > 1
    return {key_id: material.decoded(f"{name} '{key_id}'" if several else name, one) for key_id, one in entries.items()}


def _refuse_twins(masters: Mapping[str, bytes], fingerprint_keys: Mapping[str, bytes], audit: str) -> None:
    everything = {f"the master key '{key_id}'": key for key_id, key in masters.items()}
    for key_id, key in fingerprint_keys.items():
        several = len(fingerprint_keys) > 1
        everything["DIGITALME_FINGERPRINT_KEY" + (f" '{key_id}'" if several else "")] = key
    everything["DIGITALME_AUDIT_KEY"] = material.decoded("DIGITALME_AUDIT_KEY", audit)
    for (one, key), (other, twin) in itertools.combinations(everything.items(), 2):
        if key == twin:
            raise UnusableKey(f"The same key stands twice, as {one} and as {other}. Make one of them anew.")


def _check_value(key: bytes) -> str:
    return material.expand(key, b"digitalme/v1/kcv")[:8].hex()
