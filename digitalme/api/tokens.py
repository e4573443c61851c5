"""/api/v1/tokens/: the caller's access tokens; a token itself is in the answer that makes it, and nowhere else."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts import tokens
from digitalme.accounts.models import AccessToken
from digitalme.accounts.tokens import Identity
from digitalme.api.caps import check_uncapped
from digitalme.api.resource import Resource

MAX_LIFETIME_DAYS = 3650


class TokenSerializer(serializers.ModelSerializer[AccessToken]):
    """What is told about a token."""

    scopes = serializers.ListField(child=serializers.ChoiceField(choices=tokens.SCOPES))
    state = serializers.ChoiceField(choices=("active", "expired", "revoked"))

    class Meta:
        model = AccessToken
        fields = ("id", "name", "hint", "scopes", "state", "created_at", "expires_at", "last_used_at", "revoked_at")
        read_only_fields = fields


class NewTokenSerializer(TokenSerializer):
    """A token that was made this moment."""

    token = serializers.CharField(help_text="Shown this once.")

    class Meta(TokenSerializer.Meta):
        fields = (*TokenSerializer.Meta.fields, "token")  # type: ignore[assignment]


class TokenInput(serializers.Serializer[Any]):
    """What a new token is to be."""

    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=tokens.SCOPES), allow_empty=False, max_length=10, default=["gateway"]
    )
    lifetime_days = serializers.IntegerField(
        min_value=1,
        max_value=MAX_LIFETIME_DAYS,
        allow_null=True,
        default=tokens.DEFAULT_LIFETIME_DAYS,
        help_text="null: no end.",
    )


class Tokens(Resource):
    """All of the caller's tokens."""

    @extend_schema(operation_id="tokens_list", responses=TokenSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the caller's tokens, newest first, the ended ones too."""
        return Response(TokenSerializer(tokens.tokens_of(self.user), many=True).data)

    @extend_schema(operation_id="tokens_create", request=TokenInput, responses={201: NewTokenSerializer})
    def post(self, request: Request) -> Response:
        """Make a token. One that is made with a token may do no more, and live no longer, than that one."""
        given = TokenInput(data=request.data)
        given.is_valid(raise_exception=True)
        if isinstance(request.auth, Identity):
            _check_narrower(request.auth, given.validated_data)
            check_uncapped(request)
        made, secret = tokens.issue(user=self.user, actor=self.user, **given.validated_data)
        return Response(TokenSerializer(made).data | {"token": secret}, status=status.HTTP_201_CREATED)


class Token(Resource):
    """One of the caller's tokens."""

    @extend_schema(operation_id="tokens_retrieve", responses=TokenSerializer)
    def get(self, request: Request, token_id: UUID) -> Response:
        """Tell about a token."""
        return Response(TokenSerializer(self._token(token_id)).data)

    @extend_schema(operation_id="tokens_revoke", responses={204: None})
    def delete(self, request: Request, token_id: UUID) -> Response:
        """Revoke a token: it starts no further call. Its row stays, for the record."""
        tokens.revoke(self._token(token_id), actor=self.user)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _token(self, token_id: UUID) -> AccessToken:
        return get_object_or_404(tokens.tokens_of(self.user), pk=token_id)


def _check_narrower(maker: Identity, wanted: dict[str, Any]) -> None:
    """Refuse what would give the holder of a token more than the token gives."""
    if set(wanted["scopes"]) - maker.scopes:
        raise PermissionDenied("A token cannot make one that may do more than itself.")
    ends = AccessToken.objects.values_list("expires_at", flat=True).get(pk=maker.token_id)
    days = wanted["lifetime_days"]
    if ends and (days is None or timezone.now() + timedelta(days=days) > ends):
        raise PermissionDenied("A token cannot make one that outlives it; give a shorter lifetime_days.")
