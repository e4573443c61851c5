"""/api/v1/webhooks/: where the caller's events are posted, and what came of that."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import webhook_secrets
from digitalme.api.notifications import Pages
from digitalme.api.resource import Resource
from digitalme.api.throttles import WebhookTests
from digitalme.notifications import deliveries, webhooks
from digitalme.notifications.models import Delivery, Webhook


class WebhookSerializer(serializers.ModelSerializer[Webhook]):
    """A webhook."""

    class Meta:
        model = Webhook
        fields = ("id", "name", "url", "is_active", "ended", "failing_since", "created_at")
        read_only_fields = fields


class SecretSerializer(serializers.Serializer[Any]):
    """What a webhook signs with."""

    secret = serializers.CharField(help_text="Shown this once.")


class NewWebhookSerializer(WebhookSerializer):
    """A webhook that was made this moment."""

    secret = serializers.CharField(help_text="What it signs with; shown this once.")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")  # type: ignore[assignment]


class WebhookInput(serializers.Serializer[Any]):
    """A new webhook."""

    name = serializers.CharField(max_length=webhooks.MAX_NAME)
    url = serializers.CharField(max_length=webhooks.MAX_URL, help_text="It cannot be changed later.")


class SwitchInput(serializers.Serializer[Any]):
    """Whether events are posted."""

    is_active = serializers.BooleanField()


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """One event, and what came of it."""

    class Meta:
        model = Delivery
        fields = (
            "id",
            "event",
            "state",
            "attempts",
            "next_try_at",
            "answer_status",
            "problem",
            "took_ms",
            "tried_at",
            "created_at",
            "body",
        )
        read_only_fields = fields


class Webhooks(Resource):
    """All of the caller's webhooks."""

    @extend_schema(operation_id="webhooks_list", responses=WebhookSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the caller's webhooks."""
        return Response(WebhookSerializer(webhooks.of(self.user.pk), many=True).data)

    @extend_schema(operation_id="webhooks_create", request=WebhookInput, responses={201: NewWebhookSerializer})
    @sensitive_variables("secret")
    def post(self, request: Request) -> Response:
        """Make a webhook. Its secret is in this answer and nowhere else."""
        given = WebhookInput(data=request.data)
        given.is_valid(raise_exception=True)
        made, secret = webhook_secrets.add(user=self.user, now=timezone.now(), **given.validated_data)
        return Response(WebhookSerializer(made).data | {"secret": secret}, status=status.HTTP_201_CREATED)


class OneWebhook(Resource):
    """One of the caller's webhooks."""

    @extend_schema(operation_id="webhooks_retrieve", responses=WebhookSerializer)
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """Tell about a webhook."""
        return Response(WebhookSerializer(webhooks.find(self.user.pk, webhook_id)).data)

    @extend_schema(operation_id="webhooks_switch", request=SwitchInput, responses=WebhookSerializer)
    def patch(self, request: Request, webhook_id: UUID) -> Response:
        """Switch a webhook on or off."""
        webhook = webhooks.find(self.user.pk, webhook_id)
        given = SwitchInput(data=request.data)
        given.is_valid(raise_exception=True)
        webhooks.switch(webhook, on=given.validated_data["is_active"])
        return Response(WebhookSerializer(webhook).data)

    @extend_schema(operation_id="webhooks_remove", responses={204: None})
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        """Remove a webhook with its log and its secret."""
        webhooks.remove(webhooks.find(self.user.pk, webhook_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class WebhookSecret(Resource):
    """What one of the caller's webhooks signs with."""

    @extend_schema(operation_id="webhooks_renew_secret", request=None, responses=SecretSerializer)
    @sensitive_variables("secret")
    def post(self, request: Request, webhook_id: UUID) -> Response:
        """Make another secret; the present one signs nothing more."""
        webhook = webhooks.find(self.user.pk, webhook_id)
        secret = webhook_secrets.renew(user=self.user, webhook=webhook)
        return Response({"secret": secret})


class WebhookTest(Resource):
    """A test of one of the caller's webhooks."""

    throttle_classes = (WebhookTests,)

    @extend_schema(operation_id="webhooks_test", request=None, responses=DeliverySerializer)
    def post(self, request: Request, webhook_id: UUID) -> Response:
        """Post a test event now, once, and tell what came of it."""
        return Response(DeliverySerializer(deliveries.test(webhooks.find(self.user.pk, webhook_id))).data)


class Deliveries(Resource):
    """What was posted to one of the caller's webhooks."""

    pagination_class = Pages

    @extend_schema(operation_id="webhooks_deliveries", responses=DeliverySerializer(many=True))
    def get(self, request: Request, webhook_id: UUID) -> Response:
        """List events of the last 30 days, newest first."""
        webhook = webhooks.find(self.user.pk, webhook_id)
        pages = self.pagination_class()
        page = pages.paginate_queryset(Delivery.objects.filter(webhook=webhook), request, self)
        return pages.get_paginated_response(DeliverySerializer(page, many=True).data)
