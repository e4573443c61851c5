"""Stored keys: their state, never a secret. The house's keys are set here; people's own only by themselves."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views.decorators.debug import sensitive_post_parameters

from apikeys import checks, consent_page, environment, grants, keys, oauth, resolution
from apikeys.models import Credential, HouseKey
from apikeys.rotation_page import HouseKeyAdmin
from digitalme.accounts import roles, security
from digitalme.accounts.models import User
from digitalme.accounts.permissions import Permission
from digitalme.errors import DigitalMeError, InvalidKeyFormat
from providers import registry
from providers.outcomes import Category

SHOWN_OF_FINGERPRINT = 10

admin.site.register(HouseKey, HouseKeyAdmin)


def _choices() -> list[tuple[str, str]]:
    """The providers of which the house may have a key of one text; one of several texts is set with `manage.py
    set_key`."""
    allowed = filter(resolution.house_serves, registry.all_providers())
    return [(one.slug, one.name) for one in allowed if len(one.manifest.fields) == 1]


class SystemKeyForm(forms.ModelForm[Credential]):
    """A key of the house, new or in the place of the one there is."""

    provider = forms.ChoiceField(choices=_choices)
    key = forms.CharField(
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
        help_text="It serves everybody's demo from the next call on, and is never shown again.",
    )

    class Meta:
        model = Credential
        fields = ("display_name",)

    def clean(self) -> dict[str, Any]:
        """Refuse, without repeating it, what cannot be a key of the provider."""
        given = super().clean() or self.cleaned_data
        if "provider" in given and "key" in given:
            try:
                keys.checked(registry.get(given["provider"]), self._fields(given))
            except InvalidKeyFormat as error:
                self.add_error("key", error.message)
        return given

    def set_key(self, actor: User) -> Credential:
        """Seal and keep the key."""
        given = self.cleaned_data
        provider = registry.get(given["provider"])
        return keys.set_key(
            actor=actor,
            owner=keys.SYSTEM,
            provider=provider,
            fields=self._fields(given),
            display_name=given["display_name"],
        )

    @staticmethod
    def _fields(given: dict[str, Any]) -> dict[str, str]:
        return {registry.get(given["provider"]).manifest.fields[0].name: given["key"]}


@admin.register(Credential)
class CredentialAdmin(admin.ModelAdmin[Credential]):
    """All stored keys by owner and state."""

    form = SystemKeyForm
    list_display = (
        "provider",
        "label",
        "belongs_to",
        "state",
        "is_active",
        "short_fingerprint",
        "version",
        "last_used_at",
        "expires_at",
        "rotate_by",
    )
    list_filter = ("provider", "status", "is_active", "is_system")
    list_select_related = ("user", "team")
    search_fields = ("user__email", "team__name", "fingerprint__startswith", "display_name")
    ordering = ("provider", "-is_system", "-updated_at")
    fields = (
        "provider",
        "label",
        "belongs_to",
        "display_name",
        "state",
        "status_detail",
        "is_active",
        "granted_by",
        "masked",
        "short_fingerprint",
        "version",
        "destination",
        "created_at",
        "updated_at",
        "last_used_at",
        "used_by",
        "checked_at",
        "last_validated_at",
        "expires_at",
        "rotate_by",
        "replacement",
    )
    readonly_fields = fields
    change_list_template = "admin/keys_with_environment.html"
    actions = ("test", "switch_off", "switch_on")

    def get_urls(self) -> list[Any]:
        """Add the way to a key of the house by consent."""
        wrap = self.admin_site.admin_view
        return [
            path("connect/", wrap(consent_page.choose), name="apikeys_credential_choose"),
            path("connect/<slug:slug>/", wrap(consent_page.ask), name="apikeys_credential_connect"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show also the house's keys that come from the environment: they are in no row."""
        more = {"environment_keys": environment.standings(), "may_connect": self.has_house_permission(request)}
        return super().changelist_view(request, {**(extra_context or {}), **more})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credential]:
        """Read everything but the sealed secret: no page of the admin has a use for it."""
        return super().get_queryset(request).defer("sealed")

    @admin.display(description="owner", ordering="user__email")
    def belongs_to(self, credential: Credential) -> str:
        """The person, the team, or the house."""
        if credential.is_system:
            return "The house"
        return str(credential.user or credential.team)

    @admin.display(description="state", ordering="status")
    def state(self, credential: Credential) -> str:
        """The outcome of the last test."""
        return credential.get_status_display()

    @admin.display(description="key")
    def masked(self, credential: Credential) -> str:
        """As many dots for every key, and the end of a long one."""
        return f"••••{credential.hint}"

    @admin.display(description="fingerprint")
    def short_fingerprint(self, credential: Credential) -> str:
        """The beginning of the keyed fingerprint."""
        return credential.fingerprint[:SHOWN_OF_FINGERPRINT]

    @admin.display(description="used by")
    def used_by(self, credential: Credential) -> str:
        """What of the last use is known: operation, model, token's id, network."""
        return ", ".join(value for value in (credential.last_use or {}).values() if value) or "-"

    @admin.display(description="replace")
    def replacement(self, credential: Credential) -> str:
        """The way to the form, for a key of the house."""
        if not credential.is_system:
            return "Only its owner replaces it."
        place = f"{reverse('admin:apikeys_credential_add')}?provider={credential.provider}"
        if credential.provider not in {one.slug for one in consent_page.connectable()}:
            return format_html('<a href="{}">Set another key</a>', place)
        connect = reverse("admin:apikeys_credential_connect", args=[credential.provider])
        return format_html('<a href="{}">Set another key</a> or <a href="{}">connect by consent</a>', place, connect)

    @admin.display(description="granted by consent")
    def granted_by(self, credential: Credential) -> str:
        """Where the grant behind it stands, if it came by consent."""
        granted = grants.consent_of(credential)
        if granted is None:
            return "-"
        renewed = f", renewed {naturaltime(granted.renewed_at)}" if granted.renewed_at else ""
        ended = f", ended {naturaltime(granted.ended_at)}" if granted.ended_at else ""
        return f"Granted {naturaltime(granted.granted_at)}{renewed}{ended}: {' '.join(granted.scopes) or 'no scopes'}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Adding means setting a key of the house."""
        return request.user.has_perm(Permission.MANAGE_SYSTEM_CREDENTIALS)

    def has_change_permission(self, request: HttpRequest, obj: Credential | None = None) -> bool:
        """Nothing is edited in place."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Credential | None = None) -> bool:
        """A key of the house can be removed; a person's own is theirs to remove."""
        return (obj is None or obj.is_system) and request.user.has_perm(Permission.MANAGE_SYSTEM_CREDENTIALS)

    def get_actions(self, request: HttpRequest) -> Any:
        """Leave out the deletion of many: it would not ask whose each is."""
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    def get_fields(self, request: HttpRequest, obj: Credential | None = None) -> Any:
        """Show a form for a new key of the house, facts for one there is."""
        return self.fields if obj else ("provider", "key", "display_name")

    def get_readonly_fields(self, request: HttpRequest, obj: Credential | None = None) -> Any:
        """All facts are read only."""
        return self.readonly_fields if obj else ()

    @method_decorator(sensitive_post_parameters())
    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Ask for the password again before a key of the house is set.

        A form that comes back too late is sent to the beginning: keeping it meanwhile would put the
        key into the session.
        """
        if object_id is None and self.has_add_permission(request):
            if request.method == "POST" and not security.confirmed_recently(request):
                messages.warning(request, "Please confirm your password, then enter the key again.")
                return HttpResponseRedirect(request.get_full_path())
            security.require_confirmation(request)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Credential:
        """Set the key through the same function as every other face, then test it."""
        credential: Credential = form.set_key(_actor(request))
        self._test(request, credential)
        return credential

    def save_model(self, request: HttpRequest, obj: Credential, form: Any, change: bool) -> None:
        """It is saved already."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Nothing hangs on a key."""

    def delete_model(self, request: HttpRequest, obj: Credential) -> None:
        """Remove a key of the house."""
        oauth.remove_on_commit(actor=_actor(request), credential=obj)

    def has_house_permission(self, request: HttpRequest) -> bool:
        """Whether keys of the house may be tested: people's own are tested by themselves."""
        return request.user.has_perm(Permission.MANAGE_SYSTEM_CREDENTIALS)

    @admin.action(description="Test the selected keys of the house", permissions=["house"])
    def test(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        """Ask the providers whether they accept them."""
        for credential in queryset.filter(is_system=True).select_related("salt"):
            self._test(request, credential)

    def _test(self, request: HttpRequest, credential: Credential) -> None:
        try:
            outcome = checks.test_credential(credential, actor=_actor(request), force=True)
        except DigitalMeError as problem:
            self.message_user(request, f"{credential}: not tested. {problem.message}", messages.WARNING)
            return
        level = messages.SUCCESS if outcome.category is Category.VALID else messages.WARNING
        self.message_user(request, f"{credential}: {outcome.message}", level)

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Whether the actions are offered."""
        return request.user.has_perm(Permission.SWITCH_CREDENTIALS)

    @admin.action(description="Switch the selected keys off", permissions=["switch"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        """Let them start no further call."""
        self._switch(request, queryset, active=False)

    @admin.action(description="Switch the selected keys on", permissions=["switch"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[Credential]) -> None:
        """Let them serve again."""
        self._switch(request, queryset, active=True)

    def _switch(self, request: HttpRequest, queryset: QuerySet[Credential], *, active: bool) -> None:
        chosen = list(queryset.select_related("user", "team").exclude(is_active=active))
        actor = _actor(request)
        allowed = [credential for credential in chosen if _may_switch(actor, credential)]
        for credential in allowed:
            keys.set_active(actor=actor, credential=credential, active=active)
            self.log_change(request, credential, f"Switched {'on' if active else 'off'}.")
        self.message_user(request, f"{len(allowed)} of {len(chosen)} keys are switched {'on' if active else 'off'}.")


def _may_switch(actor: User, credential: Credential) -> bool:
    """The house's keys are for those who manage them, a person's for those who manage the person."""
    if credential.is_system:
        return actor.has_perm(Permission.MANAGE_SYSTEM_CREDENTIALS)
    if credential.user is None:
        return roles.role_of(actor) is roles.Role.SUPER_ADMIN
    return roles.may_manage(actor, credential.user)


def _actor(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("The admin is open to signed-in people only.")
    return request.user
