"""The application that owns the pages: its static files, template tags, and a page in the admin."""

from importlib import import_module

from django.apps import AppConfig


class WebConfig(AppConfig):
    """Pages and what they need."""

    name = "digitalme.web"

    def ready(self) -> None:
        """Put the page on the house's usage into the admin."""
        import_module("digitalme.web.house_usage")
