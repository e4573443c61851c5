"""Each process that seals or opens says every few seconds which keys of the house it holds, and learns which one seals.

A promotion needs the first (all must know a master before one uses it), retirement and promotion work by the second.
"""

import logging
import os
import platform
import threading
from datetime import timedelta
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet
from django.db.models.functions import Now

from apikeys import keyring, masters
from apikeys.models import KeyHolder

BEAT_SECONDS = 5.0
# A process that was silent for so long is gone, or so much frozen that it must not hold up the others.
LIVE_SECONDS = 20
FORGET_SECONDS = 3600

log = logging.getLogger(__name__)


def live() -> QuerySet[KeyHolder]:
    """Return the processes that hold keys now, by the database's clock."""
    return KeyHolder.objects.filter(seen_at__gte=Now() - timedelta(seconds=LIVE_SECONDS)).order_by(
        "role", "host", "pid"
    )


class Heartbeat:
    """One process's beat, in a thread of its own, from `start` to `stop`."""

    def __init__(self, role: str) -> None:
        self.holder = KeyHolder(role=role, host=platform.node()[:255], pid=os.getpid())
        self._ended = threading.Event()
        self._begun = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="key-heartbeat", daemon=True)

    def start(self) -> "Heartbeat":
        """Check the keys, write the first beat, and go on beating. Blocks until the first one is written.

        Raises UnusableKey if the keys are not those of this database.
        """
        self._thread.start()
        self._begun.wait()
        if self._problem:
            raise self._problem
        return self

    def stop(self) -> None:
        """Say that this process is gone."""
        self._ended.set()
        self._thread.join(timeout=BEAT_SECONDS)

    def _run(self) -> None:
        try:
            masters.verify()
            beat(self.holder)
        except BaseException as problem:
            self._problem = problem
            return
        finally:
            connections.close_all()
            self._begun.set()
        while not self._ended.wait(BEAT_SECONDS):
            self._again(self.holder.id)
        self._say_goodbye()

    def _again(self, holder: UUID) -> None:
        """Whatever goes wrong, the next beat may succeed; without the database nothing is opened anyway."""
        try:
            masters.refresh()
            beat(self.holder)
        except Exception as problem:
            log.warning("The heartbeat %s was not written: %s", holder, type(problem).__name__)
        finally:
            connections.close_all()

    def _say_goodbye(self) -> None:
        try:
            KeyHolder.objects.filter(id=self.holder.id).delete()
        except Exception as problem:
            log.info("The end of this process was not noted: %s", type(problem).__name__)
        finally:
            connections.close_all()


def beat(holder: KeyHolder) -> None:
    """Write which keys this process holds now, and remove processes that are long gone."""
    ring = keyring.ring()
    if ring.sealing_id not in ring:
        log.critical("The master key '%s' seals, but this process does not hold it: start it anew.", ring.sealing_id)
    facts = {"known": masters.known(ring), "sealing_id": ring.sealing_id, "seen_at": Now()}
    if not KeyHolder.objects.filter(id=holder.id).update(**facts):
        KeyHolder.objects.create(id=holder.id, role=holder.role, host=holder.host, pid=holder.pid, **facts)
        KeyHolder.objects.filter(seen_at__lt=Now() - timedelta(seconds=FORGET_SECONDS)).delete()
