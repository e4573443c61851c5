"""No secret is written to a log, at any level, wherever in a record it stands."""

import io
import logging
from collections.abc import Iterator

import pytest
import structlog

from digitalme import logs

TOKEN = "dm_" + "A1b2C3d4" * 4 + "Zz9Yy8"
SECRETS = [
    TOKEN,
    "sk-proj-abcDEF123456_-xyz",
    "sk-ant-api03-abcDEF123456",
    "xoxb-1234567890-abcdef",
    "ghp_abcdefABCDEF123456",
    "github_pat_11ABCDEF0abcdefgh_xyz",
    "AIzaSyA-abcdefghijklmnopqrstuv",
]


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger at DEBUG that writes as the product's handler does."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter())
    logger = logging.getLogger("tests.redaction")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger, stream
    logger.removeHandler(handler)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_message_arguments_or_stack_is_not_written(
    secret: str, written: tuple[logging.Logger, io.StringIO]
) -> None:
    logger, stream = written
    logger.debug("in the message " + secret)
    logger.debug("as an argument %s", secret)
    logger.debug("in a mapping %(key)s", {"key": secret})
    logger.debug("in a list %r", [{"headers": (b"x", secret.encode())}])
    logger.debug("with a stack", stack_info=True)
    assert secret not in stream.getvalue()
    assert stream.getvalue().count(logs.REDACTED) == 4


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_a_traceback_is_not_written(secret: str, written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    try:
        try:
            raise ValueError(f"inner {secret}")
        except ValueError as inner:
            raise RuntimeError(f"outer {secret}") from inner
    except RuntimeError:
        logger.exception("failed")
    assert "Traceback" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_a_secret_bound_to_the_request_is_not_written(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    with structlog.contextvars.bound_contextvars(request_id="abc", note=TOKEN):
        logger.info("with context")
    assert "request_id=abc" in stream.getvalue()
    assert TOKEN not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer [redacted]"),
        ("got bearer abcdefghijklmnop==", "got bearer [redacted]"),
        ("postgres://user:hunter22@host/db", "postgres://user:[redacted]@host/db"),
        ("redis://:hunter22@host:6379/0", "redis://:[redacted]@host:6379/0"),
        ("{'api_key': 'abcdef123456'}", "{'api_key': '[redacted]'}"),
        ("password=abc12345&next=/", "password=[redacted]&next=/"),
        ("x-api-key: 1234567890abcdef", "x-api-key: [redacted]"),
        ("/bot123456789:AAabcdefghijklmnopqrstuvw/sendMessage", "/[redacted]/sendMessage"),
    ],
)
def test_a_secret_is_known_by_what_stands_before_it(text: str, expected: str) -> None:
    assert logs.redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "user 0198a7b2-0000-7000-8000-000000000000 made a call of 12 tokens",
        "GET /api/v1/tokens/ 200",
        "the task-queue and desk-lamps are fine",
        "http://127.0.0.1:8000/settings/api/",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert logs.redact(text) == text


def test_a_line_break_in_a_value_does_not_make_a_second_record(
    written: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = written
    logger.info("path=%s", "/a\nlevel=error event=forged")
    assert stream.getvalue().count("\n") == 1


def test_the_products_handlers_redact() -> None:
    """The settings' own set-up, not only the formatter by itself."""
    from django.conf import settings

    for name, handler in settings.LOGGING["handlers"].items():
        assert settings.LOGGING["formatters"][handler["formatter"]] == {"()": "digitalme.logs.formatter"}, name


@pytest.mark.parametrize("name", ["urllib3", "httpx", "httpcore", "django.db.backends"])
def test_libraries_that_print_addresses_or_parameters_stay_quiet_at_debug(name: str) -> None:
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
