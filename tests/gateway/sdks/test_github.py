"""PyGithub and githubkit."""

import io
from collections.abc import Callable
from typing import Any

import github
import githubkit
import pytest
from github import Auth, Github
from githubkit.exception import RequestFailed

from tests.fakes import FakeProvider, Reply, Seen
from tests.gateway.conftest import KEYS, Person, WebProcess
from tests.gateway.sdks.conftest import answering, only_the_key, settled

pytestmark = pytest.mark.django_db(transaction=True)

API = "https://api.github.com"
UPLOADS = "https://uploads.github.com"
KEY = f"Bearer {KEYS['github']}"


def repository(number: int) -> dict[str, Any]:
    url = f"{API}/repos/ann/r{number}"
    return {"id": number, "name": f"r{number}", "full_name": f"ann/r{number}", "url": url, "issues_url": url}


def two_pages(seen: Seen) -> Reply:
    """Two repositories, one a page: the first page names the second as GitHub does."""
    if "page=2" in seen.path:
        return Reply(200, [repository(2)])
    return Reply(200, [repository(1)], {"link": f'<{API}/user/repos?page=2>; rel="next", <{API}/x>; rel="last"'})


def released(seen: Seen) -> Reply:
    return Reply(
        200, {"id": 5, "url": f"{API}{seen.path}", "upload_url": f"{UPLOADS}{seen.path}/assets{{?name,label}}"}
    )


ROUTES: dict[str, Reply | Callable[[Seen], Reply]] = {
    "GET /user": Reply(200, {"login": "ann", "id": 1, "url": f"{API}/users/ann"}),
    "GET /users/bob": Reply(200, {"login": "bob", "id": 2, "name": "Bob", "url": f"{API}/users/bob"}),
    "GET /user/repos": two_pages,
    "GET /repos/ann/r1": Reply(200, repository(1)),
    "POST /repos/ann/r1/issues": Reply(
        201,
        {
            "id": 9,
            "number": 3,
            "title": "t",
            "url": f"{API}/repos/ann/r1/issues/3",
            "user": {"login": "bob", "url": f"{API}/users/bob"},
        },
    ),
    "GET /repos/ann/r1/releases/5": released,
    "POST /uploads/repos/ann/r1/releases/5/assets": Reply(201, {"id": 7, "name": "a.bin", "size": 3}),
}
# Answers that PyGithub must not take for something to sleep on.
LIMITED = {"message": "API rate limit exceeded for user", "documentation_url": "", "status": "403"}


def pygithub(web: WebProcess, person: Person) -> Github:
    return Github(auth=Auth.Token(person.token), base_url=web.gateway("github"), retry=None)


