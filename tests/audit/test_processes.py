"""Several processes write one chain."""

import os
import subprocess
import sys

import pytest
from django.conf import settings

from digitalme.audit import verification
from digitalme.audit.models import AuditEvent
from tests.gateway.conftest import database_url

WRITE = """
import django
django.setup()
from django.db import transaction
from digitalme.audit import log
from digitalme.audit.actions import Action
for _ in range(25):
    with transaction.atomic():
        log.record(Action.IMPORT_APPLIED, target="import")
"""


@pytest.mark.django_db(transaction=True)
def test_t47_two_processes_that_write_at_once_keep_one_gapless_chain() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": database_url()}
    command = [sys.executable, "-c", WRITE]
    running = [
        subprocess.Popen(command, env=environment, cwd=settings.BASE_DIR, stderr=subprocess.PIPE) for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert list(AuditEvent.objects.order_by("sequence").values_list("sequence", flat=True)) == list(range(1, 51))
    assert verification.verify().intact
