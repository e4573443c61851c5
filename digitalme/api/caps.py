"""Budgets on own keys at /api/v1/quotas/budgets/, caps of access tokens at /api/v1/tokens/<id>/caps/."""

from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from digitalme.accounts import tokens
from digitalme.accounts.tokens import Identity
from digitalme.api.resource import Money, Resource
from quotas import caps, owners
from quotas.caps import Cap
from quotas.models import Limit, LimitType
from quotas.owners import Owner


class CapSerializer(serializers.ModelSerializer[Limit]):
    """A budget or cap. Amounts that are null are unlimited; a soft one warns and refuses nothing."""

    cost = Money(allow_null=True, default=None)

    class Meta:
        model = Limit
        fields = ("id", "type", "provider", "requests", "tokens", "cost", "soft")


class CapInput(serializers.Serializer[Any]):
    """What a budget or cap is to be; it takes the place of the one of this type and provider."""

    type = serializers.ChoiceField(
        choices=LimitType.choices, help_text="Of budgets a budget's type; of caps daily or monthly."
    )
    provider = serializers.CharField(
        max_length=64, allow_blank=True, default="", help_text="A slug, * for each by itself, empty for all together."
    )
    requests = serializers.IntegerField(min_value=0, allow_null=True, default=None)
    tokens = serializers.IntegerField(min_value=0, allow_null=True, default=None)
    cost = serializers.DecimalField(
        max_digits=17, decimal_places=9, min_value=0, allow_null=True, default=None, help_text="US dollars."
    )
    soft = serializers.BooleanField(default=False, help_text="Warn only.")


class _Caps(Resource):
    """What budgets and caps have in common."""

    def _list(self, owner: Owner) -> Response:
        return Response(CapSerializer(caps.of(owner), many=True).data)

    def _put(self, request: Request, owner: Owner) -> Response:
        given = CapInput(data=request.data)
        given.is_valid(raise_exception=True)
        values = dict(given.validated_data)
        type_, provider = values.pop("type"), values.pop("provider")
        made = caps.put(
            actor=self.user, owner=owner, type=type_, provider=provider, cap=Cap(**values), now=timezone.now()
        )
        return Response(CapSerializer(made).data, status=status.HTTP_201_CREATED)

    def _remove(self, owner: Owner, limit_id: int) -> Response:
        if not caps.remove(actor=self.user, owner=owner, limit_id=limit_id, now=timezone.now()):
            raise NotFound
        return Response(status=status.HTTP_204_NO_CONTENT)


class Budgets(_Caps):
    """The caller's budgets on own keys."""

    @extend_schema(operation_id="budgets_list", responses=CapSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the caller's budgets."""
        return self._list(owners.of_user(self.user.pk))

    @extend_schema(operation_id="budgets_set", request=CapInput, responses={201: CapSerializer})
    def post(self, request: Request) -> Response:
        """Set a budget for calls on own keys, in place of the one of this type and provider. It holds at once."""
        return self._put(request, owners.of_user(self.user.pk))


class Budget(_Caps):
    """One of the caller's budgets."""

    @extend_schema(operation_id="budgets_remove", responses={204: None})
    def delete(self, request: Request, limit_id: int) -> Response:
        """Remove a budget: it binds no further call."""
        return self._remove(owners.of_user(self.user.pk), limit_id)


class _TokenCaps(_Caps):
    def _owner(self, token_id: UUID) -> Owner:
        return owners.of_token(get_object_or_404(tokens.tokens_of(self.user), pk=token_id).pk)

    def _check(self, request: Request) -> None:
        check_uncapped(request)


class TokenCaps(_TokenCaps):
    """The caps of one of the caller's tokens."""

    @extend_schema(operation_id="token_caps_list", responses=CapSerializer(many=True))
    def get(self, request: Request, token_id: UUID) -> Response:
        """List what bounds the calls of a token."""
        return self._list(self._owner(token_id))

    @extend_schema(operation_id="token_caps_set", request=CapInput, responses={201: CapSerializer})
    def post(self, request: Request, token_id: UUID) -> Response:
        """Bound the calls of a token, on whatever key, in place of the cap of this type and provider."""
        owner = self._owner(token_id)
        self._check(request)
        return self._put(request, owner)


class TokenCap(_TokenCaps):
    """One cap of one of the caller's tokens."""

    @extend_schema(operation_id="token_caps_remove", responses={204: None})
    def delete(self, request: Request, token_id: UUID, limit_id: int) -> Response:
        """Remove a cap of a token."""
        owner = self._owner(token_id)
        self._check(request)
        return self._remove(owner, limit_id)


def check_uncapped(request: Request) -> None:
    """Refuse what would let a capped token's holder spend more than the cap. Raises PermissionDenied."""
    if isinstance(request.auth, Identity) and caps.of(owners.of_token(request.auth.token_id)).exists():
        raise PermissionDenied("A token with a cap changes no caps, makes no tokens and gives nothing away.")
