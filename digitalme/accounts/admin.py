"""People, their roles and tiers, their tokens. Nobody gives what is not theirs to give."""

from collections.abc import Iterable
from typing import Any

import allauth.mfa.admin
import allauth.usersessions.admin  # noqa: F401
import django.contrib.auth.admin  # noqa: F401
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apikeys import grants, keys
from digitalme.accounts import roles, security, sign_ins, tokens
from digitalme.accounts.models import AccessToken, Invitation, Membership, Team, User
from digitalme.accounts.permissions import Permission
from digitalme.accounts.roles import Role
from digitalme.audit import log as trail
from digitalme.audit.actions import Action
from quotas import limits

# Groups follow the code alone; the stock pages of the others print second factors and session keys.
admin.site.unregister([Group, Authenticator, UserSession])


class _TakesAlong(admin.ModelAdmin[Any]):
    """Whoever may delete one of these deletes with it what is its own, such as keys and tokens, which nobody else may
    delete singly. The page that asks lists all of it."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Ask for no further permission than that for these."""
        listed, counts, needed, protected = super().get_deleted_objects(objs, request)
        return listed, counts, needed & {str(self.opts.verbose_name)}, protected


class UserForm(forms.ModelForm[User]):
    """An account. There is no password here: people set their own, by way of a mail."""

    role = forms.ChoiceField(choices=[(role.value, role.label) for role in Role], initial=Role.USER.value)

    class Meta:
        model = User
        fields = ("email", "name", "time_zone", "tier", "is_active")

    def clean_email(self) -> str:
        """Keep addresses in lower case, as sign-up does, so that one address is one person."""
        email = str(self.cleaned_data["email"]).lower()
        if User.objects.filter(email__iexact=email).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("There is an account of this address.")
        return email


@admin.register(User)
class UserAdmin(_TakesAlong):
    """Accounts with role and tier."""

    form = UserForm
    list_display = ("email", "name", "role_name", "tier", "is_active", "last_login", "date_joined")
    list_filter = (("groups", admin.RelatedOnlyFieldListFilter), "tier", "is_active")
    list_select_related = ("tier",)
    search_fields = ("email", "name")
    ordering = ("email",)
    fields = ("email", "name", "role", "tier", "time_zone", "is_active", "last_login", "date_joined")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="role")
    def role_name(self, user: User) -> str:
        """The role by its name on pages."""
        return roles.role_of(user).label

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Only accounts of a lower role are open to change, except to Super Admins."""
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or roles.may_manage(_actor(request), obj))

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody deletes an account that is not theirs to change, nor their own."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or (obj != request.user and roles.may_manage(_actor(request), obj)))

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Show the role as text to whoever cannot give it."""
        fields = super().get_fields(request, obj)
        return fields if self._may_give_role(request, obj) else ["role_name" if f == "role" else f for f in fields]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """The address is the way back into an account, so it is the owner's; and nobody locks themselves out."""
        fixed = ["last_login", "date_joined"]
        if obj is not None:
            fixed.append("email")
        if obj == request.user:
            fixed.append("is_active")
        return fixed if self._may_give_role(request, obj) else [*fixed, "role_name"]

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        """Offer the roles that this person may give, and only those."""
        if not self._may_give_role(request, obj):
            kwargs["fields"] = [name for name in self.get_fields(request, obj) if name in UserForm.Meta.fields]
            return super().get_form(request, obj, change=change, form=forms.ModelForm, **kwargs)
        form = super().get_form(request, obj, change=change, **kwargs)
        field: Any = form.base_fields["role"]
        field.choices = [(role.value, role.label) for role in roles.assignable_by(_actor(request))]
        field.initial = (roles.role_of(obj) if obj else Role.USER).value
        return form

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Ask for the password again before a role changes."""
        if request.method == "POST" and self._gives_role(request, object_id):
            security.require_confirmation(request)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save the account; a new one is entered by a reset mail, which also proves its address."""
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)
        if change and "tier" in form.changed_data:
            limits.hold_at_once([obj.pk], now=timezone.now())
        if change:
            _record_changes(request, obj, form.changed_data)
        if not change:
            EmailAddress.objects.create(user=obj, email=obj.email, primary=True, verified=False)
        role = form.cleaned_data.get("role")
        if role and role != roles.role_of(obj):
            roles.assign(obj, Role(role), actor=_actor(request))

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Delete an account with all that is its own."""
        _delete([obj], Action.USER_DELETED, request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Delete several accounts, or none."""
        _delete(queryset, Action.USER_DELETED, request)

    def _may_give_role(self, request: HttpRequest, obj: User | None) -> bool:
        if obj is None:
            return self.has_add_permission(request) and bool(roles.assignable_by(_actor(request)))
        return obj != request.user and self.has_change_permission(request, obj)

    def _gives_role(self, request: HttpRequest, object_id: str | None) -> bool:
        wanted = request.POST.get("role", "")
        user = self.get_object(request, object_id) if object_id else None
        if not self._may_give_role(request, user):
            return False
        return bool(wanted) and wanted != (roles.role_of(user) if user else Role.USER)


