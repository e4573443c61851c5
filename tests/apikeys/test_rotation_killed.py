"""A rotation may be killed at any moment, run twice at once, and meet writers: no stored key is lost or unreadable."""

import os
import re
import subprocess
import sys

import pytest

from tests.apikeys.test_masters import ONE, ROOT, TWO
from tests.gateway.conftest import database_url

KILLS = 20


@pytest.mark.django_db(transaction=True)
def test_rotations_killed_at_random_moments_lose_nothing() -> None:
    given = {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_URL": database_url(),
        "DIGITALME_MASTER_KEYS": f"k1:{ONE},k2:{TWO}",
        "LOG_LEVEL": "WARNING",
    }
    seed = int.from_bytes(os.urandom(4), "big")
    done = subprocess.run(
        [sys.executable, "-m", "tests.apikeys.rotations", str(KILLS), str(seed)],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-4000:]}"
    said = re.fullmatch(r"(\d+) rotations were killed; all keys open\n", done.stdout)
    assert said, done.stdout
    assert int(said[1]) >= KILLS
