"""Structured logs from which secrets are taken out before they are written."""

import logging
import re

import structlog

# What a secret looks like wherever it stands: our own tokens, the providers' keys, bearer headers.
_SECRETS = re.compile(
    r"dm_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|xox[abeoprs]-[A-Za-z0-9-]{8,}|gh[opsu]_[A-Za-z0-9]{8,}"
    r"|(?i:bearer|token)\s+[A-Za-z0-9._~+/-]{12,}=*"
)
REDACTED = "[redacted]"


def redact(text: str) -> str:
    """Return the text with everything that looks like a secret replaced."""
    return _SECRETS.sub(REDACTED, text)


class Redaction(logging.Filter):
    """Redacts a record's message, arguments and traceback. It hangs on handlers: a filter on a logger
    does not see the records of that logger's children."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text, record.exc_info = redact(record.exc_text), None
        return True


def formatter() -> logging.Formatter:
    """Return the formatter of all handlers: one line a record, with the request's id."""
    return structlog.stdlib.ProcessorFormatter(
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
