"""What the tests of imports and backups share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apikeys import keys, resolution
from apikeys.models import Credential, KeptKey
from digitalme.transfer.models import ImportTrace
from providers import registry
from quotas.models import Limit

HOUSE_KEY = "sk-proj-0123456789abcdefghijklmnopWXYZ"
OTHER_KEY = "sk-proj-zyxwvutsrqponmlkjihg9876543210"
ANTHROPIC_KEY = "sk-ant-api03-0123456789abcdefghijklmnop"
Write = Callable[[str], str]

OLD = f"""{{
  "DigitalMe": {{
    "ApiBaseUrl": "http://localhost:5003",
    "Authentication": {{ "Scheme": "hunter2" }},
    // Static API keys in appsettings
    "ApiKeys": {{
      "Anthropic": "{ANTHROPIC_KEY}",
      "OpenAI": "{HOUSE_KEY}", /* the one of the shop */
    }},
  }},
}}"""
NEW = f"""{{
  "DigitalMe": {{
    "ApiConfiguration": {{
      "SystemKeys": {{
        "Anthropic": {{ "Key": "{ANTHROPIC_KEY}", "DemoQuota": 100 }},
        "OpenAI": {{ "Key": "{HOUSE_KEY}", "DemoQuota": 50 }}
      }},
      "DefaultQuotas": {{ "DailyRequests": 900, "MonthlyTokens": 50000 }},
      "EncryptionSettings": {{ "KeyDerivationIterations": 100000, "EncryptionAlgorithm": "AES-256-GCM" }},
      "SecuritySettings": {{
        "MaxFailedValidations": 3, "ValidationCooldownMinutes": 15, "AuditLogRetentionDays": 90
      }},
      "QuotaSettings": {{ "DefaultDemoQuota": 40, "MaxUserQuota": 10000, "QuotaResetSchedule": "0 0 * * *" }}
    }}
  }}
}}"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a file of settings and return its path."""

    def to(text: str) -> str:
        path = tmp_path / "appsettings.json"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return to


def stored(slug: str = "openai") -> str:
    """The house's key as it opens."""
    credential = keys.system_keys().get(provider=slug)
    return resolution.unseal(resolution.resolved(credential))["api_key"].reveal()


def set_house_key(key: str) -> Credential:
    return keys.set_key(
        actor=None, owner=keys.SYSTEM, provider=registry.get("openai"), fields={"api_key": key}, display_name="Ours"
    )


def states(printed: str) -> dict[str, str]:
    """Each setting's state and why, out of the printed table."""
    rows = [re.split(r"\s{2,}", line) for line in printed.split("\n\n")[0].splitlines()[1:]]
    return {row[0].removeprefix("DigitalMe:").removeprefix("ApiConfiguration:"): row[2] for row in rows}


def trace_in(printed: str) -> str:
    return printed.split()[-1]


def everything() -> tuple[list[Any], ...]:
    """All that an import can change."""
    models = (Credential, KeptKey, ImportTrace, Limit)
    return tuple(list(model.objects.order_by("pk").values()) for model in models)


def limit(type_: str, provider: str) -> tuple[int | None, int | None] | None:
    return Limit.objects.filter(tier__is_default=True, type=type_, provider=provider).values_list(
        "requests", "tokens"
    ).first()  # fmt: skip
