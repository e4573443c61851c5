"""More than ten thousand operations that carry a marked secret, with every kind of error there is: afterwards
nothing that a process leaves behind holds one, in any form. A provider that repeats the key has a test of its own."""

import asyncio
import contextlib
import io
import json
import logging
import re
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client

from apikeys import keys, resolution
from apikeys.models import Credential
from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.celery import app as celery
from digitalme.errors import DigitalMeError
from digitalme.gateway import booking
from providers import registry, validation
from providers.registry import Provider
from providers.secrets import Secret
from tests.canaries import Surfaces, fields_of, forms
from tests.conftest import PASSWORD
from tests.fakes import FakeProvider, Manner
from tests.gateway.conftest import Person, command
from tests.gateway.in_process import InProcess, started
from tests.mailboxes import Inbox, sending

pytestmark = pytest.mark.django_db(transaction=True)
Places = dict[str, dict[str, str]]
PROVIDERS = [one for one in registry.all_providers() if one.needs_key]
# A mail server takes its time for each message, so it gets one call in so many.
MAIL_EVERY = 60
MANNERS = {
    "as documented": Manner(),
    "unauthorised": Manner(
        status=401, body=b'{"error":{"message":"Incorrect API key","type":"invalid_request_error"}}'
    ),
    "forbidden": Manner(status=403),
    "too many requests": Manner(status=429, headers={"retry-after": "1"}),
    "broken": Manner(status=500),
    "overloaded": Manner(status=529),
    "no JSON": Manner(body=b"{<html>", content_type="text/html"),
    "bad header": Manner(body=b"{}", headers={"x-odd": "\x7f\x01", "location": "http://elsewhere/"}),
    "breaks off": Manner(cut_after=2),
}
# What the mail server says to a message meanwhile.
MAIL_SAYS = {"broken": "451 4.3.0 Try again later", "forbidden": "554 5.7.1 No", "no JSON": "999 <html>"}
CALLS, OPENED, HANDLED, ROUNDS = 3_000, 6_860, 140, len(PROVIDERS)
assert CALLS + OPENED + HANDLED >= 10_000


@pytest.fixture
def provider(settings: Any, trusted: None, inbox: Inbox) -> Iterator[FakeProvider]:
    """All providers, played by one server on loopback beside a mail server."""
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1", "localhost"})
    inbox.anybody = True
    with FakeProvider() as fake:
        settings.DIGITALME_UPSTREAMS = {one.slug: fake.url for one in PROVIDERS}
        yield fake


@pytest.fixture
def places(provider: FakeProvider, inbox: Inbox) -> Places:
    """What those keys name that say for themselves where they go."""
    return {"mcp": {"url": f"{provider.url}/mcp"}, "email": sending(inbox.port)}


@pytest.fixture
def surfaces() -> Iterator[Surfaces]:
    found = Surfaces()
    found.open()
    yield found
    found.stop()


@pytest.fixture
def person() -> Person:
    email = f"{uuid.uuid4().hex}@example.com"
    command("create_user", email)
    return Person(User.objects.get(email=email), command("create_access_token", email))


def entered(provider: Provider, number: int, places: Places) -> dict[str, str]:
    """What a person enters: marked secrets, and the place where they go if the provider wants one."""
    fields = fields_of(provider, number)
    if provider.slug not in places:
        return fields
    wanted = {field.name for field in provider.manifest.fields if field.required or field.secret}
    return {**{name: value for name, value in fields.items() if name in wanted}, **places[provider.slug]}


def secrets_of(provider: Provider, number: int) -> list[str]:
    fields = fields_of(provider, number)
    return [fields[field.name] for field in provider.manifest.fields if field.secret and field.name in fields]


def give_keys(user: User, places: Places, number: int = 0) -> list[str]:
    """One marked key for each provider."""
    for one in PROVIDERS:
        fields = entered(one, number, places)
        keys.set_key(actor=user, owner=keys.Owner("user", user.pk), provider=one, fields=fields)
    return [secret for one in PROVIDERS for secret in secrets_of(one, number)]


def operation_of(provider: Provider) -> str:
    """The path of something that this provider does, best with a body."""
    first = min(provider.manifest.operations, key=lambda one: not {"POST", "*"} & {*one.methods})
    return re.sub(r"\{\w+\}", "users", first.path.replace("*", "x" if first.path.startswith("/") else "/x"))


def body_of(provider: Provider, *, stream: bool) -> bytes:
    if provider.slug == "email":
        return b'{"to": "bob@example.org", "subject": "hi", "text": "ho"}'
    if provider.slug == "mcp":
        return b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add"}}'
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "gpt-4o-mini", "messages": messages, "max_tokens": 5, "stream": stream}).encode()


