"""Many at once: threads here, and a second process, on the same limits."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from django.conf import settings
from django.db import connection

from digitalme.accounts.models import User
from quotas import ledger
from quotas.ledger import Amounts, Granted
from quotas.models import Allocation, Lease
from tests.gateway.conftest import database_url
from tests.quotas.conftest import hold, reserve, settle_all, sweep

THREADS = 16
OTHER_PROCESS = """
import django, sys
django.setup()
from digitalme.accounts.models import User
from tests.quotas.test_ledger_crowd import reserve_alone
user = User.objects.get(email=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(reserve_alone(user, int(sys.argv[2])), flush=True)
"""


def reserve_alone(user: User, calls: int) -> int:
    """Reserve the calls one by one over several threads; return how many were let through."""

    def one(_: int) -> bool:
        try:
            return isinstance(reserve([hold(user)])[0], Granted)
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as crowd:
        return sum(crowd.map(one, range(calls)))


@pytest.mark.django_db(transaction=True)
def test_two_processes_and_many_threads_let_exactly_fifty_of_two_hundred_through() -> None:
    user = User.objects.create_user("dana@example.com")
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": database_url()}
    command = [sys.executable, "-c", OTHER_PROCESS, user.email, "100"]
    with subprocess.Popen(
        command, env=environment, cwd=settings.BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("go\n")
        other.stdin.flush()
        here = reserve_alone(user, 100)
        there = int(other.stdout.readline())
    assert here + there == 50
    assert Lease.objects.count() == 50
    assert set(Allocation.objects.filter(binds="system").values_list("used_requests", flat=True)) == {50}
    assert Allocation.objects.filter(type="demo").count() == 1


@pytest.mark.django_db(transaction=True)
def test_admission_settlement_and_sweep_of_many_people_never_deadlock() -> None:
    people = [User.objects.create_user(f"person{number}@example.com") for number in range(6)]

    def work(seed: int) -> int:
        random, done = Random(seed), 0  # noqa: S311 (a shuffle, not a secret)
        try:
            for _ in range(12):
                holds = [hold(random.choice(people), provider=random.choice(("openai", "anthropic"))) for _ in range(5)]
                held = [one.request_id for one in reserve(holds) if isinstance(one, Granted)]
                random.shuffle(held)
                done += sum(one.found for one in settle_all([ledger.Settlement(id_, Amounts(1, 7, 9)) for id_ in held]))
                sweep()
            return done
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as crowd:
        done = sum(crowd.map(work, range(8)))
    assert not Lease.objects.exists()
    used = [row.used_requests for row in Allocation.objects.filter(type="daily")]
    assert sum(used) == done
    tokens = [row.used_tokens for row in Allocation.objects.filter(type="daily")]
    assert sum(tokens) == done * 7