def test_pygithub_reads_paginates_writes_and_uploads(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    answering(provider, ROUTES)
    sdk = pygithub(web, ann)
    assert sdk.get_user().login == "ann"
    assert [one.full_name for one in sdk.get_user().get_repos()] == ["ann/r1", "ann/r2"]
    repo = sdk.get_repo("ann/r1")
    issue = repo.create_issue("t", body="b")
    # What the answer leaves out is fetched from the address in its body.
    assert (issue.number, issue.user.name) == (3, "Bob")
    asset = repo.get_release(5).upload_asset_from_memory(io.BytesIO(b"\x00\xff\n"), 3, "a.bin")
    assert asset.id == 7
    sdk.close()
    only_the_key(provider, ann, "authorization", KEY)
    paths = [seen.path for seen in provider.seen]
    assert [path for path in paths if "page=2" in path] == ["/user/repos?page=2"]
    assert provider.seen[-1].body == b"\x00\xff\n"
    records = settled(ann, len(provider.seen))
    assert {record[1:] for record in records} == {("ok", "0", "user")}
    assert [record[0] for record in records][-1] == "uploads"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"message": "Bad credentials", "status": "401"}, github.BadCredentialsException),
        (403, LIMITED, github.RateLimitExceededException),
        (404, {"message": "Not Found", "status": "404"}, github.UnknownObjectException),
        (422, {"message": "Validation Failed", "status": "422"}, github.GithubException),
    ],
)
def test_pygithub_raises_what_it_raises_otherwise(
    status: int, body: Any, kind: type[Exception], web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    answering(provider, {"GET /repos/ann/no": Reply(status, body, {"x-ratelimit-remaining": "0"})})
    with pytest.raises(kind) as raised:
        pygithub(web, ann).get_repo("ann/no")
    assert raised.value.status == status  # type: ignore[attr-defined]
    assert raised.value.headers["x-ratelimit-remaining"] == "0"  # type: ignore[attr-defined]
    assert settled(ann, 1) == [("repos", "failed", "0", "user")]


def test_pygithub_is_told_without_a_key_of_ones_own(web: WebProcess, provider: FakeProvider, alice: Person) -> None:
    with pytest.raises(github.GithubException) as raised:
        pygithub(web, alice).get_repo("ann/r1")
    assert raised.value.status == 404
    assert "Add your own" in raised.value.data["message"]
    assert provider.seen == []


def test_githubkit_reads_paginates_and_fails(web: WebProcess, provider: FakeProvider, ann: Person) -> None:
    answering(provider, ROUTES)
    with githubkit.GitHub(ann.token, base_url=web.gateway("github", "/")) as sdk:
        assert sdk.request("GET", "/user").json()["login"] == "ann"
        first = sdk.request("GET", "/user/repos")
        following = web.gateway("github", "/user/repos?page=2")
        assert f'<{following}>; rel="next"' in first.headers["link"]
        assert sdk.request("GET", following).json()[0]["id"] == 2
        assert sdk.request("POST", "/repos/ann/r1/issues", json={"title": "t"}).json()["number"] == 3
        with pytest.raises(RequestFailed) as raised:
            sdk.request("GET", "/repos/ann/no")
        assert raised.value.response.status_code == 404
    only_the_key(provider, ann, "authorization", KEY)
    assert settled(ann, 5)[-1] == ("repos", "failed", "0", "user")


def label(name: str) -> dict[str, Any]:
    whole = {"id": 1, "node_id": "n", "name": name, "description": None, "color": "f00", "default": False}
    return {**whole, "url": f"{API}/repos/ann/r1/labels/{name}", "archived_at": None, "archived_by": None}


def labels(seen: Seen) -> Reply:
    """Two labels, one a page; the link is where the SDK goes for the second."""
    if "page=2" in seen.path:
        return Reply(200, [label("two")])
    return Reply(200, [label("one")], {"link": f'<{API}/repos/ann/r1/labels?per_page=1&page=2>; rel="next"'})


def test_githubkit_follows_its_typed_calls_from_page_to_page(
    web: WebProcess, provider: FakeProvider, ann: Person
) -> None:
    answering(
        provider,
        {
            "GET /repos/ann/r1/labels": labels,
            "POST /repos/ann/r1/labels": Reply(201, label("three")),
            "GET /repos/ann/r1/labels/no": Reply(404, {"message": "Not Found", "status": "404"}),
        },
    )
    with githubkit.GitHub(ann.token, base_url=web.gateway("github", "/")) as sdk:
        pages = sdk.rest.paginate(sdk.rest.issues.list_labels_for_repo, owner="ann", repo="r1", per_page=1)
        found = list(pages)
        assert [one.name for one in found] == ["one", "two"]
        assert found[0].url == web.gateway("github", "/repos/ann/r1/labels/one")
        made = sdk.rest.issues.create_label("ann", "r1", name="three", color="f00")
        assert (made.status_code, made.parsed_data.name) == (201, "three")
        with pytest.raises(RequestFailed) as raised:
            sdk.rest.issues.get_label("ann", "r1", "no")
        assert raised.value.response.status_code == 404
    only_the_key(provider, ann, "authorization", KEY)
    # The SDK leaves it out where it follows a link.
    assert [seen.headers.get("x-github-api-version") for seen in provider.seen][:2] == ["2026-03-10", None]
    assert [record[:2] for record in settled(ann, 4)] == [("repos", "ok")] * 3 + [("repos", "failed")]
