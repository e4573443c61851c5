"""Forms in requests' bodies (RFC 7578): their parts, and their fields as values."""

import re
from typing import Any

from digitalme.errors import InvalidRequest

PLAIN = "application/x-www-form-urlencoded"
MAX_TEXT = 100_000  # a longer field is no parameter
_BOUNDARY = re.compile(r'multipart/form-data\b.*?;\s*boundary=(?:"([^"]{1,200})"|([^\s";]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'^content-disposition:[^\r\n]*?[;\s]name="([^"\r\n]*)"', re.IGNORECASE | re.MULTILINE)
_FILE = re.compile(rb"^content-disposition:[^\r\n]*?[;\s]filename\*?=", re.IGNORECASE | re.MULTILINE)


def boundary_of(content_type: str) -> bytes:
    """Return what stands between a multipart form's parts; empty for another kind of body."""
    found = _BOUNDARY.match(content_type)
    return (found[1] or found[2]).encode("latin-1") if found else b""


def parts(body: bytes, boundary: bytes) -> list[bytes]:
    """Return the parts of a form, each as it stands between two boundaries. Raises InvalidRequest."""
    blocks = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if len(blocks) < 2 or not blocks[-1].startswith(b"--"):
        raise InvalidRequest("The request's form has no end: its last boundary is missing.")
    return blocks[1:-1]


def joined(parts: list[bytes], boundary: bytes) -> bytes:
    """Return the form that has these parts."""
    return b"".join(b"--" + boundary + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def name_of(part: bytes) -> str | None:
    """Return a part's name, None if it has none."""
    found = _NAME.search(part.partition(b"\r\n\r\n")[0])
    return found[1].decode("latin-1") if found else None


def values(body: bytes, boundary: bytes) -> dict[str, Any]:
    """Return a form's fields: texts, of several with one name the last, and a list of the lengths in bytes of the
    files under each name. Names that end with [] count without it. Raises InvalidRequest."""
    found: dict[str, Any] = {}
    for part in parts(body, boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        name = (name_of(head) or "").removesuffix("[]")
        if _FILE.search(head):
            lengths = found.setdefault(name, [])
            if isinstance(lengths, list):
                lengths.append(len(content))
        elif len(content) <= MAX_TEXT and not isinstance(found.get(name), list):
            found[name] = content.decode("utf-8", "replace")
    return found
