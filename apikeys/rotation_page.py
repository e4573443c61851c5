"""The page of the admin that shows where a rotation of the house's keys stands. It changes nothing: that takes the
command, on a machine where the keys are."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from apikeys import rotation_status
from apikeys.models import HouseKey
from digitalme.accounts import roles
from digitalme.accounts.models import User
from digitalme.material import UnusableKey


class HouseKeyAdmin(admin.ModelAdmin[HouseKey]):
    """One page for Super Admins; nothing is listed, edited or deleted."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Who may see the page finds it in the list."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: HouseKey | None = None) -> bool:
        """Super Admins."""
        return isinstance(request.user, User) and roles.role_of(request.user) is roles.Role.SUPER_ADMIN

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Keys are made by command."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: HouseKey | None = None) -> bool:
        """And changed by command."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: HouseKey | None = None) -> bool:
        """What was seen once is never forgotten."""
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """No key has a page of its own."""
        return HttpResponseRedirect(reverse("admin:apikeys_housekey_changelist"))

    @method_decorator(require_safe)
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show ids, counts, processes and the next step; never a key or a check value."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "title": "Keys of the house", "opts": self.opts}
        try:
            context["status"] = rotation_status.read()
        except UnusableKey as problem:
            context["problem"] = str(problem)
        return render(request, "admin/keys_of_the_house.html", context)
