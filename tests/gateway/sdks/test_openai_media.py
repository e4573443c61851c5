"""openai: pictures, sounds, files and whatever else there is, with a key of one's own."""

import io
from decimal import Decimal
from typing import Any

import openai
import pytest
import requests

from tests.fakes import FakeProvider, Manner, Reply, Seen
from tests.gateway.conftest import Person, WebProcess, command
from tests.gateway.sdks.conftest import answering, only_the_key, settled
from tests.gateway.test_sdks import OWN_KEY, openai_client

pytestmark = pytest.mark.django_db(transaction=True)

SOUND = bytes(range(256)) * 1000
IMAGE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
    "output_tokens": 1000,
    "total_tokens": 1050,
}
PICTURE = {"created": 1, "data": [{"b64_json": "QUJD"}], "usage": IMAGE_USAGE}
FILE = {"id": "file-1", "object": "file", "bytes": 9, "created_at": 1, "filename": "a.jsonl", "purpose": "batch"}
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/responses",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "created_at": 1,
    "status": "validating",
}
STORED = {"id": "resp_1", "object": "response", "usage": {"input_tokens": 9, "output_tokens": 9, "total_tokens": 18}}


def spoken(seen: Seen) -> Reply:
    return Reply(200, SOUND, {"content-type": "audio/mpeg"})


def heard(seen: Seen) -> Reply:
    assert SOUND in seen.body
    assert b'name="model"' in seen.body
    return Reply(200, {"text": "hi", "usage": {"type": "duration", "seconds": 30}})


ROUTES: Any = {
    "POST /v1/images/generations": Reply(200, PICTURE),
    "POST /v1/images/edits": Reply(200, PICTURE),
    "POST /v1/audio/speech": spoken,
    "POST /v1/audio/transcriptions": heard,
    "POST /v1/audio/translations": heard,
    "POST /v1/moderations": Reply(200, {"id": "modr-1", "model": "omni", "results": []}),
    "POST /v1/files": Reply(200, FILE),
    "GET /v1/files/file-1/content": Reply(200, b"one\ntwo\n", {"content-type": "application/octet-stream"}),
    "POST /v1/batches": Reply(200, BATCH),
    "GET /v1/responses/resp_1": Reply(200, STORED),
}


@pytest.fixture
def sdk(web: WebProcess, provider: FakeProvider, alice: Person) -> openai.OpenAI:
    command("set_key", "openai", "--user", alice.user.email, stdin=OWN_KEY)
    answering(provider, ROUTES)
    return openai_client(web, alice)


def test_pictures_sounds_files_and_batches(sdk: openai.OpenAI, provider: FakeProvider, alice: Person) -> None:
    assert sdk.images.generate(model="gpt-image-1", prompt="a cat").data
    assert sdk.images.edit(model="gpt-image-1", image=io.BytesIO(b"\x89PNG"), prompt="no hat").data
    with sdk.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hi" * 50) as speech:
        assert speech.read() == SOUND
    assert sdk.audio.transcriptions.create(model="whisper-1", file=("a.mp3", SOUND)).text == "hi"
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert sdk.audio.translations.create(model="whisper-1", file=("a.mp3", SOUND)).text == "hi"
    assert sdk.moderations.create(model="omni-moderation-latest", input="hi").id == "modr-1"
    assert sdk.files.create(file=("a.jsonl", b"{}"), purpose="batch").id == "file-1"
    assert sdk.files.content("file-1").read() == b"one\ntwo\n"
    made = sdk.batches.create(input_file_id="file-1", endpoint="/v1/responses", completion_window="24h")
    assert made.status == "validating"
    assert sdk.responses.retrieve("resp_1").id == "resp_1"
    only_the_key(provider, alice, "authorization", f"Bearer {OWN_KEY}")
    # Pictures by tokens, speech by characters, recordings by seconds; nothing is counted again.
    assert settled(alice, 10) == [
        ("images", "ok", "0.04025", "user"),
        ("image_edits", "ok", "0.04025", "user"),
        ("speech", "ok", "0.0015", "user"),
        ("transcriptions", "ok", "0.003", "user"),
        ("translations", "ok", "0.003", "user"),
        ("moderations", "ok", "0", "user"),
        ("files", "ok", "0", "user"),
        ("any files", "ok", "0", "user"),
        ("batches", "ok", "0", "user"),
        ("stored_response", "ok", "0", "user"),
    ]
    stored = alice.records()[-1]
    assert (stored.input_tokens, stored.charged_tokens, stored.charged_requests) == (0, 0, 1)


def test_any_other_path_and_method_passes_byte_for_byte(
    sdk: openai.OpenAI, web: WebProcess, provider: FakeProvider, alice: Person
) -> None:
    provider.manner = Manner(reply=lambda seen: Reply(200, {"ok": True}))
    url = web.gateway("openai", "/v1/vector_stores/a%2Fb%3Ac/search?q=x%20y&n=")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        assert requests.request(method, url, headers=alice.headers, timeout=20).json() == {"ok": True}
    assert {seen.path for seen in provider.seen} == {"/v1/vector_stores/a%2Fb%3Ac/search?q=x%20y&n="}
    assert settled(alice, 5) == [("any vector_stores", "ok", "0", "user")] * 5


@pytest.mark.parametrize("path", ["files", "batches", "images/generations", "responses/resp_1", "models/"])
def test_the_houses_key_serves_none_of_it(path: str, web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    url = web.gateway("openai", f"/v1/{path}")
    method = "GET" if path in ("responses/resp_1", "models/") else "POST"
    answer = requests.request(method, url, json={"model": "gpt-image-1"}, headers=alice.headers, timeout=20)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "KeyNotFound")
    assert "Add your own" in answer.json()["error"]["message"]
    assert provider.seen == []


def test_an_unpriced_picture_says_so(sdk: openai.OpenAI, provider: FakeProvider, alice: Person) -> None:
    answering(provider, {"POST /v1/images/generations": Reply(200, {**PICTURE, "usage": None})})
    sdk.images.generate(model="dall-e-3", prompt="a cat")
    record = alice.record("ok")
    assert (record.model, record.cost, record.charged_cost) == ("dall-e-3", None, Decimal(0))
