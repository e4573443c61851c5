"""Addresses that people enter with a key: public and https, or named by the operator."""

import json
from typing import Any

import pytest

from digitalme.errors import SecurityViolation
from providers import definitions, manifest
from providers.addresses import OwnAddress, own_address
from providers.manifest import ManifestProblem
from tests import several
from tests.address_forms import ATTACKS


def test_there_are_enough_forms() -> None:
    assert len(set(ATTACKS)) >= 60


@pytest.mark.parametrize("url", ATTACKS)
def test_no_form_of_address_is_taken(url: str) -> None:
    with pytest.raises(SecurityViolation):
        own_address(url)


@pytest.mark.parametrize(
    ("url", "origin", "rest"),
    [
        ("https://mcp.example.com", "https://mcp.example.com", "/"),
        ("https://mcp.example.com:443/mcp", "https://mcp.example.com", "/mcp"),
        ("https://mcp.example.com/a%2Fb/mcp?project=7", "https://mcp.example.com", "/a%2Fb/mcp?project=7"),
        ("https://93.184.216.34/mcp", "https://93.184.216.34", "/mcp"),
        ("https://[2606:4700:4700::1111]/mcp", "https://[2606:4700:4700::1111]", "/mcp"),
    ],
)
def test_a_public_address_is_taken_apart(url: str, origin: str, rest: str) -> None:
    assert own_address(url) == OwnAddress(origin, rest, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://mcp.example.com/mcp?api_key=x",
        "https://mcp.example.com/mcp?a=1&Access%54oken=x",
        "https://mcp.example.com/mcp?sig=",
        "https://mcp.example.com/mcp#token",
    ],
)
def test_a_key_has_no_place_in_an_address(url: str) -> None:
    with pytest.raises(SecurityViolation):
        own_address(url)


@pytest.mark.parametrize("url", ["https://digital.example.com/gateway/mcp", "https://digital.example.com:443/"])
def test_this_server_is_no_server_of_anybodys(url: str, settings: Any) -> None:
    settings.SITE_URL = "https://digital.example.com"
    with pytest.raises(SecurityViolation):
        own_address(url)


@pytest.mark.parametrize(
    ("named", "url", "origin"),
    [
        ("127.0.0.1", "http://127.0.0.1:9/mcp", "http://127.0.0.1:9"),
        ("127.0.0.1:9", "http://127.0.0.1:9/mcp", "http://127.0.0.1:9"),
        ("tools.lan", "https://tools.lan/mcp", "https://tools.lan"),
        ("[::1]:9", "http://[::1]:9/mcp", "http://[::1]:9"),
    ],
)
def test_the_operator_names_private_hosts(named: str, url: str, origin: str, settings: Any) -> None:
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({named})
    assert own_address(url) == OwnAddress(origin, "/mcp", private=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8/mcp",
        "http://127.0.0.1/mcp",
        "http://127.0.0.2:9/mcp",
        "http://2130706433:9/mcp",
        "http://127.1:9/mcp",
        "http://x@127.0.0.1:9/mcp",
        "http://localhost:9/mcp",
        "ftp://127.0.0.1:9/mcp",
    ],
)
def test_what_the_operator_did_not_name_stays_closed(url: str, settings: Any) -> None:
    settings.DIGITALME_PRIVATE_HOSTS = frozenset({"127.0.0.1:9"})
    with pytest.raises(SecurityViolation):
        own_address(url)


@pytest.mark.django_db
@pytest.mark.parametrize("url", ATTACKS)
def test_no_form_of_address_is_a_providers(url: str) -> None:
    """Neither with the path that a definition must not have, nor without; a name must be public when it is called."""
    for place in {url, url.removesuffix("/")}:
        definition = several.NOTES.replace('"https://notes.example.com"', json.dumps(place))
        assert definition != several.NOTES
        with pytest.raises(ManifestProblem):
            definitions.checked(definition)


def test_an_address_that_is_a_providers_passes() -> None:
    assert manifest.read(several.NOTES, "notes").origins == ("https://notes.example.com",)
