"""What every page passes through: ids, headers, zones, errors; in both modes, sync and async."""

import io
import logging
from collections.abc import Callable

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import include, path
from django.utils import timezone

from digitalme import errors, logs
from digitalme.accounts.models import User

log = logging.getLogger("tests.middleware")


def plain(request: HttpRequest) -> HttpResponse:
    log.warning("inside the view")
    return HttpResponse("plain")


async def awaited(request: HttpRequest) -> HttpResponse:
    return HttpResponse("awaited")


def zone(request: HttpRequest) -> HttpResponse:
    return HttpResponse(timezone.get_current_timezone_name())


async def awaited_zone(request: HttpRequest) -> HttpResponse:
    return HttpResponse(timezone.get_current_timezone_name())


def refused(request: HttpRequest) -> HttpResponse:
    raise errors.QuotaExceeded("The limit is used up; wait until tomorrow.", retry_after=60)


async def awaited_refused(request: HttpRequest) -> HttpResponse:
    raise errors.KeyNotFound("There is no key for this provider yet.")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a fault, not a refusal")


def cached(request: HttpRequest) -> HttpResponse:
    return HttpResponse("cached", headers={"Cache-Control": "public, max-age=60"})


urlpatterns = [
    path("plain/", plain),
    path("awaited/", awaited),
    path("zone/", zone),
    path("awaited-zone/", awaited_zone),
    path("refused/", refused),
    path("awaited-refused/", awaited_refused),
    path("broken/", broken),
    path("cached/", cached),
    path("", include("digitalme.urls")),  # the error pages link to the product's own
]
pytestmark = pytest.mark.urls(__name__)
ANSWERS = ["/plain/", "/awaited/", "/refused/", "/awaited-refused/", "/broken/", "/nowhere/", "/cached/"]


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


# --- Ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ANSWERS)
def test_every_answer_carries_its_id(address: str, client: Client, db: None) -> None:
    assert len(client.get(address)["X-Request-Id"]) == 36


def test_two_requests_have_two_ids(client: Client, db: None) -> None:
    assert client.get("/plain/")["X-Request-Id"] != client.get("/plain/")["X-Request-Id"]


def test_an_id_that_a_proxy_gave_is_kept(client: Client, db: None) -> None:
    answer = client.get("/plain/", headers={"X-Request-Id": "proxy-12345678"})
    assert answer["X-Request-Id"] == "proxy-12345678"


@pytest.mark.parametrize("given", ["short", "x" * 65, "with blanks in it", "a;b\tcdefgh", "<script>alert</script>"])
def test_an_odd_id_is_replaced(given: str, client: Client, db: None) -> None:
    assert len(client.get("/plain/", headers={"X-Request-Id": given})["X-Request-Id"]) == 36


async def test_an_async_request_has_its_id(async_client: AsyncClient, transactional_db: None) -> None:
    answer = await async_client.get("/awaited/", headers={"X-Request-Id": "proxy-12345678"})
    assert answer["X-Request-Id"] == "proxy-12345678"


def test_log_lines_name_the_request(client: Client, db: None) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter())
    log.addHandler(handler)
    try:
        client.get("/plain/", headers={"X-Request-Id": "proxy-12345678"})
        client.get("/plain/", headers={"X-Request-Id": "proxy-87654321"})
    finally:
        log.removeHandler(handler)
    first, second = stream.getvalue().splitlines()
    assert "request_id=proxy-12345678" in first
    assert "request_id=proxy-87654321" in second


# --- Headers ------------------------------------------------------------------------------------

