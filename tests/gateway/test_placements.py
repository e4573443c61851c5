"""Every place in which a provider's SDK puts its key: the access token is taken from there, the real key put there,
and answers lead back here."""

import json
from typing import Any

import pytest
import requests

from digitalme.gateway import tickets
from tests.fakes import FakeProvider, Manner, Reply, Seen
from tests.gateway.conftest import KEYS, Person, WebProcess, command, until

# The web process is another one: what it is to see must be committed.
pytestmark = pytest.mark.django_db(transaction=True)

HEADERS = ("authorization", "x-api-key", "x-goog-api-key")


def replying(provider: FakeProvider, value: Any, status: int = 200, **headers: str) -> None:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    provider.manner = Manner(reply=lambda seen: Reply(status, value, named))


def seen_once(provider: FakeProvider, person: Person) -> Seen:
    (seen,) = provider.seen
    assert person.token not in f"{seen.path} {seen.headers} {seen.body!r}"
    return seen


def call(web: WebProcess, method: str, path: str, **more: Any) -> requests.Response:
    return requests.request(method, f"{web.url}/gateway/{path}", timeout=20, **more)


def test_telegrams_token_stands_in_the_path(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"ok": True, "result": {"message_id": 1}})
    answer = call(web, "POST", f"telegram/bot{ann.token}/sendMessage", json={"chat_id": 1, "text": "hi"})
    assert answer.json() == {"ok": True, "result": {"message_id": 1}}
    seen = seen_once(provider, ann)
    assert (seen.path, seen.json) == (f"/bot{KEYS['telegram']}/sendMessage", {"chat_id": 1, "text": "hi"})
    assert not set(HEADERS) & set(seen.headers)
    record = ann.record("ok")
    assert (record.operation, record.key_source, record.cost) == ("sendMessage", "user", 0)


def test_telegrams_files_come_through_byte_for_byte(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, b"\x00\xff\r\n", content_type="application/octet-stream")
    answer = call(web, "GET", f"telegram/file/bot{ann.token}/photos/a%2Fb.jpg?x=%20")
    assert answer.content == b"\x00\xff\r\n"
    assert seen_once(provider, ann).path == f"/file/bot{KEYS['telegram']}/photos/a%2Fb.jpg?x=%20"


def test_a_real_bot_token_in_the_path_is_refused_without_being_repeated(
    web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    answer = call(web, "GET", f"telegram/bot{KEYS['telegram']}/getMe", headers=ann.headers)
    assert (answer.status_code, answer.json()["ok"]) == (404, False)
    assert KEYS["telegram"] not in answer.text
    assert provider.seen == []


def test_a_telegram_call_without_a_token_is_refused_in_telegrams_shape(web: WebProcess) -> None:
    answer = call(web, "GET", "telegram/bot/getMe")
    assert (answer.status_code, answer.json()["error_code"]) == (401, 401)


def test_the_token_of_the_older_2captcha_api_stands_in_the_query(
    web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    replying(provider, b"CAPCHA_NOT_READY", content_type="text/plain")
    answer = call(web, "GET", f"twocaptcha/res.php?action=get&key={ann.token}&id=%2F")
    assert answer.text == "CAPCHA_NOT_READY"
    assert seen_once(provider, ann).path == f"/res.php?action=get&id=%2F&key={KEYS['twocaptcha']}"
    record = ann.record("ok")
    assert (record.cost, record.charged_requests) == (0, 0)


def test_it_stands_in_a_form(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, b"OK|1", content_type="text/plain")
    call(web, "POST", "twocaptcha/in.php", data={"key": ann.token, "method": "userrecaptcha", "soft_id": 7})
    assert seen_once(provider, ann).body == f"method=userrecaptcha&soft_id=7&key={KEYS['twocaptcha']}".encode()
    record = ann.record("ok")
    assert (str(record.cost), record.charged_requests) == ("0.001000000", 1)


def test_it_stands_in_a_multipart_form(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, b"OK|1", content_type="text/plain")
    files = {"file": ("c.png", b"\x89PNG\r\n\x00\xff", "image/png")}
    call(web, "POST", "twocaptcha/in.php", data={"key": ann.token, "method": "post"}, files=files)
    body = seen_once(provider, ann).body
    assert KEYS["twocaptcha"].encode() in body
    assert b"\x89PNG\r\n\x00\xff" in body
    assert body.count(b'name="key"') == 1


def test_that_of_the_newer_2captcha_api_stands_in_json(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"errorId": 0, "taskId": 3})
    call(web, "POST", "twocaptcha/createTask", json={"clientKey": ann.token, "task": {"type": "X"}})
    assert seen_once(provider, ann).json == {"task": {"type": "X"}, "clientKey": KEYS["twocaptcha"]}


def test_what_2captcha_refuses_costs_nothing(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"errorId": 10, "errorCode": "ERROR_ZERO_BALANCE"})
    answer = call(web, "POST", "twocaptcha/createTask", json={"clientKey": ann.token})
    assert answer.json()["errorId"] == 10
    record = ann.record("failed")
    assert (record.error_type, record.cost) == ("ERROR_ZERO_BALANCE", 0)


