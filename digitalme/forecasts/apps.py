"""Forecasts."""

from django.apps import AppConfig


class ForecastsConfig(AppConfig):
    """Forecasts."""

    name = "digitalme.forecasts"
    default_auto_field = "django.db.models.BigAutoField"