STRICT = {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"}


@pytest.mark.parametrize("address", ANSWERS)
def test_every_answer_carries_the_security_headers(address: str, client: Client, db: None) -> None:
    answer = client.get(address)
    policy = {rule.strip() for rule in answer["Content-Security-Policy"].split(";")}
    assert policy >= STRICT
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer["Permissions-Policy"]


def test_static_files_carry_the_policy_too(client: Client, db: None) -> None:
    answer = client.get("/static/django_htmx/htmx-2.min.js")
    assert (answer.status_code, answer["Content-Type"][:15]) == (200, "text/javascript")
    assert "default-src 'none'" in answer["Content-Security-Policy"]
    assert "max-age" in answer["Cache-Control"]


async def test_static_files_are_served_by_an_async_server(async_client: AsyncClient) -> None:
    answer = await async_client.get("/static/django_htmx/htmx-2.min.js")
    assert len(answer.content) == int(answer["Content-Length"]) > 10_000
    head = await async_client.head("/static/django_htmx/htmx-2.min.js")
    assert (head.status_code, head.content, head["Content-Length"]) == (200, b"", answer["Content-Length"])


def test_a_static_file_is_not_sent_twice(client: Client) -> None:
    first = client.get("/static/django_htmx/htmx-2.min.js")
    again = client.get("/static/django_htmx/htmx-2.min.js", headers={"If-Modified-Since": first["Last-Modified"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("address", ["/plain/", "/refused/", "/nowhere/"])
def test_no_cache_keeps_an_answer(address: str, client: Client, db: None) -> None:
    assert client.get(address)["Cache-Control"] == "private, no-store"


def test_an_answer_may_say_that_it_is_kept(client: Client, db: None) -> None:
    assert client.get("/cached/")["Cache-Control"] == "public, max-age=60"


def test_an_unknown_host_is_refused(client: Client, db: None) -> None:
    assert client.get("/plain/", headers={"Host": "evil.example"}).status_code == 400


# --- Time zones ---------------------------------------------------------------------------------


def test_times_are_shown_in_the_zone_of_whoever_signed_in(alice: User, alice_client: Client) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Asia/Kolkata")
    assert alice_client.get("/zone/").content == b"Asia/Kolkata"
    assert Client().get("/zone/").content == b"UTC"


def test_a_zone_that_is_no_longer_known_locks_nobody_out(alice: User, alice_client: Client) -> None:
    User.objects.filter(pk=alice.pk).update(time_zone="Mars/Olympus_Mons")
    assert alice_client.get("/zone/").content == b"UTC"


@pytest.mark.django_db(transaction=True)
async def test_the_zone_holds_in_an_async_view(async_client: AsyncClient) -> None:
    user = await User.objects.acreate(email="dora@example.com", time_zone="Asia/Kolkata")
    await async_client.aforce_login(user)
    assert (await async_client.get("/awaited-zone/")).content == b"Asia/Kolkata"
    assert timezone.get_current_timezone_name() == "UTC"


# --- Errors -------------------------------------------------------------------------------------


def test_a_refusal_becomes_a_page_with_its_status(client: Client, db: None) -> None:
    answer = client.get("/refused/")
    assert answer.status_code == 429
    assert b"The limit is used up; wait until tomorrow." in answer.content
    assert b"<html" in answer.content
    assert answer["Retry-After"] == "60"


def test_a_refusal_becomes_a_fragment_for_htmx(client: Client, db: None) -> None:
    answer = client.get("/refused/", headers={"HX-Request": "true"})
    assert answer.status_code == 429
    assert b"The limit is used up" in answer.content
    assert b"<html" not in answer.content


async def test_a_refusal_of_an_async_view_becomes_a_page(async_client: AsyncClient, transactional_db: None) -> None:
    answer = await async_client.get("/awaited-refused/")
    assert answer.status_code == 404
    assert b"There is no key for this provider yet." in answer.content


def test_a_fault_stays_a_fault_and_tells_nothing(client: Client, db: None) -> None:
    answer = client.get("/broken/")
    assert answer.status_code == 500
    assert b"a fault, not a refusal" not in answer.content


@pytest.mark.parametrize("name", [name for name in settings.MIDDLEWARE if name.startswith("digitalme.")])
def test_no_middleware_of_ours_takes_the_request_out_of_async_mode(name: str) -> None:
    from django.utils.module_loading import import_string

    middleware: Callable[..., object] = import_string(name)
    assert getattr(middleware, "async_capable", False), name
