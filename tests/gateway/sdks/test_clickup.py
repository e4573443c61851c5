"""ClickUp, which has no official SDK: its documented requests, over HTTP."""

from typing import Any

import pytest
import requests

from tests.fakes import FakeProvider, Reply, Seen
from tests.gateway.conftest import KEYS, Person, WebProcess
from tests.gateway.sdks.conftest import answering, only_the_key, settled

pytestmark = pytest.mark.django_db(transaction=True)

LIMITS = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "99", "x-ratelimit-reset": "1760000000"}


def call(web: WebProcess, person: Person, method: str, path: str, **more: Any) -> requests.Response:
    """Send a request with the token bare in its header, as ClickUp's personal tokens stand there."""
    url = web.gateway("clickup", f"/api/v2/{path}")
    return requests.request(method, url, headers={"Authorization": person.token}, timeout=30, **more)


def page(seen: Seen) -> Reply:
    number = int(seen.path.rpartition("page=")[2])
    return Reply(200, {"tasks": [{"id": f"t{number}"}], "last_page": number == 1}, LIMITS)


def test_it_reads_pages_writes_and_uploads(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    data = b"\x00\xff\r\n--" * 30_000
    answering(
        provider,
        {
            "GET /api/v2/list/1/task": page,
            "POST /api/v2/list/1/task": Reply(200, {"id": "t9", "name": "n"}),
            "POST /api/v2/task/t9/attachment": Reply(200, {"id": "a1"}),
            "DELETE /api/v2/task/t9": Reply(204, b""),
        },
    )
    found, last, number = [], False, 0
    while not last:
        answer = call(web, ann, "GET", "list/1/task", params={"page": number})
        found += [one["id"] for one in answer.json()["tasks"]]
        last, number = answer.json()["last_page"], number + 1
        assert {name: answer.headers[name] for name in LIMITS} == LIMITS
    assert found == ["t0", "t1"]
    assert call(web, ann, "POST", "list/1/task", json={"name": "n"}).json()["id"] == "t9"
    sent = call(web, ann, "POST", "task/t9/attachment", files={"attachment": ("a.bin", data)})
    assert sent.json() == {"id": "a1"}
    assert call(web, ann, "DELETE", "task/t9").status_code == 204
    only_the_key(provider, ann, "authorization", KEYS["clickup"])
    assert data in provider.seen[3].body
    assert settled(ann, 5) == [(one, "ok", "0", "user") for one in ("list", "list", "list", "task", "task")]


@pytest.mark.parametrize(
    ("status", "code"), [(401, "OAUTH_025"), (401, "OAUTH_023"), (404, "ITEM_013"), (429, "APP_002"), (500, "X_1")]
)
def test_what_it_refuses_comes_as_it_is(
    status: int, code: str, web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    answering(provider, {"GET /api/v2/team": Reply(status, {"err": "no", "ECODE": code}, LIMITS)})
    answer = call(web, ann, "GET", "team")
    assert (answer.status_code, answer.json()) == (status, {"err": "no", "ECODE": code})
    assert answer.headers["x-ratelimit-reset"] == "1760000000"
    assert settled(ann, 1) == [("v2", "failed", "0", "user")]


def test_it_is_told_without_a_key_of_ones_own(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    answer = call(web, alice, "GET", "team")
    assert (answer.status_code, answer.json()["ECODE"]) == (404, "DIGITALME_KeyNotFound")
    assert "Add your own" in answer.json()["err"]
    assert provider.seen == []