def test_no_call_through_the_gateway_leaves_a_key_behind(
    provider: FakeProvider,
    inbox: Inbox,
    places: Places,
    person: Person,
    surfaces: Surfaces,
    unused_port: int,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marked = give_keys(person.user, places)
    quick = [one for one in PROVIDERS if one.slug != "email"]
    done = 0

    async def ask(gateway: InProcess, number: int) -> None:
        nonlocal done
        chosen = registry.get("email") if number % MAIL_EVERY == 1 else quick[number % len(quick)]
        address, stream = f"{chosen.slug}{operation_of(chosen)}", number // len(quick) % 2 == 0
        leaves = 2 if number % 11 == 0 else None
        answer = await gateway.call(address, body_of(chosen, stream=stream), person.headers, leaves_after=leaves)
        surfaces.add("answers", answer.whole)
        done += 1

    async def crowd(gateway: InProcess, count: int) -> None:
        for first in range(0, count, 50):
            await asyncio.gather(*(ask(gateway, number) for number in range(first, min(first + 50, count))))

    def unreachable(*parts: Any, **named: Any) -> Any:
        raise OperationalError("the database is gone")

    async def everything() -> None:
        async with started() as gateway:
            share = CALLS // (len(MANNERS) + 2)
            for name, manner in MANNERS.items():
                provider.manner, inbox.anybody = manner, name != "unauthorised"
                inbox.answer = MAIL_SAYS.get(name, "250 OK")
                await crowd(gateway, share)
            provider.manner = Manner()
            with monkeypatch.context() as patch:
                patch.setattr(booking, "book", unreachable)
                await crowd(gateway, 20)
            settings.DIGITALME_UPSTREAMS = {one.slug: f"http://127.0.0.1:{unused_port}" for one in PROVIDERS}
            await crowd(gateway, CALLS - done)

    asyncio.run(everything())
    surfaces.close()
    assert done == CALLS
    assert untouched(provider, inbox) == [], "the calls came through, with the keys"
    assert surfaces.search(marked) == []


def untouched(provider: FakeProvider, inbox: Inbox) -> list[str]:
    """The providers whose key never came up in a request."""
    came = "\n".join([*(f"{one.path} {one.headers} {one.body!r}" for one in provider.seen), repr(inbox.passwords)])
    return [one.slug for one in PROVIDERS if not any(secret in came for secret in secrets_of(one, 0))]


@pytest.fixture
def unused_port() -> int:
    from tests.gateway.conftest import free_port

    return free_port()


BROKEN = [
    "{}\nx-evil: 1",
    "{}\r",
    "\u201c{}\u201d",
    "{}\u2028",
    "{} {}",
    "{}\0",
    "{}\x7f",
    "{}é",
    "\ud800{}",
    "{}" + "x" * 9000,
]


def test_no_key_that_is_opened_checked_or_refused_is_left_behind(
    provider: FakeProvider, places: Places, person: Person, surfaces: Surfaces
) -> None:
    """The mass: opened, altered, malformed, injected, checked against a provider that is not there; each failure is
    logged, some with their whole traceback."""
    marked, log, done = give_keys(person.user, places), logging.getLogger("tests.canaries"), 0
    stored = [resolution.resolved(one) for one in keys.keys_of(person.user)]

    def attempt(deed: Callable[[], object]) -> None:
        nonlocal done
        done += 1
        try:
            log.debug("done %r", deed())
        except (DigitalMeError, ValueError) as problem:
            log.debug("failed %s %r %s", problem, problem, problem.__dict__, exc_info=done % 5 == 0)

    for number in range(OPENED):
        key = stored[number % len(stored)]
        chosen = registry.get(key.provider)
        fields = entered(chosen, 0, places)
        first = next(field.name for field in chosen.manifest.fields if field.secret and field.name in fields)
        bad = BROKEN[number // 4 % len(BROKEN)].replace("{}", fields[first])
        wrong = {**fields, first: bad}
        match number // len(stored) % 4:
            case 0:
                attempt(partial(resolution.unseal, key))
            case 1:
                altered = {name: text[:-8] + "AAAAAAA=" for name, text in (key.sealed or {}).items()}
                attempt(partial(resolution.unseal, key._replace(sealed=altered)))
            case 2:
                attempt(partial(keys.checked, chosen, wrong))
            case _:
                secrets = {name: Secret(value) for name, value in wrong.items()}
                attempt(partial(validation.check, chosen, secrets))
    surfaces.close()
    assert done == OPENED
    assert len(surfaces.seen["log"]) > OPENED * 100, "failures were logged"
    assert surfaces.search(marked) == []


class Faces:
    """A person's and an administrator's ways to handle a key."""

    def __init__(self, surfaces: Surfaces, person: Person) -> None:
        self.surfaces, self.person, self.done = surfaces, person, 0
        self.browser, self.admin = Client(raise_request_exception=False), Client(raise_request_exception=False)
        self.browser.force_login(person.user)
        boss = User.objects.create_user(f"{uuid.uuid4().hex}@example.com", PASSWORD)
        roles.assign(boss, roles.Role.SUPER_ADMIN)
        self.admin.post("/accounts/login/", {"login": boss.email, "password": PASSWORD})

    def keep(self, answer: Any) -> int:
        """Keep an answer with its headers and cookies."""
        self.done += 1
        head = "\n".join(f"{name}: {value}" for name, value in answer.items()) + answer.cookies.output()
        self.surfaces.add("pages and answers", head.encode(), answer.content)
        return int(answer.status_code)

    def by_page(self, provider: Provider, fields: dict[str, str]) -> None:
        for htmx in ({}, {"HX-Request": "true"}):
            place = f"/settings/api/{provider.slug}"
            self.keep(self.browser.post(f"{place}/key/", fields, headers=htmx))
            self.keep(self.browser.post(f"{place}/test/", headers=htmx))
        self.keep(self.browser.get("/settings/api/"))

    def by_program(self, provider: Provider, fields: dict[str, str]) -> None:
        place, kind = f"/api/v1/keys/{provider.slug}/", "application/json"
        for body in ({"fields": fields}, {"fields": {**fields, "odd": next(iter(fields.values()))}}):
            self.keep(self.browser.put(place, body, content_type=kind))
        self.keep(self.browser.put(place, json.dumps(fields)[:-1], content_type=kind))
        self.keep(self.browser.post(f"{place}test/"))
        self.keep(self.browser.get(place))
        self.keep(self.browser.delete(place))

    def by_admin(self, provider: Provider, fields: dict[str, str]) -> None:
        place = "/admin/apikeys/credential/"
        one = next(iter(fields.values()))
        self.keep(self.admin.post(f"{place}add/", {"provider": provider.slug, "key": one, "display_name": "house"}))
        for credential in Credential.objects.all():
            self.keep(self.admin.get(f"{place}{credential.pk}/change/"))
            self.keep(self.admin.get(f"{place}{credential.pk}/history/"))
            self.keep(self.admin.post(f"{place}{credential.pk}/delete/", {"post": "yes"}))
        self.keep(self.admin.get(place))

    def by_command(self, provider: Provider, fields: dict[str, str]) -> None:
        out, err = io.StringIO(), io.StringIO()
        several = bool(provider.manifest.adapter)
        given = json.dumps(fields) if several else next(iter(fields.values()))
        arguments = [provider.slug, "--user", self.person.user.email, *(["--json"] if several else [])]
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(CommandError, OSError):
            patch.setattr(sys, "stdin", io.StringIO(given))
            call_command("set_key", *arguments, stdout=out, stderr=err)
        self.surfaces.add("commands", out.getvalue().encode(), err.getvalue().encode())
        self.done += 1


def test_no_page_program_command_or_admin_leaves_a_key_behind(
    provider: FakeProvider,
    places: Places,
    person: Person,
    surfaces: Surfaces,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    faces, marked = Faces(surfaces, person), []
    for number in range(ROUNDS):
        one = PROVIDERS[number % len(PROVIDERS)]
        provider.manner = list(MANNERS.values())[number % len(MANNERS)]
        settings.DEBUG = number % 5 == 4
        fields = entered(one, number, places)
        marked += secrets_of(one, number)
        if number % 3 == 2:
            first = next(field.name for field in one.manifest.fields if field.secret and field.name in fields)
            fields[first] = BROKEN[number // 3 % len(BROKEN)].replace("{}", fields[first])
        with monkeypatch.context() as patch:
            if number % 7 == 6:
                patch.setattr("apikeys.vault.warm_up", _fault)
            for way in (faces.by_page, faces.by_command, faces.by_admin, faces.by_program):
                way(one, fields)
    _send_every_task()
    surfaces.close()
    assert faces.done >= HANDLED
    assert surfaces.search(marked) == []


def _fault(*parts: Any) -> None:
    raise OSError("the disk is full")


def _send_every_task() -> None:
    """Put each task into the broker as production does, and leave it there."""
    eager, celery.conf.task_always_eager = celery.conf.task_always_eager, False
    try:
        for entry in celery.conf.beat_schedule.values():
            celery.send_task(entry["task"])
    finally:
        celery.conf.task_always_eager = eager


def test_a_provider_that_repeats_the_key_does_not_get_it_into_what_is_kept(
    provider: FakeProvider, places: Places, person: Person, surfaces: Surfaces
) -> None:
    """What it answers goes to the key's owner; records, logs, audit and pages must not have it."""
    marked = give_keys(person.user, places)
    provider.manner = Manner(
        status=401, body=json.dumps({"error": {"message": " ".join(marked), "code": marked[0]}}).encode()
    )

    async def calls() -> None:
        async with started() as gateway:
            for one in PROVIDERS:
                for stream in (True, False):
                    await gateway.call(f"{one.slug}{operation_of(one)}", body_of(one, stream=stream), person.headers)

    asyncio.run(calls())
    browser = Client()
    browser.force_login(person.user)
    for one in PROVIDERS:
        answer = browser.post(f"/api/v1/keys/{one.slug}/test/")
        surfaces.add("answers", answer.content)
        surfaces.add("pages", browser.post(f"/settings/api/{one.slug}/test/", follow=True).content)
    surfaces.add("pages", browser.get("/settings/usage/").content)
    surfaces.close()
    assert surfaces.search(marked) == []


@pytest.mark.parametrize("surface", ["log", "answers"])
def test_the_search_finds_what_is_there(surface: str) -> None:
    secret = secrets_of(PROVIDERS[0], 1)[0]
    for form, needle in forms(secret).items():
        found = Surfaces()
        found.add(surface, b"before" + needle + b"after")
        assert (surface, form) in found.search([secret])