@pytest.mark.parametrize("body", ["{}", '{"clientKey": "dm_wrong"}', "not json", ""])
def test_a_call_of_nobodys_is_refused_in_2captchas_shape(body: str, web: WebProcess, provider: FakeProvider) -> None:
    answer = call(web, "POST", "twocaptcha/createTask", data=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["errorCode"]) == (200, "ERROR_KEY_DOES_NOT_EXIST")
    assert provider.seen == []


@pytest.mark.parametrize("scheme", ["Bearer", "token"])
def test_githubs_schemes_are_both_taken(scheme: str, web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"login": "ann"})
    call(web, "GET", "github/user", headers={"authorization": f"{scheme} {ann.token}"})
    assert seen_once(provider, ann).headers["authorization"] == f"Bearer {KEYS['github']}"


def test_githubs_next_page_and_objects_lie_here(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(
        provider,
        {"url": "https://api.github.com/repos/a/b", "html_url": "https://github.com/a/b"},
        link='<https://api.github.com/repos?page=2>; rel="next"',
    )
    answer = call(web, "GET", "github/repos/a/b", headers=ann.headers)
    base = f"{web.url}/gateway/github"
    assert answer.json() == {"url": f"{base}/repos/a/b", "html_url": "https://github.com/a/b"}
    assert answer.links["next"]["url"] == f"{base}/repos?page=2"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert ann.record("ok").operation == "repos"


def test_a_redirect_within_github_comes_back_and_leads_here(
    web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    replying(provider, {}, 301, location="https://api.github.com/repositories/7")
    answer = call(web, "GET", "github/repos/a/b", headers=ann.headers, allow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (301, f"{web.url}/gateway/github/repositories/7")


def test_a_redirect_that_leaves_the_provider_is_refused(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {}, 302, location="https://codeload.example/a")
    answer = call(web, "GET", "github/repos/a/b/zipball", headers=ann.headers, allow_redirects=False)
    assert answer.status_code == 502
    assert "location" not in answer.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_all_methods_come_through(method: str, web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"ok": 1})
    call(web, method, "clickup/api/v2/task/9?a=%2F", headers=ann.headers, json={"name": "x"})
    seen = seen_once(provider, ann)
    assert (seen.method, seen.path, seen.json) == (method, "/api/v2/task/9?a=%2F", {"name": "x"})


def test_clickups_token_stands_bare_in_its_header(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"user": {"id": 1}})
    call(web, "GET", "clickup/api/v2/user", headers={"authorization": ann.token})
    assert seen_once(provider, ann).headers["authorization"] == KEYS["clickup"]


def test_slacks_refusal_comes_through_and_counts_as_failed(
    web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    replying(provider, {"ok": False, "error": "channel_not_found"})
    answer = call(web, "POST", "slack/api/chat.postMessage", headers=ann.headers, data={"channel": "C1"})
    assert (answer.status_code, answer.json()["error"]) == (200, "channel_not_found")
    record = ann.record("failed")
    assert (record.operation, record.error_type) == ("chat.postMessage", "channel_not_found")


def test_slacks_older_clients_put_the_token_into_the_form(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"ok": True})
    call(web, "POST", "slack/api/users.list", data={"token": ann.token, "limit": "5"})
    seen = seen_once(provider, ann)
    assert (seen.body, seen.headers["authorization"]) == (b"limit=5", f"Bearer {KEYS['slack']}")


def upload_address(web: WebProcess, provider: FakeProvider, person: Person) -> str:
    replying(provider, {"ok": True, "upload_url": "https://files.slack.com/upload/v1/ABC?part=1", "file_id": "F1"})
    answer = call(web, "POST", "slack/api/files.getUploadURLExternal", headers=person.headers)
    address: str = answer.json()["upload_url"]
    assert address.startswith(f"{web.url}/gateway/slack/files/upload/v1/ABC?part=1&dm_ticket=")
    assert person.token not in address
    provider.seen.clear()
    return address


def test_slacks_upload_goes_through_here_without_any_key(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    address = upload_address(web, provider, ann)
    replying(provider, b"OK - 4", content_type="text/plain")
    assert requests.post(address, data=b"\x00\x01\x02\x03", timeout=20).text == "OK - 4"
    seen = seen_once(provider, ann)
    assert (seen.path, seen.body) == ("/files/upload/v1/ABC?part=1", b"\x00\x01\x02\x03")
    assert not set(HEADERS) & set(seen.headers)
    until(lambda: {one.operation for one in ann.records()} == {"files.getUploadURLExternal", "files"})


@pytest.mark.parametrize(
    ("old", "new"),
    [("/upload/v1/ABC", "/upload/v1/XYZ"), ("/gateway/slack/", "/gateway/github/"), ("dm_ticket=", "dm_ticket=9")],
)
def test_a_ticket_is_good_for_its_own_path_alone(
    old: str, new: str, web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    address = upload_address(web, provider, ann).replace(old, new)
    assert "access token" in requests.post(address, data=b"x", timeout=20).text
    assert provider.seen == []


def test_a_ticket_ends() -> None:
    digest = "a" * 64
    ticket = tickets.issue(digest, "slack", "/files/x", now=1000)
    assert tickets.redeem(ticket, "slack", "/files/x", now=1600) == digest
    assert tickets.redeem(ticket, "slack", "/files/x", now=1601) == ""
    assert tickets.redeem(ticket, "slack", "/files/y", now=1000) == ""
    assert tickets.redeem(ticket, "github", "/files/x", now=1000) == ""


@pytest.mark.parametrize(
    "ticket", ["", "x", "1.2", "9999999999." + "a" * 64, "9999999999..", "99999999999999." + "a" * 64]
)
def test_what_is_no_ticket_opens_nothing(ticket: str) -> None:
    assert tickets.redeem(ticket, "slack", "/x", now=0) == ""


def test_googles_token_may_stand_in_the_query(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"files": []})
    call(web, "GET", f"google/drive/v3/files?alt=json&access_token={ann.token}")
    seen = seen_once(provider, ann)
    assert (seen.path, seen.headers["authorization"]) == ("/drive/v3/files?alt=json", f"Bearer {KEYS['google']}")


def test_googles_resumable_upload_goes_on_here(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    where = "https://www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id=1"
    replying(provider, b"", location=where)
    answer = call(web, "POST", "google/upload/drive/v3/files?uploadType=resumable", headers=ann.headers, json={})
    onward = answer.headers["location"]
    assert onward == f"{web.url}/gateway/google/upload/drive/v3/files?uploadType=resumable&upload_id=1"
    replying(provider, b"", 308, range="bytes=0-3")
    again = requests.put(onward, data=b"1234", headers=ann.headers, timeout=20, allow_redirects=False)
    assert (again.status_code, again.headers["range"]) == (308, "bytes=0-3")


def test_googles_uploads_are_taken_at_the_root(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {"id": "1"})
    url = f"{web.url}/upload/drive/v3/files?uploadType=media&x=%2F"
    answer = requests.post(url, data=b"\x00\xff", headers=ann.headers, timeout=20)
    assert answer.json() == {"id": "1"}
    seen = seen_once(provider, ann)
    assert (seen.path, seen.body) == ("/upload/drive/v3/files?uploadType=media&x=%2F", b"\x00\xff")
    assert ann.record("ok").operation == "upload"


def test_an_upload_without_a_token_is_refused_as_google_does(web: WebProcess, provider: FakeProvider) -> None:
    answer = requests.post(f"{web.url}/upload/drive/v3/files", data=b"x", timeout=20)
    assert (answer.status_code, answer.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert provider.seen == []


def test_a_header_that_may_carry_the_token_is_taken(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    replying(provider, {})
    call(web, "GET", "google/calendar/v3/calendars/x", headers={"x-goog-api-key": ann.token})
    assert seen_once(provider, ann).headers["authorization"] == f"Bearer {KEYS['google']}"


# --- The house's keys are confined ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("slug", "method", "good", "bad"),
    [
        ("slack", "POST", "api/auth.test", "api/conversations.list"),
        ("github", "GET", "rate_limit", "user/repos"),
        ("clickup", "GET", "api/v2/user", "api/v2/team"),
        ("telegram", "GET", "bot/getMe", "bot/getUpdates"),
        ("twocaptcha", "POST", "getBalance", "createTask"),
    ],
)
def test_the_houses_key_serves_only_what_shows_nothing_of_others(
    slug: str, method: str, good: str, bad: str, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    command("set_key", slug, "--system", stdin=KEYS[slug])
    replying(provider, {"ok": True, "errorId": 0})
    answer = call(web, method, f"{slug}/{good}", headers=alice.headers)
    assert (answer.status_code, answer.headers["x-digitalme-key-source"]) == (200, "system")
    provider.seen.clear()
    refused = call(web, method, f"{slug}/{bad}", headers=alice.headers)
    assert "Add your own" in refused.text
    assert provider.seen == []


HOSTILE = ["base_url", "api_base", "url", "host", "proxy", "endpoint", "server"]


@pytest.mark.parametrize("slug", ["slack", "github", "clickup", "telegram", "twocaptcha"])
def test_no_caller_sends_the_houses_key_elsewhere(
    slug: str, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    path = {"slack": "api/auth.test", "github": "rate_limit", "clickup": "api/v2/user", "telegram": "bot/getMe"}
    command("set_key", slug, "--system", stdin=KEYS[slug])
    replying(provider, {"ok": True})
    with FakeProvider() as sink:
        away = sink.url
        headers = {
            **alice.headers,
            "X-Forwarded-Host": away.removeprefix("http://"),
            "Forwarded": f"host={away.removeprefix('http://')}",
            "X-Original-URL": away,
            **{f"X-{name}": away for name in HOSTILE if "_" not in name},
        }
        where = path.get(slug, "getBalance")
        method = "GET" if slug in ("github", "clickup") else "POST"
        body = json.dumps({name: {"url": away} if name == "url" else away for name in HOSTILE})
        query = "&".join(f"{name}={away}" for name in HOSTILE)
        for prefix in ("", "/", f"{away}/", "..%2f", "%2e%2e/"):
            call(
                web,
                method,
                f"{slug}/{prefix}{where}?{query}",
                headers={**headers, "content-type": "application/json"},
                data=body if method == "POST" else None,
            )
        assert sink.seen == []
    assert provider.seen
