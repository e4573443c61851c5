"""Structured logs from which secrets are taken out as they are written."""

import logging
import re

import structlog

REDACTED = "[redacted]"

# What a secret looks like wherever it stands: our own tokens, providers' keys, credentials in headers,
# in addresses and after a name that announces one. What stands in a named group is kept.
_SECRETS = re.compile(
    r"""dm_[A-Za-z0-9]{8,}
      | \bsk-[A-Za-z0-9_-]{8,}
      | \bxox[abeoprs]-[A-Za-z0-9-]{8,}
      | \bgh[opsu]_[A-Za-z0-9]{8,} | \bgithub_pat_[A-Za-z0-9_]{8,}
      | \bAIza[A-Za-z0-9_-]{20,}
      | \bbot\d{6,}:[A-Za-z0-9_-]{20,}
      | (?P<scheme>://[^\s/:@]*:)[^\s/@]+(?=@)
      | (?P<kind>(?i:\b(?:bearer|basic|token)\s+))[A-Za-z0-9._~+/-]{12,}=*
      | (?P<name>(?i:(?:api[_-]?key|(?:master|audit|fingerprint)_keys?|password|passwd|secret|authorization)
          ["']?\s*[:=]\s*b?["']?(?:(?:bearer|basic|token)\s+)?))[^\s"',;&)\]}]{6,}
    """,
    re.VERBOSE,
)


def redact(text: str) -> str:
    """Return the text with everything that looks like a secret replaced."""
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
