from django.apps import AppConfig


class GatewayConfig(AppConfig):
    """The gateway package, installed for its commands or template tags; it owns no table."""

    name = "digitalme.gateway"
