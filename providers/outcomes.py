"""What a check of a credential can come to."""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Category(StrEnum):
    """What a check can come to. Only `invalid` and `expired` mean that the key is broken."""

    VALID = "valid"
    LIMITED = "limited"
    MALFORMED = "malformed"
    INVALID = "invalid"
    EXPIRED = "expired"
    QUOTA = "quota"
    RATE_LIMITED = "rate_limited"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a check: a sentence for people, facts for programs, milliseconds taken."""

    category: Category
    message: str
    detail: dict[str, Any] = field(default_factory=dict)
    latency_ms: int = 0


def plain(value: Any) -> str:
    """Return a fact in characters that mean nothing anywhere; empty if it has others."""
    text = str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[\w .,:@/+-]{1,200}", text) else ""
