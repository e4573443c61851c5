"""Change the master key, step by step or as far as is safe."""

import sys
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser

from apikeys import keyring, masters, resealing, rotation, rotation_status
from apikeys.models import HouseKey
from apikeys.resealing import Progress
from digitalme.commands import ProductCommand

STEPS = ("status", "add", "promote", "reseal", "retire", "reinstate")
BAR = 30


class Command(ProductCommand):
    """Each step may be repeated, and a killed one goes on where it stopped."""

    help = (
        "Change the master key while everything runs. Without a step: promote the master that the configuration puts"
        " first, once every process knows it, and seal everything anew. Steps: status (where things stand), add (print"
        " a new master), promote ID (let it seal; back by promoting the former), reseal, retire ID (let it open nothing"
        " any more), reinstate ID. docs/key-rotation.md tells the whole procedure."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("step", nargs="?", choices=STEPS)
        parser.add_argument(
            "key_id", nargs="?", metavar="ID", help="the master's id, for promote, retire, reinstate; add"
        )
        parser.add_argument("--status", action="store_true", help="the same as the step status")
        parser.add_argument("--force", action="store_true", help="promote or retire against good advice")
        parser.add_argument("--dry-run", action="store_true", help="open and seal, but write nothing")
        parser.add_argument("--batch", type=int, default=resealing.BATCH, metavar="N", help="rows per transaction")
        parser.add_argument("--throttle", type=int, default=0, metavar="N", help="at most N rows a second")
        parser.add_argument("--threads", type=int, default=resealing.THREADS, metavar="N", help="derive N keys at once")

    def handle(self, *args: Any, **options: Any) -> None:
        step, key_id = "status" if options["status"] else options["step"], options["key_id"]
        if step in ("promote", "retire", "reinstate") and not key_id:
            raise CommandError(f"Say which master: rotate_master_key {step} ID.")
        if step in (None, "status", "reseal") and key_id:
            raise CommandError(f"'{step or 'rotate_master_key'}' takes no ID.")
        if options["batch"] < 1 or options["throttle"] < 0 or options["threads"] < 1:
            raise CommandError("--batch and --threads must be at least 1, --throttle at least 0.")
        try:
            self._prepare(step)
            deed = getattr(self, f"_{step}") if step else self._everything
            deed(key_id, options)
        except keyring.UnusableKey as problem:
            raise CommandError(str(problem)) from None
        except KeyboardInterrupt:
            raise CommandError("Stopped. Nothing is lost; run it again to go on.") from None

    def _prepare(self, step: str | None) -> None:
        """Check the keys; but what mends a start that is refused must itself be able to start."""
        try:
            masters.verify()
        except keyring.UnusableKey as problem:
            if step not in ("status", "promote", "retire", "reinstate"):
                raise
            self.stderr.write(str(problem))

    def _everything(self, key_id: None, options: dict[str, Any]) -> None:
        new = rotation.wanted()
        if new and options["dry_run"] and new != masters.promoted_id():
            self.stdout.write(f"'{new}' would be promoted, then everything sealed anew with it.")
            return
        if new:
            self._promote(new, options)
        self._reseal(None, options)

    def _add(self, key_id: str | None, options: dict[str, Any]) -> None:
        taken = list(HouseKey.objects.values_list("key_id", flat=True))
        if key_id in taken:
            raise CommandError(f"The id '{key_id}' is or was a master key's. Choose another one.")
        call_command("generate_master_key", id=key_id, taken=taken, stdout=self.stdout)
        self.stderr.write(
            "Add this line to DIGITALME_MASTER_KEYS (or as a file to DIGITALME_MASTER_KEYS_DIR) of every process, and"
            " keep a copy apart. Start all of them anew, then: rotate_master_key promote ID. Nothing has stored it."
        )

    def _promote(self, key_id: str, options: dict[str, Any]) -> None:
        done = rotation.promote(key_id, force=options["force"])
        self.stdout.write(f"'{key_id}' seals {'from now on' if done else 'already'}.")

    def _retire(self, key_id: str, options: dict[str, Any]) -> None:
        done = rotation.retire(key_id, force=options["force"])
        self.stdout.write(
            f"'{key_id}' is retired. Take it out of the configuration, and keep a copy until the last backup that needs"
            " it is gone."
            if done
            else f"'{key_id}' is retired already."
        )

    def _reinstate(self, key_id: str, options: dict[str, Any]) -> None:
        done = rotation.reinstate(key_id)
        self.stdout.write(f"'{key_id}' opens again." if done else f"'{key_id}' is not retired.")

    def _reseal(self, key_id: None, options: dict[str, Any]) -> None:
        if not masters.promoted_id() and not options["dry_run"]:
            self._promote(keyring.ring().sealing_id, options)
        done = resealing.run(
            batch=options["batch"],
            throttle=options["throttle"],
            threads=options["threads"],
            dry_run=options["dry_run"],
            tell=self._tell,
        )
        would = "would be sealed anew" if options["dry_run"] else "sealed anew"
        self.stdout.write(f"{done.resealed} stored keys {would} with '{keyring.ring().sealing_id}'.")
        if done.unreadable:
            some = ", ".join(sorted(map(str, done.unreadable))[:5])
            raise CommandError(
                f"{len(done.unreadable)} stored keys cannot be opened and were left as they are: {some}. Their owners"
                " must enter them again."
            )

    def _tell(self, progress: Progress) -> None:
        """Show a bar on a terminal, and a line for each batch elsewhere."""
        done = progress.resealed + len(progress.unreadable)
        total = max(progress.total, done)
        if not total:
            return
        if sys.stdout.isatty():
            full = BAR * done // total
            end = "\n" if done >= total else ""
            self.stdout.write(f"\r[{'#' * full}{'.' * (BAR - full)}] {done} of {total}", ending=end)
            self.stdout.flush()
        elif done:
            self.stdout.write(f"{done} of {total}")

    def _status(self, key_id: None, options: dict[str, Any]) -> None:
        status = rotation_status.read()
        for title, facts in (("Master keys", status.masters), ("Fingerprint keys", status.fingerprint_keys)):
            self.stdout.write(f"{title}:")
            for one in facts:
                notes = "" if one.here else ", not here"
                self.stdout.write(f"  {one.key_id:<16} {one.state:<11} {one.stored:>8} stored keys{notes}")
        self.stdout.write("Live processes:")
        for process in status.processes:
            known = ", ".join(process.known.get(HouseKey.Kind.MASTER.value, {}))
            self.stdout.write(f"  {process}: knows {known}; seals with {process.sealing_id}")
        if not status.processes:
            self.stdout.write("  none")
        if status.progress:
            state = "finished" if status.progress.finished_at else "under way or interrupted"
            self.stdout.write(f"Re-seal: {status.progress.resealed} done, {status.pending} to go, {state}.")
        self.stdout.write(f"Next: {status.next_step}")
