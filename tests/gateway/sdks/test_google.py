"""google-api-python-client. It sends uploads to the root of the host, over https, whatever its base is."""

import io
import json
from pathlib import Path
from typing import Any

import httplib2
import pytest
import requests
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

from tests.fakes import FakeProvider, Reply, Seen
from tests.gateway.conftest import KEYS, Person, WebProcess
from tests.gateway.sdks.conftest import answering, only_the_key, settled

pytestmark = pytest.mark.django_db(transaction=True)

KEY = f"Bearer {KEYS['google']}"
DATA = bytes(range(256)) * 3000
SESSION = "https://www.googleapis.com/upload/drive/v3/files?uploadType=resumable&upload_id=abc"


@pytest.fixture
def drive(secure_web: WebProcess, ann: Person, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(httplib2, "CA_CERTS", str(certificate))
    service = build(
        "drive",
        "v3",
        credentials=Credentials(ann.token),  # type: ignore[no-untyped-call]
        static_discovery=True,
        client_options={"api_endpoint": secure_web.gateway("google", "/drive/v3/")},
    )
    yield service
    service.close()


def page(seen: Seen) -> Reply:
    if "pageToken=two" in seen.path:
        return Reply(200, {"files": [{"id": "b"}]})
    return Reply(200, {"files": [{"id": "a"}], "nextPageToken": "two"})


def test_it_reads_page_by_page(drive: Any, provider: FakeProvider, ann: Person) -> None:
    answering(provider, {"GET /drive/v3/files": page})
    found, request = [], drive.files().list(pageSize=1, q="name = 'a b'")
    while request is not None:
        answer = request.execute()
        found += [one["id"] for one in answer["files"]]
        request = drive.files().list_next(request, answer)
    assert found == ["a", "b"]
    only_the_key(provider, ann, "authorization", KEY)
    assert settled(ann, 2) == [("drive", "ok", "0", "user")] * 2


def test_it_writes_and_uploads_at_once(drive: Any, provider: FakeProvider, ann: Person) -> None:
    answering(
        provider,
        {
            "POST /drive/v3/files": Reply(200, {"id": "folder"}),
            "POST /upload/drive/v3/files": Reply(200, {"id": "file", "selfLink": "https://www.googleapis.com/x"}),
        },
    )
    assert drive.files().create(body={"name": "n"}).execute() == {"id": "folder"}
    media = MediaIoBaseUpload(io.BytesIO(DATA), "application/octet-stream")
    made = drive.files().create(body={"name": "n"}, media_body=media).execute()
    assert made["id"] == "file"
    only_the_key(provider, ann, "authorization", KEY)
    assert DATA in provider.seen[-1].body
    assert settled(ann, 2) == [("drive", "ok", "0", "user"), ("upload", "ok", "0", "user")]


def test_it_uploads_resumably(drive: Any, provider: FakeProvider, ann: Person) -> None:
    def part(seen: Seen) -> Reply:
        last = int(seen.headers["content-range"].split()[1].partition("/")[0].partition("-")[2])
        if last + 1 < len(DATA):
            return Reply(308, b"", {"range": f"bytes=0-{last}"})
        return Reply(200, {"id": "file"})

    answering(
        provider,
        {"POST /upload/drive/v3/files": Reply(200, b"", {"location": SESSION}), "PUT /upload/drive/v3/files": part},
    )
    media = MediaIoBaseUpload(io.BytesIO(DATA), "application/octet-stream", chunksize=512 * 1024, resumable=True)
    request, answer = drive.files().create(body={"name": "n"}, media_body=media), None
    while answer is None:
        _, answer = request.next_chunk()
    assert answer == {"id": "file"}
    only_the_key(provider, ann, "authorization", KEY)
    parts = [seen for seen in provider.seen if seen.method == "PUT"]
    assert b"".join(seen.body for seen in parts) == DATA
    assert all("upload_id=abc" in seen.path for seen in parts)
    assert [record[0] for record in settled(ann, 3)] == ["upload"] * 3


def test_it_downloads_in_parts(drive: Any, provider: FakeProvider, ann: Person) -> None:
    def part(seen: Seen) -> Reply:
        first, last = (int(one) for one in seen.headers["range"].removeprefix("bytes=").split("-"))
        told = {"content-type": "application/octet-stream", "content-range": f"bytes {first}-{last}/{len(DATA)}"}
        last = min(last, len(DATA) - 1)
        told["content-range"] = f"bytes {first}-{last}/{len(DATA)}"
        return Reply(206, DATA[first : last + 1], told)

    answering(provider, {"GET /drive/v3/files/file": part})
    kept, done = io.BytesIO(), False
    loader = MediaIoBaseDownload(kept, drive.files().get_media(fileId="file"), chunksize=300_000)
    while not done:
        _, done = loader.next_chunk()
    assert kept.getvalue() == DATA
    only_the_key(provider, ann, "authorization", KEY)
    assert settled(ann, 3) == [("drive", "ok", "0", "user")] * 3


@pytest.mark.parametrize("status", [403, 404, 429])
def test_it_raises_what_it_raises_otherwise(status: int, drive: Any, provider: FakeProvider, ann: Person) -> None:
    told = {"code": status, "message": "no such thing", "errors": [{"reason": "why", "message": "no such thing"}]}
    answering(provider, {"GET /drive/v3/files/x": Reply(status, {"error": told})})
    with pytest.raises(HttpError) as raised:
        drive.files().get(fileId="x").execute()
    assert (raised.value.status_code, raised.value.reason) == (status, "no such thing")
    assert settled(ann, 1) == [("drive", "failed", "0", "user")]


MODEL = "gemini-2.5-flash"
TAKEN = {"promptTokenCount": 100, "candidatesTokenCount": 50, "thoughtsTokenCount": 10, "cachedContentTokenCount": 40}
GENERATED = {
    "candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
    "usageMetadata": TAKEN,
    "modelVersion": MODEL,
}
FIRST = {**GENERATED, "candidates": [], "usageMetadata": {"promptTokenCount": 100}}


def test_gemini_is_metered_plain_as_a_list_and_as_events(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    def streamed(seen: Seen) -> Reply:
        if "alt=sse" not in seen.path:
            return Reply(200, [FIRST, GENERATED])
        events = b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in (FIRST, GENERATED))
        return Reply(200, events, {"content-type": "text/event-stream"})

    answering(
        provider,
        {
            f"POST /generativelanguage/v1beta/models/{MODEL}:generateContent": Reply(200, GENERATED),
            f"POST /generativelanguage/v1beta/models/{MODEL}:streamGenerateContent": streamed,
        },
    )
    asked = {"contents": [{"parts": [{"text": "hi"}]}]}
    for how, begins in (
        ("generateContent", "{"),
        ("streamGenerateContent", "["),
        ("streamGenerateContent?alt=sse", "d"),
    ):
        url = web.gateway("google", f"/generativelanguage/v1beta/models/{MODEL}:{how}")
        answer = requests.post(url, json=asked, headers={"x-goog-api-key": ann.token}, timeout=30)
        assert (answer.status_code, answer.text[:1]) == (200, begins)
    only_the_key(provider, ann, "authorization", KEY)
    plain, stream = ("generateContent", "ok", "0.0001692", "user"), ("streamGenerateContent", "ok", "0.0001692", "user")
    assert settled(ann, 3) == [plain, stream, stream]
    for record in ann.records():
        assert (record.model, record.input_tokens, record.output_tokens) == (MODEL, 100, 60)
        assert (record.cached_tokens, record.reasoning_tokens, record.counted_by) == (40, 10, "provider")
