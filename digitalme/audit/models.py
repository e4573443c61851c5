"""The events and the two ends of their chain. People stand here as plain ids: an event outlives them."""

from django.db import models

from digitalme.database import uuid7

# What stands before the first event.
GENESIS = "0" * 64


class AuditEvent(models.Model):
    """One thing that happened. The database refuses to change or delete it (see triggers.py)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    sequence = models.PositiveBigIntegerField(unique=True, help_text="Counts from 1 without a gap.")
    at = models.DateTimeField(db_index=True)
    actor_kind = models.CharField(max_length=16)
    actor = models.CharField(max_length=64, blank=True, help_text="user:ID, or empty if it was no known person.")
    action = models.CharField(max_length=48)
    target = models.CharField(max_length=64, help_text="What it happened to: its kind and id.")
    subject = models.CharField(max_length=64, blank=True, help_text="Whom it concerns: user:ID, team:ID or system.")
    address = models.CharField(max_length=45, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    facts = models.JSONField(default=dict)
    previous = models.CharField(max_length=64, help_text="The hash of the event before.")
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["-sequence"]
        indexes = [
            models.Index(fields=["actor", "-sequence"], name="audit_event_of_actor"),
            models.Index(fields=["subject", "-sequence"], name="audit_event_of_subject"),
            models.Index(fields=["target", "-sequence"], name="audit_event_of_target"),
            models.Index(fields=["action", "-sequence"], name="audit_event_of_action"),
        ]

    def __str__(self) -> str:
        return f"{self.sequence} {self.action} {self.target}"


class AuditHead(models.Model):
    """Where the trail ends, and where it begins since older events were deleted; one row.

    `mac` proves both, so that events cut off at either end are missed. `purging_through` is set inside
    the transaction that deletes old events, and nowhere else: the database's triggers look at it.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    sequence = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default=GENESIS)
    anchor_sequence = models.PositiveBigIntegerField(default=0)
    anchor_hash = models.CharField(max_length=64, default=GENESIS)
    mac = models.CharField(max_length=64)
    purging_through = models.PositiveBigIntegerField(null=True, editable=False)
    verified_at = models.DateTimeField(null=True)
    broken_since = models.DateTimeField(null=True)
    problem = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        constraints = [models.CheckConstraint(name="audit_has_one_head", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"events {self.anchor_sequence + 1} to {self.sequence}"
