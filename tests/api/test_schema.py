"""The schema, its page, and that both say what is so."""

import io
import json
import re
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client

from digitalme.api import urls

pytestmark = pytest.mark.django_db


def schema(client: Client) -> Any:
    return client.get("/api/v1/schema/?format=json").json()


def test_the_schema_comes_without_warnings() -> None:
    call_command("spectacular", "--fail-on-warn", "--validate", stdout=io.StringIO())


def test_the_schema_is_served(client: Client) -> None:
    assert schema(client)["info"]["title"] == "DigitalMe API"
    assert client.get("/api/v1/schema/")["Content-Type"].startswith("application/vnd.oai.openapi")


@pytest.mark.parametrize(
    "query", ["version=%0d%0aX: 1", "version=9", "lang=%00", "lang=../../x", "lang=de", "format=xml"]
)
def test_odd_parameters_of_the_schema_are_no_fault(client: Client, query: str) -> None:
    assert client.get(f"/api/v1/schema/?{query}").status_code in {200, 404}


def test_every_route_is_in_the_schema_but_the_last_and_its_own(client: Client) -> None:
    routes = {re.sub(r"<(\w+:)?(\w+)>", r"{\2}", str(one.pattern)) for one in urls.urlpatterns}
    described = {path.removeprefix("/api/v1/") for path in schema(client)["paths"]}
    assert routes - described == {"", "schema/", "docs/"}


def test_every_operation_describes_answers_and_refusals(client: Client) -> None:
    for methods in schema(client)["paths"].values():
        for operation in methods.values():
            assert set(operation["responses"]) >= {"default"}
            assert any(status.startswith("2") for status in operation["responses"])
            assert operation["security"] == [{"bearer": []}, {"apiKey": []}, {"cookieAuth": []}]


def test_a_key_is_described_as_something_to_write_only(client: Client) -> None:
    parts = schema(client)["components"]["schemas"]
    assert parts["KeyInputRequest"]["properties"]["key"]["writeOnly"] is True
    assert not {"sealed", "salt", "key", "fields"} & set(parts["Key"]["properties"])


def test_the_page_runs_no_script_and_style_of_its_own(client: Client) -> None:
    response = client.get("/api/v1/docs/")
    page = response.content.decode()
    assert response.status_code == 200
    assert "script-src 'self'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert not re.search(r"<style|style=|\son\w+=|<script>", page)
    assert "//" not in re.sub(r"<!DOCTYPE html>", "", page)


def test_the_pages_parts_are_all_here(client: Client) -> None:
    page = client.get("/api/v1/docs/").content.decode()
    parts = re.findall(r'(?:src|href)="/static/([^"]+)"', page)
    assert len(parts) >= 4
    assert all(finders.find(part) for part in parts)
    [script] = re.findall(r'src="(/api/[^"]+)"', page)
    served = client.get(script)
    assert served["Content-Type"].startswith("application/javascript")
    assert "/api/v1/schema/" in served.content.decode() or "../schema/" in served.content.decode()


def test_the_schema_names_no_other_host(client: Client) -> None:
    named = re.findall(r"https?://[^/\"' ]+", json.dumps(schema(client)))
    assert set(named) <= {"http://api.example.org"}
