"""/api/v1/notifications/preferences/: by which ways the caller wants to be told of what."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts.models import User
from digitalme.api.resource import Resource
from digitalme.errors import InvalidRequest
from digitalme.notifications import preferences
from digitalme.notifications.kinds import ABOUT, Channel, Kind, offered_to


class ChoiceSerializer(serializers.Serializer[Any]):
    """One kind of news, and by which ways the caller is told of it."""

    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    about = serializers.CharField(read_only=True)
    inbox = serializers.BooleanField()
    mail = serializers.BooleanField()
    webhook = serializers.BooleanField()


class ChoiceInput(serializers.Serializer[Any]):
    """What is to change about one kind; ways that are left out stay as they are."""

    kind = serializers.ChoiceField(choices=[kind.value for kind in Kind])
    inbox = serializers.BooleanField(required=False)
    mail = serializers.BooleanField(required=False)
    webhook = serializers.BooleanField(required=False)


class Choices(Resource):
    """The caller's choices."""

    @extend_schema(operation_id="notifications_choices", responses=ChoiceSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List all kinds of news that the caller can be told of."""
        return Response(_told(self.user))

    @extend_schema(operation_id="notifications_choose", request=ChoiceInput, responses=ChoiceSerializer(many=True))
    def patch(self, request: Request) -> Response:
        """Change by which ways the caller is told of one kind."""
        given = ChoiceInput(data=request.data)
        given.is_valid(raise_exception=True)
        changes = dict(given.validated_data)
        kind = Kind(changes.pop("kind"))
        if kind not in offered_to(staff=self.user.is_staff):
            raise InvalidRequest("You are not told of this kind.", field="kind")
        wanted = preferences.wanted_by(self.user.pk)
        for name, on in changes.items():
            if on and Channel(name) in ABOUT[kind].never:
                raise InvalidRequest(f"Of this kind nobody is told by {name}.", field=name)
            (wanted.add if on else wanted.discard)((kind, Channel(name)))
        preferences.choose(self.user.pk, wanted, among=[kind])
        return Response(_told(self.user))


def _told(user: User) -> list[dict[str, Any]]:
    wanted = preferences.wanted_by(user.pk)
    return [
        {"kind": kind.value, "about": ABOUT[kind].help}
        | {channel.value: (kind, channel) in wanted for channel in Channel}
        for kind in offered_to(staff=user.is_staff)
    ]
