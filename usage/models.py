"""A record for every call, and the sums that pages read."""

from django.conf import settings
from django.db import models

from digitalme.database import MoneyField, uuid7
from usage import latency


class UsageRecord(models.Model):
    """What one call was, cost and came to. Ids are kept without foreign keys: history outlives what it
    speaks of."""

    class Status(models.TextChoices):
        OK = "ok", "Finished"
        FAILED = "failed", "Failed at the provider"
        ABORTED = "aborted", "Aborted by the client"
        CUT = "cut", "Cut by the provider"
        REFUSED = "refused", "Refused"
        SWEPT = "swept", "Swept"

    class Counted(models.TextChoices):
        PROVIDER = "provider", "By the provider"
        COUNTED = "counted", "Counted by us"
        ESTIMATED = "estimated", "Estimated"

    request_id = models.UUIDField(primary_key=True)
    user_id = models.UUIDField()
    team_id = models.UUIDField(null=True)
    token_id = models.UUIDField(null=True)
    credential_id = models.UUIDField(null=True)
    key_source = models.CharField(max_length=8, blank=True, default="")
    provider = models.CharField(max_length=64)
    operation = models.CharField(max_length=64, blank=True, default="")
    model = models.CharField(max_length=128, blank=True, default="")
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    measured = models.TextField(blank=True, default="", help_text="What else the price depends on (providers.counts).")
    cost = MoneyField(null=True, help_text="US dollars; empty if the model has no known price.")
    price_version = models.CharField(max_length=40, blank=True, default="")
    counted_by = models.CharField(max_length=10, choices=Counted, default=Counted.PROVIDER)
    status = models.CharField(max_length=8, choices=Status)
    error_type = models.CharField(max_length=64, blank=True, default="")
    http_status = models.PositiveSmallIntegerField(null=True)
    response_ms = models.PositiveIntegerField(null=True)
    first_byte_ms = models.PositiveIntegerField(null=True)
    tag = models.CharField(max_length=100, blank=True, default="")
    timestamp = models.DateTimeField()
    allocations = models.JSONField(default=list)
    charged_requests = models.BigIntegerField(default=0)
    charged_tokens = models.BigIntegerField(default=0)
    charged_cost = MoneyField(default=0)

    class Meta:
        ordering = ["-timestamp"]
        indexes = [
            models.Index(name="record_of_user", fields=["user_id", "-timestamp"]),
            models.Index(name="record_by_time", fields=["timestamp"]),
        ]

    def __str__(self) -> str:
        return str(self.request_id)


class Sums(models.Model):
    """The counters that every rollup has, and beside them those of usage.latency."""

    requests = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0)
    counted = models.BigIntegerField(default=0, help_text="Calls whose tokens we counted.")
    estimated = models.BigIntegerField(default=0, help_text="Calls whose tokens are an estimate.")
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost = MoneyField(default=0)
    response_ms = models.BigIntegerField(default=0, help_text="Sum over all requests.")

    class Meta:
        abstract = True


for _name in latency.COLUMNS:
    Sums.add_to_class(_name, models.IntegerField(default=0))


class Keyed(Sums):
    """Whose calls to what, by which key and token. Those of one key make one row."""

    user_id = models.UUIDField()
    team_id = models.UUIDField(null=True)
    token_id = models.UUIDField(null=True)
    provider = models.CharField(max_length=64)
    model = models.CharField(max_length=128, blank=True, default="")
    key_source = models.CharField(max_length=8, blank=True, default="")

    class Meta:
        abstract = True


class HourlyUsage(Keyed):
    """One hour, in UTC."""

    hour = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(name="hourly_of_user", fields=["user_id", "hour"]),
            models.Index(name="hourly_of_team", fields=["team_id", "hour"], condition=models.Q(team_id__isnull=False)),
            models.Index(name="hourly_by_hour", fields=["hour"]),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.hour:%Y-%m-%d %H}h {self.provider}"


