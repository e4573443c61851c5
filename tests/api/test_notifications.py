"""/api/v1/notifications/"""

from typing import Any

from django.test import Client

from digitalme.accounts.models import User
from digitalme.notifications.models import Notification

PATH = "/api/v1/notifications/"


def told(user: User, number: int, **facts: Any) -> Notification:
    return Notification.objects.create(user=user, kind="key.failing", title=f"Told {number}", key=str(number), **facts)


def test_it_lists_what_the_caller_was_told_newest_first(alice: User, bob: User, alice_program: Client) -> None:
    told(alice, 1)
    told(alice, 2, level="bad")
    told(alice, 3, in_inbox=False)
    told(bob, 4)
    answer = alice_program.get(PATH).json()
    assert [one["title"] for one in answer["results"]] == ["Told 2", "Told 1"]
    assert answer["results"][0]["kind"] == "key.failing"
    assert answer["results"][0]["level"] == "bad"
    page = alice_program.get(f"{PATH}?page_size=1").json()
    assert [one["title"] for one in alice_program.get(page["next"]).json()["results"]] == ["Told 1"]
    assert alice_program.get(f"{PATH}?cursor=odd").status_code == 404


def test_one_and_all_are_marked_as_read(alice: User, alice_program: Client) -> None:
    first = told(alice, 1)
    told(alice, 2)
    once = alice_program.post(f"{PATH}{first.pk}/read/").json()
    assert once["read_at"]
    assert alice_program.post(f"{PATH}{first.pk}/read/").json()["read_at"] == once["read_at"]
    assert [one["title"] for one in alice_program.get(f"{PATH}?unread=true").json()["results"]] == ["Told 2"]
    assert alice_program.post(f"{PATH}read/").json() == {"marked": 1}
    assert alice_program.get(f"{PATH}?unread=true").json()["results"] == []
    assert alice_program.get(f"{PATH}{first.pk}/").json()["id"] == str(first.pk)


def test_the_choices_are_read_and_changed(alice: User, alice_program: Client) -> None:
    path = f"{PATH}preferences/"

    def changed(**body: Any) -> Any:
        return alice_program.patch(path, body, content_type="application/json")

    before = {one["kind"]: one for one in alice_program.get(path).json()}
    assert before["quota.threshold"]["mail"] is True
    assert "raise.asked" not in before  # staff's
    after = {one["kind"]: one for one in changed(kind="quota.threshold", mail=False).json()}
    assert after["quota.threshold"] == before["quota.threshold"] | {"mail": False}
    assert {**after, "quota.threshold": 0} == {**before, "quota.threshold": 0}
    assert changed(kind="webhook.failing", webhook=True).status_code == 400
    assert changed(kind="raise.asked", mail=True).status_code == 400
    assert changed(kind="quota.threshold", mail="perhaps").status_code == 400
