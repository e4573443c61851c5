"""No secret is written to a log, at any level, wherever in a record it stands."""

import base64
import contextvars
import functools
import html
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from urllib.parse import quote, quote_plus

import pytest
import structlog

from digitalme import logs
from providers import registry
from providers.secrets import Secret

TOKEN = "dm_" + "A1b2C3d4" * 4 + "Zz9Yy8"
SECRETS = [
    TOKEN,
    "sk-proj-abcDEF123456_-xyz",
    "sk-ant-api03-abcDEF123456",
    "xoxb-1234567890-abcdef",
    "ghp_abcdefABCDEF123456",
    "github_pat_11ABCDEF0abcdefgh_xyz",
    "AIzaSyA-abcdefghijklmnopqrstuv",
    "xapp-1-A0123456789-abcdef",
    "ya29.a0AbcdefGHIJKL",
    "GOCSPX-abcdefghijkl",
    "pk_1234567_ABCDEFGHIJKLMNOPQRSTUVWXYZ123456",
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


def among_others(before: int, after: int, secret: str) -> str:
    """In the base64 of a text in which something stands before and after it."""
    return base64.b64encode(b"\xa5" * before + secret.encode() + b"\x5a" * after).decode()


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it stands": str,
    "in an address": lambda one: quote(one, safe=""),
    "in a path": quote,
    "in a query": quote_plus,
    "in a page": html.escape,
    "in JSON": json.dumps,
    "in JSON as it stands": lambda one: json.dumps(one, ensure_ascii=False),
    "in a list": lambda one: repr([one]),
    "as bytes": lambda one: repr(one.encode()),
    "in hex": lambda one: one.encode().hex(),
    "in upper hex": lambda one: one.encode().hex().upper(),
    **{
        f"in base64 after {before} and before {after} bytes": functools.partial(among_others, before, after)
        for before in range(4)
        for after in range(4)
    },
    "in base64 of addresses": lambda one: base64.urlsafe_b64encode(b"\xff" + one.encode() + b"\xff").decode(),
}
ODD = "käse?&<\"'\\>\n>> ~~~/?"


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("secret", [ODD, "f00f" * 8, "hunter2!"])
def test_what_was_revealed_is_not_written_in_any_form(how: str, secret: str) -> None:
    def shown(text: str) -> str:
        Secret(secret).reveal()
        return logs.redact(f"before {text} after")

    text = WRITTEN[how](secret)
    written = contextvars.copy_context().run(shown, text)
    assert logs.REDACTED in written
    assert written.startswith("before ")
    assert written.endswith(" after")
    # What is left are the neighbours' characters: of the secret no piece that tells anything.
    assert len(written) <= len("before  after") + len(logs.REDACTED) + 12
    assert logs.redact(f"before {text} after") == f"before {text} after", "the next request watches for its own only"


def test_a_short_text_is_not_watched_for_and_the_oldest_makes_room() -> None:
    def work() -> tuple[str, str, str]:
        logs.watch("abc")
        for number in range(logs.MAX_WATCHED + 1):
            logs.watch(f"number-{number:04}")
            logs.watch(f"number-{number:04}")
        return logs.redact("abc"), logs.redact("number-0000"), logs.redact("number-0001")

    assert contextvars.copy_context().run(work) == ("abc", "number-0000", logs.REDACTED)


def test_what_is_watched_for_does_not_print() -> None:
    def work() -> str:
        logs.watch("a-secret-text")
        return repr(list(contextvars.copy_context().items()))

    assert "a-secret-text" not in contextvars.copy_context().run(work)


def test_a_new_request_forgets() -> None:
    def work() -> str:
        logs.watch("a-secret-text")
        logs.forget()
        return logs.redact("a-secret-text")

    assert contextvars.copy_context().run(work) == "a-secret-text"


@pytest.mark.parametrize("slug", [one.slug for one in registry.all_providers() if one.needs_key])
def test_an_example_of_each_providers_key_is_known_beside_its_name(slug: str) -> None:
    for field in registry.get(slug).manifest.fields:
        line = f"api_key={'a1B2c3D4' * 5} {field.name}"
        assert "a1B2c3D4" not in logs.redact(line)


QUIET = ["urllib3", "urllib3.connectionpool", "httpx", "httpx2", "httpcore", "httpcore.http11", "django.db.backends"]


@pytest.mark.parametrize("name", QUIET)
def test_libraries_that_print_addresses_or_parameters_stay_quiet_at_debug(name: str) -> None:
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)


EVERY_HANDLER = """
import logging, sys
import django
django.setup()
if sys.argv[1] == "worker":
    from celery.app.log import Logging
    from digitalme.celery import app
    Logging(app).setup(loglevel="DEBUG", redirect_stdouts=True)
    app.log.get_default_logger(), logging.getLogger("celery.task"), logging.getLogger("celery.redirected")
from digitalme.logs import Formatter
loggers = [logging.getLogger(), *(logging.getLogger(name) for name in list(logging.root.manager.loggerDict))]
handlers = [(logger.name, handler) for logger in loggers for handler in logger.handlers]
bare = [
    (name, handler) for name, handler in handlers
    if not isinstance(handler, logging.NullHandler) and not isinstance(handler.formatter, Formatter)
]
assert not bare, bare
assert [name for name, handler in handlers if not isinstance(handler, logging.NullHandler)] == ["root"], handlers
assert all(logging.getLogger(name).getEffectiveLevel() >= logging.WARNING for name in sys.argv[2:])
"""


@pytest.mark.parametrize("debug", ["true", "false"])
@pytest.mark.parametrize("process", ["web", "worker"])
def test_every_handler_of_a_process_redacts(process: str, debug: str) -> None:
    """Also those that Django and Celery would add by themselves, at DEBUG too."""
    environ = {**os.environ, "DEBUG": debug, "LOG_LEVEL": "DEBUG", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    command = [sys.executable, "-c", EVERY_HANDLER, process, *QUIET]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
