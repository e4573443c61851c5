"""All routes. The gateway's own paths never reach Django: asgi.py dispatches them first."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from digitalme import ops

admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("", include("digitalme.web.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("digitalme.api.urls")),
    path("healthz", ops.healthz, name="healthz"),
    path("readyz", ops.readyz, name="readyz"),
]
