"""python-telegram-bot."""

import asyncio

import pytest
import telegram
from telegram import Bot
from telegram.error import Forbidden, InvalidToken, RetryAfter

from tests.fakes import FakeProvider, Reply
from tests.gateway.conftest import KEYS, Person, WebProcess
from tests.gateway.sdks.conftest import answering, settled

pytestmark = pytest.mark.django_db(transaction=True)

BOT = f"/bot{KEYS['telegram']}"
ME = {"ok": True, "result": {"id": 123456789, "is_bot": True, "first_name": "Ann", "username": "ann_bot"}}
CHAT = {"id": 7, "type": "private", "first_name": "Bob"}
MESSAGE = {"message_id": 1, "date": 1760000000, "chat": CHAT}


@pytest.fixture(autouse=True)
def _times_of_the_next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK warns of plain numbers, and warnings are errors here."""
    monkeypatch.setenv("PTB_TIMEDELTA", "true")


def bot(web: WebProcess, person: Person) -> Bot:
    files = web.gateway("telegram", "/file/bot")
    return Bot(person.token, base_url=web.gateway("telegram", "/bot"), base_file_url=files)


async def saying_hi(sdk: Bot) -> None:
    async with sdk:
        await sdk.send_message(7, "hi")


def test_it_reads_writes_uploads_and_downloads(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    data = bytes(range(256)) * 400
    document = {"file_id": "D1", "file_unique_id": "u", "file_name": "a b.bin", "file_size": len(data)}
    answering(
        provider,
        {
            f"POST {BOT}/getMe": Reply(200, ME),
            f"POST {BOT}/sendMessage": Reply(200, {"ok": True, "result": {**MESSAGE, "text": "hi"}}),
            f"POST {BOT}/sendDocument": Reply(200, {"ok": True, "result": {**MESSAGE, "document": document}}),
            f"POST {BOT}/getFile": Reply(200, {"ok": True, "result": {**document, "file_path": "documents/a b.bin"}}),
            f"GET /file{BOT}/documents/a%20b.bin": Reply(200, data, {"content-type": "application/octet-stream"}),
        },
    )

    async def work() -> None:
        async with bot(web, ann) as sdk:
            assert sdk.username == "ann_bot"
            assert (await sdk.send_message(7, "hi")).text == "hi"
            sent = await sdk.send_document(7, data, filename="a b.bin")
            assert sent.document is not None
            file = await sdk.get_file(sent.document.file_id)
            assert bytes(await file.download_as_bytearray()) == data

    asyncio.run(work())
    assert ann.token not in repr(provider.seen)
    assert all(KEYS["telegram"] in seen.path and "authorization" not in seen.headers for seen in provider.seen)
    assert data in next(seen.body for seen in provider.seen if seen.path.endswith("sendDocument"))
    assert set(settled(ann, len(provider.seen))) == {
        (name, "ok", "0", "user") for name in ("getMe", "sendMessage", "sendDocument", "getFile", "file")
    }


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (401, {"description": "Unauthorized"}, InvalidToken),
        (404, {"description": "Not Found"}, InvalidToken),
        (403, {"description": "Forbidden: bot was blocked by the user"}, Forbidden),
        (429, {"description": "Too Many Requests: retry after 34", "parameters": {"retry_after": 34}}, RetryAfter),
    ],
)
def test_it_raises_what_it_raises_otherwise(
    status: int,
    told: dict[str, object],
    kind: type[telegram.error.TelegramError],
    web: WebProcess,
    provider: FakeProvider,
    ann: Person,
) -> None:
    body = {"ok": False, "error_code": status, **told}
    answering(provider, {f"POST {BOT}/getMe": Reply(200, ME), f"POST {BOT}/sendMessage": Reply(status, body)})
    with pytest.raises(kind) as raised:
        asyncio.run(saying_hi(bot(web, ann)))
    if isinstance(raised.value, RetryAfter):
        assert "34" in str(raised.value)
    assert ("sendMessage", "failed", "0", "user") in settled(ann, len(provider.seen))


def test_it_is_told_without_a_key_of_ones_own(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    with pytest.raises(Forbidden, match="Add your own"):
        asyncio.run(saying_hi(bot(web, alice)))
    assert provider.seen == []
