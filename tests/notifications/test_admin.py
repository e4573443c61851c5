"""Support reads what people were told and what is on its way; nobody changes it, and no secret is shown."""

import pytest
from django.test import Client
from django.utils import timezone

from apikeys import webhook_secrets
from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.notifications import notices
from digitalme.notifications.kinds import Kind
from digitalme.notifications.models import Delivery, Letter, Notification, Webhook
from digitalme.notifications.notices import Message


def test_support_reads_all_of_it_and_changes_nothing(alice: User, bob: User, bob_client: Client) -> None:
    now = timezone.now()
    _, secret = webhook_secrets.add(user=alice, url="https://example.com/canary-path", name="pager", now=now)
    message = Message(kind=Kind.SPEND, title="Unusual", text="x", facts={"canary": "canary-fact"}, context={})
    notices.tell([alice.pk], message, now=now)
    roles.assign(bob, roles.Role.SUPPORT)
    for model in (Notification, Letter, Webhook, Delivery):
        place = f"/admin/notifications/{model._meta.model_name}/"
        one = f"{place}{model._default_manager.get().pk}/change/"
        shown = bob_client.get(place).content.decode() + bob_client.get(one).content.decode()
        assert "alice@example.com" in shown or "pager" in shown
        assert "canary" not in shown
        assert secret not in shown
        assert bob_client.post(one, {"title": "x", "name": "x"}).status_code == 403
        assert bob_client.get(f"{place}add/").status_code == 403


@pytest.mark.parametrize("name", ["notification", "letter", "webhook", "delivery"])
def test_others_see_nothing_of_it(name: str, alice_client: Client) -> None:
    assert alice_client.get(f"/admin/notifications/{name}/").status_code == 302
