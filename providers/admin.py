"""Providers in the admin: install, change, switch and remove definitions without touching the code."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apikeys.models import Credential
from digitalme.accounts import security
from digitalme.accounts.permissions import Permission
from digitalme.audit import log as audit
from digitalme.audit.actions import Action
from providers import builtin, definitions, manifest, price_rows, registry
from providers.manifest import ManifestProblem
from providers.models import ModelPrice, ProviderDefinition

MAX_FILE = 4 * manifest.MAX_BYTES


class DefinitionForm(forms.ModelForm[ProviderDefinition]):
    """A definition, pasted or uploaded. What is wrong with it stands beside the text, which is kept."""

    upload = forms.FileField(
        required=False, label="or a file", help_text="A .toml file takes the place of the text above."
    )

    class Meta:
        model = ProviderDefinition
        fields = ("definition", "is_enabled")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if "definition" in self.fields:
            self.fields["definition"].required = False
            self.fields["definition"].strip = False  # type: ignore[attr-defined]
            self.fields["definition"].widget = forms.Textarea(
                attrs={"rows": 28, "spellcheck": "false", "autocapitalize": "none", "class": "vLargeTextField code"}
            )

    def clean(self) -> dict[str, Any]:
        """Check the text, or the file in its place."""
        given = super().clean() or self.cleaned_data
        if "definition" not in self.fields:
            return given
        if (upload := given.get("upload")) and (text := self._read(upload)) is not None:
            given["definition"] = text
            # The browser forgets the file; as text it is there to be mended.
            self.data = {**self.data, "definition": text}
        if not self.errors:
            self._check(given.get("definition", ""))
        return given

    def _read(self, upload: Any) -> str | None:
        if upload.size > MAX_FILE:
            self.add_error("upload", "This file is too large for a definition.")
            return None
        try:
            text: str = upload.read().decode("utf-8")
        except UnicodeDecodeError:
            self.add_error("upload", "This file is not text in UTF-8.")
            return None
        return text

    def _check(self, text: str) -> None:
        if not text.strip():
            self.add_error("definition", "Paste a definition, or choose a file.")
            return
        try:
            definitions.checked(text, slug=self.instance.slug)
        except ManifestProblem as problem:
            for sentence in str(problem).splitlines():
                self.add_error("definition", sentence)


@admin.register(ProviderDefinition)
class ProviderDefinitionAdmin(admin.ModelAdmin[ProviderDefinition]):
    """All providers, those that come with the product and those that were installed."""

    form = DefinitionForm
    list_display = ("slug", "called", "source", "is_enabled", "stored_keys", "updated_at")
    list_filter = ("is_enabled",)
    search_fields = ("slug",)
    ordering = ("slug",)
    actions = ("switch_on", "switch_off")
    delete_confirmation_template = "admin/providers/remove.html"

    @admin.display(description="name")
    def called(self, row: ProviderDefinition) -> str:
        """What people read; a definition that is not usable any more has no name."""
        text = row.definition or (builtin.CATALOG / f"{row.slug}.toml").read_text(encoding="utf-8")
        try:
            return manifest.read(text, row.slug).name
        except ManifestProblem:
            return "not usable: open it to see why"

    @admin.display(description="source")
    def source(self, row: ProviderDefinition) -> str:
        """Where the definition comes from."""
        return "built in" if row.is_built_in else "installed"

    @admin.display(description="stored keys")
    def stored_keys(self, row: ProviderDefinition) -> int:
        """How many keys people and teams keep for it."""
        return Credential.objects.filter(provider=row.slug).count()

    @admin.display(description="definition")
    def built_in_definition(self, row: ProviderDefinition) -> str:
        """The text of a built-in definition, to look at or to begin from."""
        return (builtin.CATALOG / f"{row.slug}.toml").read_text(encoding="utf-8")

    def get_fields(self, request: HttpRequest, obj: ProviderDefinition | None = None) -> Any:
        """A built-in definition can be looked at and switched off."""
        if obj is None:
            return ("definition", "upload")
        if obj.is_built_in:
            return ("slug", "is_enabled", "built_in_definition")
        return ("slug", "is_enabled", "definition", "upload")

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderDefinition | None = None) -> Any:
        """The slug stays what it is."""
        return () if obj is None else ("slug", "built_in_definition")

    def has_delete_permission(self, request: HttpRequest, obj: ProviderDefinition | None = None) -> bool:
        """What comes with the product can be switched off, not removed."""
        return super().has_delete_permission(request, obj) and (obj is None or not obj.is_built_in)

    def get_actions(self, request: HttpRequest) -> Any:
        """Leave out the deletion of many: each asks for its own confirmation."""
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Ask for the password again before a definition says where keys are sent."""
        if self.has_change_permission(request):
            security.require_confirmation(request)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        """Ask, and say what stays."""
        if self.has_delete_permission(request):
            security.require_confirmation(request)
        keys = Credential.objects.filter(provider=object_id).count()
        return super().delete_view(request, object_id, {**(extra_context or {}), "stored_keys": keys})

    def save_model(self, request: HttpRequest, obj: ProviderDefinition, form: Any, change: bool) -> None:
        """Do it through the functions that every face uses."""
        if not change:
            self._install(request, obj, form.cleaned_data["definition"])
            return
        row = ProviderDefinition.objects.get(pk=obj.pk)
        with transaction.atomic():
            if "definition" in form.changed_data or form.cleaned_data.get("upload"):
                self._change(request, row, form.cleaned_data["definition"])
            if row.is_enabled != form.cleaned_data["is_enabled"]:
                self._switch(row, on=form.cleaned_data["is_enabled"])

    def _install(self, request: HttpRequest, obj: ProviderDefinition, text: str) -> None:
        with transaction.atomic():
            made = definitions.install(text)
            audit.record(Action.PROVIDER_INSTALLED, target=f"provider:{made.slug}", provider=made.slug)
        obj.slug, obj.definition, obj._state.adding = made.slug, made.definition, False
        found = registry.get(made.slug)
        self.message_user(
            request, f"{found.name} can be called at /gateway/{made.slug}/ from now on.", messages.SUCCESS
        )

    def _change(self, request: HttpRequest, row: ProviderDefinition, text: str) -> None:
        before = manifest.read(row.definition, row.slug).origins
        definitions.change(row, text)
        audit.record(Action.PROVIDER_CHANGED, target=f"provider:{row.slug}", provider=row.slug)
        moved = set(manifest.read(text, row.slug).origins) != set(before)
        if moved and (keys := self.stored_keys(row)):
            self.message_user(
                request,
                f"The addresses changed, so {keys} stored key{'s' if keys != 1 else ''} must be entered again: "
                "a key goes only where it was entered for.",
                messages.WARNING,
            )

    @staticmethod
    def _switch(row: ProviderDefinition, *, on: bool) -> None:
        definitions.switch(row, on=on)
        action = Action.PROVIDER_ENABLED if on else Action.PROVIDER_DISABLED
        audit.record(action, target=f"provider:{row.slug}", provider=row.slug)

    def delete_model(self, request: HttpRequest, obj: ProviderDefinition) -> None:
        """Remove an installed definition."""
        slug = obj.slug
        with transaction.atomic():
            definitions.remove(obj)
            audit.record(Action.PROVIDER_REMOVED, target=f"provider:{slug}", provider=slug)
        obj.slug = slug

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Whether the actions are offered."""
        return request.user.has_perm(Permission.CHANGE_PROVIDERS)

    @admin.action(description="Switch the selected providers on", permissions=["switch"])
    def switch_on(self, request: HttpRequest, queryset: QuerySet[ProviderDefinition]) -> None:
        """Let them be called and shown again."""
        self._switch_all(request, queryset, on=True)

    @admin.action(description="Switch the selected providers off", permissions=["switch"])
    def switch_off(self, request: HttpRequest, queryset: QuerySet[ProviderDefinition]) -> None:
        """Let them start no further call, and show them no more."""
        self._switch_all(request, queryset, on=False)

    def _switch_all(self, request: HttpRequest, queryset: QuerySet[ProviderDefinition], *, on: bool) -> None:
        with transaction.atomic():
            chosen = list(queryset.exclude(is_enabled=on))
            for row in chosen:
                self._switch(row, on=on)
                self.log_change(request, row, f"Switched {'on' if on else 'off'}.")
        self.message_user(request, f"{len(chosen)} switched {'on' if on else 'off'}.")


class PriceForm(forms.ModelForm[ModelPrice]):
    """A price, for one of the providers there are."""

    provider = forms.ChoiceField()

    class Meta:
        model = ModelPrice
        fields = ("provider", "model", "valid_from", "input", "output", "cached", "cache_write", "search", "each")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        provider: Any = self.fields.get("provider")
        if provider is not None:
            provider.choices = [(one.slug, one.name) for one in registry.all_providers()]


@admin.register(ModelPrice)
class ModelPriceAdmin(admin.ModelAdmin[ModelPrice]):
    """Prices that the house has entered. None is ever changed: records name the one that they were priced by."""

    form = PriceForm
    list_display = ("provider", "model", "valid_from", "input", "output", "cached", "cache_write", "search", "each")
    list_filter = ("provider",)
    search_fields = ("model",)
    date_hierarchy = "valid_from"

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with today."""
        return {"valid_from": timezone.now().date(), **super().get_changeform_initial_data(request)}

    def has_change_permission(self, request: HttpRequest, obj: ModelPrice | None = None) -> bool:
        """Another price is another row."""
        return False

    def get_actions(self, request: HttpRequest) -> Any:
        """Leave out the deletion of many: each is written down by itself."""
        found = super().get_actions(request)
        found.pop("delete_selected", None)
        return found

    def save_model(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        """Enter it, and write that down."""
        with transaction.atomic():
            price_rows.add(obj)
            audit.record(Action.PRICE_SET, target=f"price:{obj.pk}", provider=obj.provider)

    def delete_model(self, request: HttpRequest, obj: ModelPrice) -> None:
        """Remove it, and write that down."""
        number = obj.pk
        with transaction.atomic():
            price_rows.remove(obj)
            audit.record(Action.PRICE_REMOVED, target=f"price:{number}", provider=obj.provider)
