"""Take the pictures of docs/images from a seeded, temporary database: python -m tests.screenshots."""

import os
import random
import sys
import tempfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
HOST = "keys.example.com"  # what the examples on the pictures say; nothing asks for it
WIDE, PHONE = 1280, 390
# name, whose, path, width, theme
PICTURES: tuple[tuple[str, str, str, int, Any], ...] = (
    ("start", "grace", "/", WIDE, "light"),
    ("settings-api-light", "ada", "/settings/api/", WIDE, "light"),
    ("settings-api-dark", "ada", "/settings/api/", WIDE, "dark"),
    ("settings-api-phone", "ada", "/settings/api/", PHONE, "light"),
    ("usage", "ada", "/settings/usage/", WIDE, "light"),
)
MODELS = {
    "openai": ("gpt-4o-mini", "user", 1.9),
    "anthropic": ("claude-haiku-4-5", "system", 0.9),
    "sandbox": ("sandbox-1", "system", 0.0),
}


def main() -> int:
    """Make the pictures; return 0, or 1 with a line of explanation where no Chromium is installed."""
    with tempfile.TemporaryDirectory(prefix="digitalme-pictures-") as folder:
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        os.environ["DATABASE_URL"] = f"sqlite:///{folder}/pictures.sqlite3"
        os.environ["ALLOWED_HOSTS"] = HOST
        os.environ["LOG_LEVEL"] = "ERROR"
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        from tests.servers import chromium

        program = chromium()
        if program is None:
            print("Chromium is not installed; no pictures were taken.", file=sys.stderr)
            return 1
        _take(program, _seed())
    return 0


def _seed() -> dict[str, str]:
    """Fill the database with a month in the life of one person and a newcomer; return their sessions."""
    from django.utils import timezone

    from apikeys import keys
    from apikeys.models import Credential
    from digitalme.accounts import tokens
    from digitalme.accounts.models import User
    from providers import registry
    from quotas import ledger
    from quotas.models import Allocation
    from tests.web.conftest import GOOD_KEYS, add_call, add_key
    from usage import rollups

    now = timezone.now()
    person = User.objects.create_user("ada@example.com", name="Ada Lovelace")
    add_key(person, "openai")
    Credential.objects.filter(user=person).update(
        status="valid",
        created_at=now - timedelta(days=43),
        last_used_at=now - timedelta(minutes=4),
        last_validated_at=now - timedelta(hours=5),
        display_name="Research",
        rotate_by=now.date() + timedelta(days=47),
        last_use={
            "operation": "chat",
            "model": "gpt-4o-mini",
            "token": str(tokens.issue(user=person, name="laptop")[0].id),
            "network": "203.0.113.0/24",
        },
    )
    house = registry.get("anthropic")
    keys.set_key(actor=None, owner=keys.SYSTEM, provider=house, fields={"api_key": GOOD_KEYS["anthropic"]})
    dice = random.Random(7)  # noqa: S311 (the same picture each time, not a secret)
    for day in range(30):
        for number, (slug, (model, source, price)) in enumerate(MODELS.items()):
            cost = Decimal(str(round(price * dice.uniform(0.2, 1.6), 4)))
            moment = now - timedelta(days=day, minutes=4 + 9 * number)
            tokens_used = {"input_tokens": dice.randrange(400, 9000), "output_tokens": dice.randrange(80, 900)}
            add_call(person, at=moment, provider=slug, model=model, key_source=source, cost=cost, **tokens_used)
    for minutes in range(8, 60, 11):
        add_call(person, at=now - timedelta(minutes=minutes), key_source="user", cost=Decimal("0.0182"))
    rollups.roll_up(now=now)
    ledger.ensure_periods([ledger.Caller(person.pk, slug, person.time_zone) for slug in MODELS], now=now)
    mine = Allocation.objects.filter(user=person)
    mine.filter(type="demo", provider="anthropic").update(used_requests=38)
    mine.filter(type="daily").update(used_requests=41)
    mine.filter(type="monthly").update(used_tokens=1_410_000, used_cost=Decimal("9.14"))
    newcomer = User.objects.create_user("grace@example.com", name="Grace Hopper")
    return {"ada": _session(person), "grace": _session(newcomer)}


def _session(person: Any) -> str:
    from django.test import Client

    client = Client()
    client.force_login(person)
    return client.cookies["sessionid"].value


def _take(program: str, sessions: dict[str, str]) -> None:
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.test.testcases import LiveServerThread
    from playwright.sync_api import sync_playwright

    from tests.web.conftest import CHROMIUM_ARGUMENTS

    server: Any = LiveServerThread("127.0.0.1", StaticFilesHandler, connections_override={})
    server.daemon = True
    server.start()
    server.is_ready.wait()
    if server.error:
        raise server.error
    url = f"http://{HOST}"
    there = f"--host-resolver-rules=MAP {HOST} 127.0.0.1:{server.port}"
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chrome = playwright.chromium.launch(executable_path=program, args=[*CHROMIUM_ARGUMENTS, there])
        for name, whose, path, width, theme in PICTURES:
            context = chrome.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)
            context.add_cookies([{"name": "sessionid", "value": sessions[whose], "url": url}])
            page = context.new_page()
            page.goto(url + path)
            page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
            context.close()
            print(f"docs/images/{name}.png")
        chrome.close()
    server.terminate()


if __name__ == "__main__":
    sys.exit(main())
