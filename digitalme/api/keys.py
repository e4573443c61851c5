"""/api/v1/keys/: the caller's own keys. A key goes in and never comes out."""

from typing import Any
from uuid import UUID

from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import checks, keys, oauth
from apikeys.models import Credential
from apikeys.terms import Terms
from digitalme.accounts.models import User
from digitalme.api import throttles
from digitalme.api.providers import provider_named
from digitalme.api.resource import Resource
from digitalme.errors import KeyNotFound
from providers.registry import Provider
from providers.validation import Category

SHOWN_OF_FINGERPRINT = 10


class LastUseSerializer(serializers.Serializer[Any]):
    """What a key served last."""

    operation = serializers.CharField()
    model = serializers.CharField(allow_blank=True)
    token = serializers.CharField(allow_blank=True, help_text="The id of the access token.")
    network = serializers.CharField(allow_blank=True, help_text="Where the call came from, to /24 or /48.")


class KeySerializer(serializers.ModelSerializer[Credential]):
    """What is told about a key."""

    hint = serializers.CharField(help_text="The last four characters of a long key, else empty.")
    fingerprint = serializers.SerializerMethodField(help_text="The same for the same key: tells two keys apart.")
    label = serializers.CharField(  # type: ignore[assignment]
        help_text="Which of several keys; it follows the provider in the gateway's path. Mostly empty."
    )
    last_use = LastUseSerializer(allow_null=True)

    class Meta:
        model = Credential
        fields = (
            "id",
            "provider",
            "label",
            "display_name",
            "hint",
            "fingerprint",
            "version",
            "is_active",
            "status",
            "status_detail",
            "created_at",
            "updated_at",
            "last_used_at",
            "last_use",
            "last_validated_at",
            "expires_at",
            "rotate_by",
        )
        read_only_fields = fields

    def get_fingerprint(self, credential: Credential) -> str:
        """The beginning of the keyed fingerprint."""
        return credential.fingerprint[:SHOWN_OF_FINGERPRINT]


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class SecretFields(serializers.Field[dict[str, str], Any, Any, Any]):
    """An object of texts. Its messages name neither what was sent nor under which names."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        """Return the texts by field name."""
        if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
            raise serializers.ValidationError("Send an object that holds a text for each field.")
        return data


class KeyInput(serializers.Serializer[Any]):
    """A key to add, or to put in the place of the one there is: either all its fields, or its only one."""

    fields_ = SecretFields(required=False, write_only=True)
    key = serializers.CharField(required=False, write_only=True, trim_whitespace=False, help_text="The first field.")
    display_name = serializers.CharField(required=False, max_length=100, allow_blank=True)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    rotate_by = serializers.DateField(required=False, allow_null=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Name the member `fields`, which as an attribute is the serializer's own."""
        return {name.rstrip("_"): field for name, field in super().get_fields().items()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Take one of the two forms."""
        provider: Provider = self.context["provider"]
        if ("fields" in attrs) == ("key" in attrs):
            raise serializers.ValidationError("Send either fields or key.")
        first = [field.name for field in provider.manifest.fields[:1]]
        fields = attrs["fields"] if "fields" in attrs else dict.fromkeys(first, attrs["key"])
        attrs.pop("key", None)
        return {**attrs, "fields": fields}


class SetKeySerializer(KeySerializer):
    """A key that was set, and whether it was there before."""

    same_as = serializers.SerializerMethodField(
        help_text="The id of your key of this provider that is the same one, if you had it already; else null."
    )

    class Meta:
        model = Credential
        fields: Any = (*KeySerializer.Meta.fields, "same_as")
        read_only_fields = fields

    def get_same_as(self, credential: Credential) -> UUID | None:
        """The key of the same owner that is the same one."""
        return credential.same_as.id if credential.same_as else None


class TermsInput(serializers.Serializer[Any]):
    """What of a stored key may be changed without entering it again."""

    label = serializers.CharField(required=False, max_length=63, allow_blank=True)  # type: ignore[assignment]
    display_name = serializers.CharField(required=False, max_length=100, allow_blank=True)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    rotate_by = serializers.DateField(required=False, allow_null=True)
    is_active = serializers.BooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what is no term: an address or a secret changes with the whole key alone."""
        if set(self.initial_data) - set(self.fields):
            raise serializers.ValidationError("Only a key's terms can be changed alone. Send the whole key with PUT.")
        return attrs


class OutcomeSerializer(serializers.Serializer[Any]):
    """What the provider said to a key."""

    category = serializers.ChoiceField(choices=[category.value for category in Category])
    message = serializers.CharField(help_text="A sentence for people.")
    detail = serializers.DictField()
    latency_ms = serializers.IntegerField()
    checked_at = serializers.DateTimeField(help_text="When the provider was asked.")
    cached = serializers.BooleanField(help_text="Whether that was an earlier test, within the last minute.")


class HowToTest(serializers.Serializer[Any]):
    """How a key is tested."""

    force = serializers.BooleanField(
        required=False, default=False, help_text="Ask the provider anew, although there is a result of the last minute."
    )


def own_key(user: User, slug: str, label: str = "") -> Credential:
    """Return the user's own key. Raises KeyNotFound; anybody else's does not exist."""
    provider = provider_named(slug)
    credential = keys.credential_for(user, provider.slug, label)
    if credential is None:
        raise KeyNotFound(f"You have no {provider.name} key of your own.")
    return credential


class Keys(Resource):
    """All of the caller's keys."""

    @extend_schema(operation_id="keys_list", responses=KeySerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the caller's own keys."""
        return Response(KeySerializer(keys.keys_of(self.user), many=True).data)


class Key(Resource):
    """The caller's key for one provider."""

    @extend_schema(operation_id="keys_retrieve", responses=KeySerializer)
    def get(self, request: Request, provider: str, label: str = "") -> Response:
        """Tell about the key."""
        return Response(KeySerializer(own_key(self.user, provider, label)).data)

    @sensitive_variables("given")
    @extend_schema(
        operation_id="keys_set",
        request=KeyInput,
        responses={
            200: OpenApiResponse(SetKeySerializer, description="Replaced."),
            201: OpenApiResponse(SetKeySerializer, description="Added."),
        },
    )
    def put(self, request: Request, provider: str, label: str = "") -> Response:
        """Add the key, or replace it; the very next call uses it, and calls that run on the old one end."""
        where = provider_named(provider)
        given = KeyInput(data=request.data, context={"provider": where})
        given.is_valid(raise_exception=True)
        credential = keys.set_key(
            actor=self.user,
            owner=keys.Owner("user", self.user.pk),
            provider=where,
            label=label,
            **given.validated_data,
        )
        answered = status.HTTP_201_CREATED if credential.version == 1 else status.HTTP_200_OK
        return Response(SetKeySerializer(credential).data, status=answered)

    @extend_schema(operation_id="keys_change", request=TermsInput, responses=KeySerializer)
    def patch(self, request: Request, provider: str, label: str = "") -> Response:
        """Change what goes with the key: label, name, ends, whether it is switched on. The key itself stays."""
        credential = own_key(self.user, provider, label)
        given = TermsInput(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = dict(given.validated_data)
        active = wanted.pop("is_active", credential.is_active)
        if wanted:
            stored = {name: getattr(credential, name) for name in ("display_name", "expires_at", "rotate_by")}
            named = wanted.pop("label", None)
            agreed = Terms(**{**stored, **wanted})
            where = provider_named(provider)
            keys.change_terms(actor=self.user, credential=credential, provider=where, label=named, agreed=agreed)
        if active != credential.is_active:
            keys.set_active(actor=self.user, credential=credential, active=active)
        return Response(KeySerializer(credential).data)

    @extend_schema(operation_id="keys_remove", responses={204: None})
    def delete(self, request: Request, provider: str, label: str = "") -> Response:
        """Remove the key; calls that run on it end. One that came by consent is given back to the provider, as far
        as that can be reached."""
        oauth.remove(actor=self.user, credential=own_key(self.user, provider, label))
        return Response(status=status.HTTP_204_NO_CONTENT)


class KeyTest(Resource):
    """A test of the caller's key."""

    throttle_classes = (throttles.KeyTests,)

    @extend_schema(operation_id="keys_test", request=None, parameters=[HowToTest], responses=OutcomeSerializer)
    def post(self, request: Request, provider: str, label: str = "") -> Response:
        """Ask the provider whether it accepts the key; it costs nothing. A result of the last minute answers again.

        After three rejections by a provider within 15 minutes it is refused (429) until `Retry-After`.
        """
        credential = own_key(self.user, provider, label)
        given = HowToTest(data=request.query_params)
        given.is_valid(raise_exception=True)
        outcome = checks.test_credential(credential, actor=self.user, force=given.validated_data["force"])
        return Response(OutcomeSerializer(outcome).data)


@extend_schema_view(
    get=extend_schema(operation_id="labelled_keys_retrieve"),
    put=extend_schema(operation_id="labelled_keys_set"),
    patch=extend_schema(operation_id="labelled_keys_change"),
    delete=extend_schema(operation_id="labelled_keys_remove"),
)
class LabelledKey(Key):
    """One of the caller's keys for a provider of which they may keep several."""


@extend_schema_view(post=extend_schema(operation_id="labelled_keys_test"))
class LabelledKeyTest(KeyTest):
    """A test of one of several keys."""