class DailyUsage(Keyed):
    """One calendar day, in the user's time zone, summed from its hours."""

    day = models.DateField()

    class Meta:
        indexes = [
            models.Index(name="daily_of_user", fields=["user_id", "day"]),
            models.Index(name="daily_by_day", fields=["day"]),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.day} {self.provider}"


class HourlyTags(Sums):
    """One hour, in UTC, of one user's calls with one tag to one provider.

    Tags are the callers' own words, and may be new with each call. So they are kept apart from the other sums, and
    of each user and hour the most used ones only (usage.rollups.TAGS_AN_HOUR): the rest of the hour's calls is what
    the other sums tell beyond these.
    """

    user_id = models.UUIDField()
    team_id = models.UUIDField(null=True)
    provider = models.CharField(max_length=64)
    tag = models.CharField(max_length=100)
    hour = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(name="tags_of_user", fields=["user_id", "hour"]),
            models.Index(name="tags_of_team", fields=["team_id", "hour"], condition=models.Q(team_id__isnull=False)),
            models.Index(name="tags_by_hour", fields=["hour"]),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.hour:%Y-%m-%d %H}h {self.tag}"


class HouseUsage(Sums):
    """One day, in UTC, of everybody together: over all, and by each of the `dimension`s in usage.rollups.HOUSE."""

    day = models.DateField()
    dimension = models.CharField(max_length=10)
    value = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        verbose_name = verbose_name_plural = "usage of the house"
        constraints = [models.UniqueConstraint(name="house_unique", fields=["dimension", "day", "value"])]

    def __str__(self) -> str:
        return f"{self.day} {self.dimension} {self.value}"


class RollupMark(models.Model):
    """How far the rollups reach: every record before this time is in them, but for those of reopened hours."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    rolled_until = models.DateTimeField()
    kept_from = models.DateTimeField(null=True, help_text="Of the hours before it records are deleted (retention).")

    def __str__(self) -> str:
        return f"{self.rolled_until:%Y-%m-%d %H:%M:%S}"


class ReopenedHour(models.Model):
    """An hour whose records changed after it may have been summed up, so that it must be once more.

    A row for each change, for who adds one must not wait for a roll-up that takes others away.
    """

    hour = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h"


class OpenBill(models.Model):
    """A call whose real figures come with a later answer, in which the provider calls it by `reference`."""

    credential_id = models.UUIDField()
    reference = models.CharField(max_length=100)
    request_id = models.UUIDField()
    noted_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(name="open_bill_unique", fields=["credential_id", "reference"])]
        indexes = [models.Index(name="open_bill_by_time", fields=["noted_at"])]

    def __str__(self) -> str:
        return f"{self.reference} of {self.request_id}"


class Export(models.Model):
    """A file of records that a worker makes for somebody. `part` names the file, of which `size` bytes with `rows` rows
    are written for good; the last of them began at `after_time`. Whoever works on it holds it until `held_until`."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "In the making"
        READY = "ready", "Ready"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="exports")
    team = models.ForeignKey("accounts.Team", null=True, on_delete=models.CASCADE, related_name="exports")
    selection = models.JSONField(default=dict)
    format = models.CharField(max_length=5)
    state = models.CharField(max_length=7, choices=State, default=State.WAITING)
    total = models.BigIntegerField(default=0, help_text="Rows that there were when it was begun.")
    rows = models.BigIntegerField(default=0)
    size = models.BigIntegerField(default=0)
    part = models.UUIDField(null=True)
    after_time = models.DateTimeField(null=True)
    after_id = models.UUIDField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    held_until = models.DateTimeField(null=True)
    touched_at = models.DateTimeField()
    asked_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-asked_at"]
        indexes = [
            models.Index(name="export_of_user", fields=["user", "-asked_at"]),
            models.Index(name="export_by_end", fields=["expires_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.format} of {self.asked_at:%Y-%m-%d %H:%M}"

    @property
    def percent(self) -> int:
        """How much of it is written, at most 99 before it is ready."""
        if self.state == self.State.READY:
            return 100
        return min(99, self.rows * 100 // self.total) if self.total else 0
