from django.apps import AppConfig


class WebConfig(AppConfig):
    """The web package, installed for its commands or template tags; it owns no table."""

    name = "digitalme.web"
