"""The form on which a person chooses what a provider is asked for; pages and the admin share it."""

from typing import Any, cast

from django import forms

from apikeys import oauth
from providers.registry import Provider


class ScopesForm(forms.Form):
    """What the provider is to be asked for, in plain words."""

    scopes = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple, label="This server may")

    def __init__(self, provider: Provider, data: Any = None) -> None:
        known = oauth.scopes_of(provider)
        super().__init__(data, initial={"scopes": [scope.name for scope in known if scope.chosen]})
        if known:
            cast(Any, self.fields["scopes"]).choices = [(scope.name, scope.about) for scope in known]
        else:
            del self.fields["scopes"]

    @property
    def chosen(self) -> list[str]:
        """The names of what was chosen."""
        return list(self.cleaned_data.get("scopes", []))


def told(provider: Provider, names: list[str]) -> list[tuple[str, str]]:
    """Return what scopes allow, in plain words, with their names; one that we do not know has its name alone."""
    known = {scope.name: scope.about for scope in oauth.scopes_of(provider)}
    return [(name, known.get(name, "")) for name in names]
