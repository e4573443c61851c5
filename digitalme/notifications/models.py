"""What people were told, what is on its way to them, and by which ways they want it."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from digitalme.database import uuid7
from digitalme.notifications.kinds import Channel


class Level(models.TextChoices):
    """How much it matters; pages colour by it."""

    INFO = "info", "Information"
    WARN = "warn", "Warning"
    BAD = "bad", "Urgent"


class Notification(models.Model):
    """One thing that one person is told. `key` is what may be told them once only, such as a threshold of one period;
    `link` is a path on this site. Who wants none of it in the inbox still has the row, so that it is told once."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications")
    kind = models.CharField(max_length=32, help_text="One of kinds.Kind.")
    level = models.CharField(max_length=4, choices=Level, default=Level.INFO)
    title = models.CharField(max_length=200)
    text = models.CharField(max_length=1000, blank=True)
    link = models.CharField(max_length=300, blank=True)
    key = models.CharField(max_length=200)
    in_inbox = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(name="notification_told_once", fields=["user", "key"])]
        indexes = [
            models.Index(name="notification_of_user", fields=["user", "-created_at"]),
            models.Index(name="notification_unread", fields=["user"], condition=Q(read_at__isnull=True, in_inbox=True)),
            models.Index(name="notification_by_age", fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return self.title


class Letter(models.Model):
    """A mail that is to be sent. The row goes when it is."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    notification = models.OneToOneField(Notification, on_delete=models.CASCADE, related_name="letter")
    subject = models.CharField(max_length=300)
    body = models.TextField()
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(name="letter_due", fields=["next_try_at"])]

    def __str__(self) -> str:
        return self.subject


class Preference(models.Model):
    """Whether somebody wants one kind by one way; where there is no row, what the kind says by itself holds."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notification_preferences"
    )
    kind = models.CharField(max_length=32)
    channel = models.CharField(max_length=8, choices=[(one.value, one.value) for one in Channel])
    wanted = models.BooleanField()

    class Meta:
        constraints = [models.UniqueConstraint(name="preference_unique", fields=["user", "kind", "channel"])]

    def __str__(self) -> str:
        return f"{self.kind} by {self.channel}: {self.wanted}"


class Webhook(models.Model):
    """An address of somebody's own to which events are posted. What signs them is sealed elsewhere."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="webhooks")
    name = models.CharField(max_length=100)
    url = models.CharField(max_length=500)
    is_active = models.BooleanField(default=True)
    failing_since = models.DateTimeField(null=True, blank=True, help_text="Since when it took nothing.")
    ended = models.CharField(max_length=200, blank=True, help_text="Why it was switched off, if nobody did it.")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["name", "id"]

    def __str__(self) -> str:
        return self.name


class Delivery(models.Model):
    """One event on its way to one webhook, and what came of it. `body` is sent as it stands here, each time."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=32)
    body = models.TextField()
    state = models.CharField(max_length=9, choices=State, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, blank=True)
    answer_status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="HTTP status of the last answer.")
    problem = models.CharField(max_length=200, blank=True)
    took_ms = models.PositiveIntegerField(null=True, blank=True)
    tried_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(name="delivery_due", fields=["next_try_at"], condition=Q(state="waiting")),
            models.Index(name="delivery_of_webhook", fields=["webhook", "-created_at"]),
            models.Index(name="delivery_by_age", fields=["created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.state}"