@admin.register(AccessToken)
class AccessTokenAdmin(admin.ModelAdmin[AccessToken]):
    """Access tokens: what is known of them, and their end."""

    list_display = ("name", "hint", "user", "state", "created_at", "expires_at", "last_used_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user",)
    search_fields = ("name", "user__email")
    fields = (
        "name",
        "hint",
        "user",
        "scopes",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    )
    readonly_fields = fields
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tokens are made by their owners."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessToken | None = None) -> bool:
        """Nothing about a token can be edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AccessToken | None = None) -> bool:
        """A token is revoked; its row stays, for the record."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether the action is offered."""
        return request.user.has_perm(Permission.REVOKE_TOKENS)

    @admin.action(description="Revoke the selected access tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        """Revoke those whose owners this person may manage, and own ones."""
        actor, done = _actor(request), 0
        chosen = list(queryset.filter(revoked_at=None).select_related("user"))
        for token in chosen:
            if token.user == actor or roles.may_manage(actor, token.user):
                tokens.revoke(token, actor=actor)
                self.log_change(request, token, "Revoked.")
                done += 1
        self.message_user(request, f"{done} of {len(chosen)} access tokens are revoked.")


class Members(admin.TabularInline[Membership, Team]):
    """Who belongs to a team."""

    model = Membership
    extra = 0
    raw_id_fields = ("user",)


class Invitations(admin.TabularInline[Invitation, Team]):
    """Who was asked into a team, to be read only: people are asked in by those who look after it."""

    model = Invitation
    extra = 0
    fields = readonly_fields = ("email", "role", "state", "invited_by", "created_at", "expires_at")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Invitations are sent from the team's own page."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing about one can be edited."""
        return False


@admin.register(Team)
class TeamAdmin(_TakesAlong):
    """Teams and their members."""

    list_display = ("name", "slug", "created_at")
    search_fields = ("name", "slug")
    inlines = (Members, Invitations)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the members, and write down the team as it is now."""
        super().save_related(request, form, formsets, change)
        team: Team = form.instance
        action = Action.TEAM_CHANGED if change else Action.TEAM_CREATED
        _record(action, team, request, members=team.members.count())

    def delete_model(self, request: HttpRequest, obj: Team) -> None:
        """Delete a team with its keys."""
        _delete([obj], Action.TEAM_DELETED, request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Team]) -> None:
        """Delete several teams, or none."""
        _delete(queryset, Action.TEAM_DELETED, request)


@admin.register(Authenticator)
class AuthenticatorAdmin(admin.ModelAdmin[Any]):
    """Second factors, without what they consist of; deleting one lets somebody in who lost theirs."""

    list_display = ("user", "type", "created_at", "last_used_at")
    list_filter = ("type",)
    search_fields = ("user__email",)
    fields = readonly_fields = ("user", "type", "created_at", "last_used_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Second factors are made by their owners."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nothing about one can be edited."""
        return False

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Let its owner in without it."""
        _remove_factors([obj], request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Let several owners in without theirs."""
        _remove_factors(queryset, request)


@transaction.atomic
def _remove_factors(factors: Iterable[Any], request: HttpRequest) -> None:
    for factor in list(factors):
        owner, kind = f"user:{factor.user_id}", sign_ins.factor_of(factor)
        factor.delete()
        trail.record(Action.SECOND_FACTOR_REMOVED, target=owner, subject=owner, actor=_actor(request).pk, method=kind)


@transaction.atomic
def _delete(these: Iterable[User] | Iterable[Team], action: Action, request: HttpRequest) -> None:
    for one in list(these):
        place = f"{one._meta.model_name}:{one.pk}"
        held = keys.keys_of(one) if isinstance(one, User) else keys.keys_of_team(one.pk)
        with grants.given_back(held, actor=_actor(request)):
            one.delete()
        trail.record(action, target=place, subject=place, actor=_actor(request).pk)


def _record(action: Action, one: User | Team, request: HttpRequest, **facts: Any) -> None:
    place = f"{one._meta.model_name}:{one.pk}"
    trail.record(action, target=place, subject=place, actor=_actor(request).pk, **facts)


def _record_changes(request: HttpRequest, user: User, changed: list[str]) -> None:
    """Write down what of an account was changed, by the names of the fields."""
    if "is_active" in changed:
        _record(Action.USER_ENABLED if user.is_active else Action.USER_DISABLED, user, request)
    if "tier" in changed:
        _record(Action.USER_TIER_CHANGED, user, request)
    if rest := sorted(set(changed) - {"is_active", "tier", "role"}):
        _record(Action.USER_CHANGED, user, request, fields=rest)


def _actor(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise TypeError("The admin is open to signed-in people only.")
    return request.user
