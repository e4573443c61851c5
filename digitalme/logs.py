"""Structured logs from which secrets are taken out as they are written."""

import base64
import html
import json
import logging
import re
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cached_property
from typing import final
from urllib.parse import quote, quote_plus

import structlog

REDACTED = "[redacted]"
# A shorter one would take ordinary words out of the log, and is found by the name before it.
MIN_WATCHED = 6
# No key is longer; of what somebody sends in its place the rest is of no use to anybody.
MAX_LENGTH = 16_384
# Of one request or task; the oldest makes room.
MAX_WATCHED = 32

# What a secret looks like wherever it stands: our own tokens, providers' keys, credentials in headers,
# in addresses and after a name that announces one. What stands in a named group is kept.
_SECRETS = re.compile(
    r"""dm_[A-Za-z0-9]{8,}
      | \bsk-[A-Za-z0-9_-]{8,}
      | \bxox[abeoprs]-[A-Za-z0-9-]{8,} | \bxapp-[A-Za-z0-9-]{8,}
      | \bgh[opsu]_[A-Za-z0-9]{8,} | \bgithub_pat_[A-Za-z0-9_]{8,}
      | \bAIza[A-Za-z0-9_-]{20,} | \bya29\.[A-Za-z0-9_-]{8,} | \bGOCSPX-[A-Za-z0-9_-]{8,}
      | \bpk_\d+_[A-Z0-9]{20,}
      | \bbot\d{6,}:[A-Za-z0-9_-]{20,}
      | (?P<scheme>://[^\s/:@]*:)[^\s/@]+(?=@)
      | (?P<kind>(?i:\b(?:bearer|basic|token)\s+))[A-Za-z0-9._~+/-]{12,}=*
      | (?P<name>(?i:(?:api[_-]?key|(?:master|audit|fingerprint)_keys?|password|passwd|secret|authorization)
          ["']?\s*[:=]\s*b?["']?(?:(?:bearer|basic|token)\s+)?))[^\s"',;&)\]}]{6,}
    """,
    re.VERBOSE,
)


@final
class _Watched:
    """A secret of this request, in all the forms in which it may come to stand in a text."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<watched>"

    @cached_property
    def forms(self) -> list[str]:
        """What is looked for, the longest first; made when the first line is written, which most requests
        never do."""
        return sorted(set(_forms(self.value)), key=len, reverse=True)


_watched: ContextVar[tuple[_Watched, ...]] = ContextVar("watched secrets", default=())


def watch(value: str) -> None:
    """Keep a secret out of everything that is written from here on in this request or task, in whatever form."""
    known, value = _watched.get(), value[:MAX_LENGTH]
    if len(value) >= MIN_WATCHED and all(one.value != value for one in known):
        _watched.set((*known[1 - MAX_WATCHED :], _Watched(value)))


def forget() -> None:
    """Stop watching: another request begins."""
    _watched.set(())


def _forms(value: str) -> Iterator[str]:
    """Return the secret as it stands, and as programs write it: escaped, in hex, in base64 at any offset."""
    raw = value.encode(errors="surrogatepass")
    yield value
    yield from (quote(raw, safe=""), quote(raw), quote_plus(raw), html.escape(value))
    for escaped in (json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value), repr(raw)[1:]):
        yield escaped[1:-1]
    yield from (raw.hex(), raw.hex().upper())
    for offset in range(3):
        # Without the characters into which the neighbours' bits run.
        bits = 8 * (offset + len(raw))
        inner = slice(-(-8 * offset // 6), bits // 6)
        padded = bytes(offset) + raw
        yield base64.b64encode(padded).decode()[inner]
        yield base64.urlsafe_b64encode(padded).decode()[inner]


def redact(text: str) -> str:
    """Return the text without the secrets of this request, and without everything that looks like one."""
    for one in _watched.get():
        for form in one.forms:
            text = text.replace(form, REDACTED)
    return _SECRETS.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    return f"{match['scheme'] or match['kind'] or match['name'] or ''}{REDACTED}"


class Formatter(structlog.stdlib.ProcessorFormatter):
    """Redacts the finished line, so that message, arguments, context, traceback and stack are all covered."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def formatter() -> logging.Formatter:
    """Return the formatter of all handlers: one line a record, with the request's id."""
    return Formatter(
        keep_exc_info=True,  # a traceback follows its line as it is read best
        keep_stack_info=True,
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.LogfmtRenderer(
                key_order=["timestamp", "level", "logger", "event"], bool_as_flag=False
            ),
        ],
    )
