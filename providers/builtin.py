"""The definitions that come with the product, in the order in which they are shown."""

from pathlib import Path

CATALOG = Path(__file__).parent / "catalog"
BUILT_IN = (
    "anthropic",
    "openai",
    "mcp",
    "slack",
    "github",
    "clickup",
    "telegram",
    "google",
    "twocaptcha",
    "email",
    "sandbox",
)
