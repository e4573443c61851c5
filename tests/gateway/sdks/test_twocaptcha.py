"""2captcha-python. It speaks https alone."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from twocaptcha import TwoCaptcha
from twocaptcha.api import ApiException

from tests.fakes import FakeProvider, Reply, Seen
from tests.gateway.conftest import KEYS, Person, WebProcess
from tests.gateway.sdks.conftest import answering, settled

pytestmark = pytest.mark.django_db(transaction=True)

KEY = KEYS["twocaptcha"]
PLAIN = {"content-type": "text/plain"}


Solver = Callable[[Person], TwoCaptcha]


@pytest.fixture
def solver(secure_web: WebProcess, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Solver:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    server = secure_web.gateway("twocaptcha").removeprefix("https://")
    return lambda person: TwoCaptcha(person.token, server=server, pollingInterval=1)


def text(value: str) -> Reply:
    return Reply(200, value.encode(), PLAIN)


def results(seen: Seen) -> Reply:
    """A balance, and an answer that is there at the second look."""
    if "action=getbalance" in seen.path:
        return text("3.2")
    results.looks += 1  # type: ignore[attr-defined]
    return text("CAPCHA_NOT_READY" if results.looks % 2 else "OK|solved")  # type: ignore[attr-defined]


results.looks = 0  # type: ignore[attr-defined]


def test_it_asks_for_the_balance_with_the_key_in_the_query(solver: Solver, provider: FakeProvider, ann: Person) -> None:
    answering(provider, {"GET /res.php": results})
    assert solver(ann).balance() == 3.2
    assert parse_qs(urlsplit(provider.seen[0].path).query)["key"] == [KEY]
    assert ann.token not in repr(provider.seen)
    assert settled(ann, 1) == [("res", "ok", "0", "user")]


def test_it_solves_with_the_key_in_a_form(solver: Solver, provider: FakeProvider, ann: Person) -> None:
    answering(provider, {"POST /in.php": text("OK|71"), "GET /res.php": results})
    done = solver(ann).recaptcha(sitekey="6Le-wvkS", url="https://a.example/?b=c&d")
    assert done == {"captchaId": "71", "code": "solved"}
    form = parse_qs(provider.seen[0].body.decode())
    assert (form["key"], form["pageurl"]) == ([KEY], ["https://a.example/?b=c&d"])
    assert ann.token not in repr(provider.seen)
    # Looking whether it is solved is no call of its own.
    assert settled(ann, 3) == [("in", "ok", "0.001", "user"), ("res", "ok", "0", "user"), ("res", "ok", "0", "user")]
    assert sum(one.charged_requests for one in ann.records()) == 1


def test_it_solves_with_the_key_in_a_multipart_form(
    solver: Solver, provider: FakeProvider, ann: Person, tmp_path: Path
) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    (tmp_path / "c.png").write_bytes(picture)
    answering(provider, {"POST /in.php": text("OK|72"), "GET /res.php": results})
    assert solver(ann).normal(str(tmp_path / "c.png"))["code"] == "solved"
    body = provider.seen[0].body
    assert picture in body
    assert (body.count(b'name="key"'), KEY.encode() in body) == (1, True)
    assert ann.token not in repr(provider.seen)
    assert settled(ann, 3)[0] == ("in", "ok", "0.001", "user")


@pytest.mark.parametrize("code", ["ERROR_ZERO_BALANCE", "ERROR_KEY_DOES_NOT_EXIST"])
def test_it_raises_what_it_raises_otherwise(code: str, solver: Solver, provider: FakeProvider, ann: Person) -> None:
    answering(provider, {"POST /in.php": text(code)})
    with pytest.raises(ApiException, match=code):
        solver(ann).recaptcha(sitekey="6Le-wvkS", url="https://a.example/")
    assert settled(ann, 1) == [("in", "failed", "0", "user")]


def test_it_is_told_without_a_key_of_ones_own(solver: Solver, provider: FakeProvider, alice: Person) -> None:
    with pytest.raises(ApiException, match="Add your own"):
        solver(alice).recaptcha(sitekey="6Le-wvkS", url="https://a.example/")
    assert provider.seen == []
