"""slack_sdk."""

from urllib.parse import parse_qs

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from tests.fakes import FakeProvider, Reply, Seen
from tests.gateway.conftest import KEYS, Person, WebProcess
from tests.gateway.sdks.conftest import answering, only_the_key, settled

pytestmark = pytest.mark.django_db(transaction=True)

KEY = f"Bearer {KEYS['slack']}"


def client(web: WebProcess, person: Person) -> WebClient:
    return WebClient(token=person.token, base_url=web.gateway("slack", "/api/"))


def test_it_writes(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    answering(provider, {"POST /api/chat.postMessage": Reply(200, {"ok": True, "channel": "C1", "ts": "1.2"})})
    assert client(web, ann).chat_postMessage(channel="C1", text="hi & ho")["ts"] == "1.2"
    only_the_key(provider, ann, "authorization", KEY)
    assert settled(ann, 1) == [("chat.postMessage", "ok", "0", "user")]


def page(seen: Seen) -> Reply:
    following = "" if b"cursor=dXNlcg" in seen.body or "cursor=dXNlcg" in seen.path else "dXNlcg"
    name = "last" if not following else "first"
    return Reply(200, {"ok": True, "channels": [{"id": name}], "response_metadata": {"next_cursor": following}})


def test_it_paginates_by_cursor(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    answering(provider, {"GET /api/conversations.list": page, "POST /api/conversations.list": page})
    pages = client(web, ann).conversations_list(limit=1)
    assert [one["channels"][0]["id"] for one in pages] == ["first", "last"]
    only_the_key(provider, ann, "authorization", KEY)
    assert settled(ann, 2) == [("conversations.list", "ok", "0", "user")] * 2


def test_it_uploads_through_here(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    data = bytes(range(256)) * 1000
    address = {"ok": True, "upload_url": "https://files.slack.com/upload/v1/ABC?x=1", "file_id": "F1"}
    routes = {
        f"{method} /api/files.{name}": Reply(200, value)
        for method in ("GET", "POST")
        for name, value in (
            ("getUploadURLExternal", address),
            ("completeUploadExternal", {"ok": True, "files": [{"id": "F1", "title": "t"}]}),
        )
    }
    answering(provider, {**routes, "POST /files/upload/v1/ABC": Reply(200, b"OK - 256000")})
    done = client(web, ann).files_upload_v2(channel="C1", content=data, filename="a.bin")
    assert done["files"][0]["id"] == "F1"
    assert ann.token not in repr(provider.seen)
    (upload,) = [seen for seen in provider.seen if seen.path.startswith("/files/")]
    assert data in upload.body
    assert "authorization" not in upload.headers
    assert parse_qs(upload.path.partition("?")[2]) == {"x": ["1"]}
    assert [record[:2] for record in settled(ann, 3)] == [
        ("files.getUploadURLExternal", "ok"),
        ("files", "ok"),
        ("files.completeUploadExternal", "ok"),
    ]


def test_it_raises_what_slack_refuses_with_a_good_status(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    answering(provider, {"POST /api/chat.postMessage": Reply(200, {"ok": False, "error": "channel_not_found"})})
    with pytest.raises(SlackApiError) as raised:
        client(web, ann).chat_postMessage(channel="C0", text="hi")
    assert raised.value.response["error"] == "channel_not_found"
    assert settled(ann, 1) == [("chat.postMessage", "failed", "0", "user")]
    assert ann.record().error_type == "channel_not_found"


def test_it_is_told_when_to_come_back(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    body = {"ok": False, "error": "ratelimited"}
    answering(provider, {"POST /api/auth.test": Reply(429, body, {"retry-after": "30"})})
    with pytest.raises(SlackApiError) as raised:
        client(web, ann).auth_test()
    assert raised.value.response.headers["retry-after"] == "30"
    assert ann.record("failed").http_status == 429


def test_it_is_told_without_a_key_of_ones_own(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    with pytest.raises(SlackApiError) as raised:
        client(web, alice).chat_postMessage(channel="C1", text="hi")
    assert raised.value.response["error"] == "not_authed"
    assert "Add your own" in raised.value.response["detail"]
    assert provider.seen == []
