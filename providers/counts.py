"""What a call may take and what it took, in tokens, and how providers write that down."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any

MAX_COUNT = 1_000_000_000  # no call comes near; keeps nonsense out of the ledger


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call took.

    `input_tokens` is the total, cache reads and writes included. `counted_by` is "provider", or
    "estimated" if the provider said nothing. `variant` names what makes the price another one, as
    the provider reported it: "service_tier=flex", "speed=fast". `units` is how many things of a unit price
    were delivered; `cost` what the provider itself says that the call cost, in US dollars. Of the input tokens
    `audio_tokens` and `image_tokens` are those of sound and pictures, of the output `audio_made` and `image_made`.
    `characters` were spoken and `seconds` heard; `untold` is what took something that nobody can put in numbers.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    model: str = ""
    counted_by: str = "provider"
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    variant: str = ""
    units: int = 0
    cost: Decimal | None = None
    audio_tokens: int = 0
    image_tokens: int = 0
    audio_made: int = 0
    image_made: int = 0
    characters: int = 0
    seconds: Decimal = Decimal(0)
    untold: bool = False

    @property
    def total(self) -> int:
        """Input and output tokens together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call can take at most, known before it starts. `characters` to speak and `seconds` to hear are in
    the tokens too: which of them are billed depends on the model. `units` are pictures to make. `reference` is what the
    provider calls an earlier call that this one asks about."""

    requests: int
    input_tokens: int
    output_tokens: int
    model: str
    stream: bool
    characters: int = 0
    seconds: int = 0
    reference: str = ""
    units: int = 0


@dataclass(frozen=True, slots=True)
class Bill:
    """What an earlier call took, as a later answer tells; `reference` is what the provider calls that call. With a
    `version` it was priced piece by piece already: the usage's cost is the sum, None if some of it has no price."""

    reference: str
    usage: Usage
    version: str = ""


# What a price depends on beside the counts that a record has columns for; few calls have any of it.
_FURTHER = (
    "cache_write_1h_tokens",
    "web_searches",
    "variant",
    "units",
    "audio_tokens",
    "image_tokens",
    "audio_made",
    "image_made",
    "characters",
    "seconds",
    "untold",
)
_further = attrgetter(*_FURTHER)
_NOTHING_FURTHER = (0, 0, "", 0, 0, 0, 0, 0, 0, Decimal(0), False)


def measured(usage: Usage) -> str:
    """Return as text what a record has no column for, so that its price can be computed again; mostly empty."""
    found = _further(usage)
    if found == _NOTHING_FURTHER:
        return ""
    given = {name: value for name, value in zip(_FURTHER, found, strict=True) if value}
    return json.dumps(given, default=str, separators=(",", ":"))


def restored(text: str, **columns: Any) -> Usage:
    """Return the usage of a record: the counts of its columns, and what `measured` wrote."""
    given = json.loads(text) if text else {}
    if "seconds" in given:
        given["seconds"] = Decimal(given["seconds"])
    return Usage(**columns, **given)


class Told:
    """What most meters say of earlier and later calls: nothing. `reference` is what the provider calls this call, if
    its real figures come with a later answer."""

    reference = ""

    def bill(self, estimate: Estimate) -> Bill | None:
        """Return what an earlier call took, if this answer tells."""
        return None


def number(values: Any, key: str) -> int:
    """Return a count out of a provider's JSON; anything but a sensible whole number is 0."""
    value = values.get(key) if isinstance(values, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return 0
    return min(value, MAX_COUNT)


def of_openai(usage: Mapping[str, Any], model: str, tier: Any = None) -> Usage:
    """Read the `usage` object of chat completions, responses, embeddings, images or transcriptions."""
    spent = number(usage, "prompt_tokens") or number(usage, "input_tokens")
    made = number(usage, "completion_tokens") or number(usage, "output_tokens")
    details = (
        usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or usage.get("input_token_details")
    )
    made_of = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    cached = min(number(details, "cached_tokens"), spent)
    variant = f"service_tier={tier}" if isinstance(tier, str) and tier not in ("", "default", "auto") else ""
    return Usage(
        spent,
        made,
        cached,
        min(number(details, "cache_write_tokens"), spent - cached),
        min(number(made_of, "reasoning_tokens"), made),
        model,
        variant=variant,
        audio_tokens=min(number(details, "audio_tokens"), spent - cached),
        image_tokens=min(number(details, "image_tokens"), spent - cached),
        audio_made=min(number(made_of, "audio_tokens"), made),
        image_made=min(number(made_of, "image_tokens"), made),
    )


def of_anthropic(usage: Mapping[str, Any], model: str) -> Usage:
    """Read the `usage` object of a message, whose input_tokens leave the cached ones out."""
    cached, written = number(usage, "cache_read_input_tokens"), number(usage, "cache_creation_input_tokens")
    thought = number(usage.get("output_tokens_details"), "thinking_tokens")
    return Usage(
        number(usage, "input_tokens") + cached + written,
        number(usage, "output_tokens"),
        cached,
        written,
        min(thought, number(usage, "output_tokens")),
        model,
        cache_write_1h_tokens=min(number(usage.get("cache_creation"), "ephemeral_1h_input_tokens"), written),
        web_searches=number(usage.get("server_tool_use"), "web_search_requests"),
        variant="speed=fast" if usage.get("speed") == "fast" else "",
    )
