"""How long it takes to open a stored key once the owner's key is derived: `python -m bench.vault`.

Prints microseconds, the median of many, as a bare number.
"""

import os
import statistics
import sys
import time
import uuid

import django

OPENS = 2000


def main() -> None:
    """Seal one key, open it once to derive, then time the rest."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "digitalme.settings")
    django.setup()
    import apikeys.vault as vault
    from providers.secrets import Secret

    salt, owner = os.urandom(32), uuid.uuid4()
    context = vault.Context(
        owner=f"user:{owner}",
        provider="openai",
        field="api_key",
        credential_id=uuid.uuid4(),
        version=1,
        destination=("https://api.openai.com",),
    )
    blob = vault.seal(Secret("sk-" + "b" * 48), context, salt)
    vault.open(blob, context, salt)
    took = []
    for _ in range(OPENS):
        start = time.perf_counter_ns()
        vault.open(blob, context, salt)
        took.append(time.perf_counter_ns() - start)
    sys.stdout.write(f"{statistics.median(took) / 1e3:.1f}\n")


if __name__ == "__main__":
    main()
