"""/api/v1/providers/: what can be called, and whose key would serve the caller."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import grants, keys, oauth, resolution
from apikeys.models import Credential
from apikeys.resolution import KeySource
from digitalme.accounts import teams
from digitalme.accounts.models import User
from digitalme.api.resource import Resource
from digitalme.errors import NotFound
from digitalme.statements import ask
from providers import registry
from providers.registry import Provider


def provider_named(slug: str) -> Provider:
    """Return the provider. Raises NotFound without the name: it may be a key, pasted in the wrong place."""
    try:
        return registry.get(slug)
    except NotFound:
        raise NotFound("There is no provider of this name here; /api/v1/providers/ lists them.") from None


@dataclass(frozen=True, slots=True)
class Standing:
    """A provider as one person finds it."""

    provider: Provider
    key_source: KeySource | None
    own_key: Credential | None


class FieldSerializer(serializers.Serializer[Any]):
    """One thing that the provider's key consists of."""

    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    secret = serializers.BooleanField()
    required = serializers.BooleanField()  # type: ignore[assignment]
    example = serializers.CharField()
    help = serializers.CharField()


class ProviderSerializer(serializers.Serializer[Any]):
    """A provider, and how things stand for the caller."""

    slug = serializers.CharField(source="provider.slug")
    name = serializers.CharField(source="provider.name")
    needs_key = serializers.BooleanField(source="provider.needs_key")
    help_url = serializers.CharField(source="provider.manifest.help_url")
    key_fields = FieldSerializer(source="provider.manifest.fields", many=True)
    gateway_path = serializers.SerializerMethodField()
    usable = serializers.SerializerMethodField(help_text="Whether a call made now finds a key, or needs none.")
    key_source = serializers.ChoiceField(
        choices=[source.value for source in KeySource],
        allow_null=True,
        help_text="Whose key would serve a call made now; null if none would, or if none is needed.",
    )
    own_key_status = serializers.ChoiceField(
        source="own_key.status", choices=Credential.Status.choices, allow_null=True, default=None
    )

    def get_gateway_path(self, standing: Standing) -> str:
        """Where calls to it begin on this server."""
        return f"/gateway/{standing.provider.slug}"

    def get_usable(self, standing: Standing) -> bool:
        """Whether a call made now finds a key, or needs none."""
        return not standing.provider.needs_key or standing.key_source is not None


class Providers(Resource):
    """All providers of this server."""

    @extend_schema(operation_id="providers_list", responses=ProviderSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the providers with the caller's state at each."""
        return Response(ProviderSerializer(standings(self.user), many=True).data)


class ScopeSerializer(serializers.Serializer[Any]):
    """Something that a consent may be asked for."""

    name = serializers.CharField(help_text="As the provider calls it.")
    about = serializers.CharField(help_text="What it allows, in plain words.")
    chosen = serializers.BooleanField(help_text="Whether it is asked for unless the person leaves it out.")


class ConsentSerializer(serializers.Serializer[Any]):
    """How the caller, or a team of theirs, can connect a provider by consent (OAuth 2), and how that stands."""

    available = serializers.BooleanField(help_text="Whether this server is set up for it.")
    url = serializers.CharField(
        allow_null=True, help_text="The page to open in a browser in which the person is signed in."
    )
    scopes = ScopeSerializer(many=True)
    connected = serializers.BooleanField(help_text="Whether the caller's key came by consent, which has not ended.")
    granted = serializers.ListField(child=serializers.CharField(), help_text="The scopes that were granted.")
    granted_at = serializers.DateTimeField(allow_null=True)
    renewed_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True, help_text="When the provider said that it is over.")


class WhoseConsent(serializers.Serializer[Any]):
    """Whose key it is about."""

    team = serializers.SlugField(required=False, help_text="One of the caller's teams, whose keys they look after.")


class ProviderConsent(Resource):
    """The caller's consent at one provider."""

    @extend_schema(operation_id="providers_consent", parameters=[WhoseConsent], responses=ConsentSerializer)
    def get(self, request: Request, provider: str) -> Response:
        """Tell how to connect the provider by consent, and what was granted."""
        where = provider_named(provider)
        given = WhoseConsent(data=request.query_params)
        given.is_valid(raise_exception=True)
        owner, page = keys.Owner("user", self.user.pk), f"settings/api/{where.slug}"
        if slug := given.validated_data.get("team"):
            place = teams.managed_place_of(self.user, slug)
            owner, page = keys.Owner("team", place.team_id), f"settings/team/{place.team.slug}/keys/{where.slug}"
        credential = keys.stored(owner, where.slug)
        granted = grants.consent_of(credential) if credential else None
        ready = oauth.connectable(where, owner)
        told = {
            "available": ready,
            "url": f"{settings.SITE_URL}/{page}/connect/" if ready else None,
            "scopes": oauth.scopes_of(where),
            "connected": granted is not None and granted.ended_at is None,
            "granted": granted.scopes if granted else [],
            "granted_at": granted.granted_at if granted else None,
            "renewed_at": granted.renewed_at if granted else None,
            "ended_at": granted.ended_at if granted else None,
        }
        return Response(ConsentSerializer(told).data)


def standings(user: User) -> list[Standing]:
    """Return all providers as the user finds them, in two queries."""
    shown = registry.all_providers()
    resolved = ask(resolution.resolve([(user.id, provider.slug) for provider in shown]))
    sources = {slug: key.source for (_, slug), key in resolved.items()}
    own = {credential.provider: credential for credential in keys.keys_of(user).filter(label="")}
    return [Standing(one, sources.get(one.slug), own.get(one.slug)) for one in shown]
