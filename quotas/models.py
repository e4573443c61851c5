"""Limits, what they allow in a period, and the holds of running calls."""

from uuid import UUID

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from digitalme.database import MoneyField, uuid7

ALL_PROVIDERS = ""
EACH_PROVIDER = "*"
# Whose rows count for all who are served by the house's keys.
HOUSE = UUID(int=0)
WHOLE = 100


class LimitType(models.TextChoices):
    DEMO = "demo", "Demo"
    DAILY = "daily", "Daily"
    MONTHLY = "monthly", "Monthly"
    FAIR_USE = "fair_use", "Fair use"
    DAILY_BUDGET = "daily_budget", "Daily budget"
    MONTHLY_BUDGET = "monthly_budget", "Monthly budget"
    FALLBACK = "fallback", "Fallback"


class Binds(models.TextChoices):
    SYSTEM = "system", "Calls on the house's keys"
    OWN = "own", "Calls on own keys"
    ALL = "all", "Every call"
    FALLBACK = "fallback", "Calls on the house's keys in place of own ones"


def one_of(*references: str, **flags: bool) -> Q:
    """Return the condition that exactly one of these columns is filled in, or exactly one flag is raised."""
    empty = {f"{name}__isnull": True for name in references} | dict.fromkeys(flags, False)
    whole = Q()
    for name in references:
        whole |= Q(**{**empty, f"{name}__isnull": False})
    for name in flags:
        whole |= Q(**{**empty, name: True})
    return whole


class Tier(models.Model):
    """A named set of limits."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    is_default = models.BooleanField(default=False)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.UniqueConstraint(name="tier_one_default", fields=["is_default"], condition=Q(is_default=True))
        ]

    def __str__(self) -> str:
        return self.name


class Limit(models.Model):
    """What its one owner is allowed in each period. Empty amounts are unlimited.

    The owner is a tier, one user in the tier's place, a team (its pool on the house's keys or, `per_member`,
    what one member may draw from it), an access token, or the house for all calls on its own keys.
    """

    tier = models.ForeignKey(Tier, on_delete=models.CASCADE, null=True, blank=True, related_name="limits")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="limits"
    )
    team = models.ForeignKey("accounts.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="limits")
    token = models.ForeignKey(
        "accounts.AccessToken", on_delete=models.CASCADE, null=True, blank=True, related_name="limits"
    )
    house = models.BooleanField(default=False, help_text="Counts all calls on the house's key, whoever makes them.")
    per_member = models.BooleanField(default=False, help_text="Of a team: what each member may draw from its pool.")
    provider = models.CharField(
        max_length=64,
        blank=True,
        default=ALL_PROVIDERS,
        help_text="A provider's slug, * for each provider by itself, or empty for all together.",
    )
    type = models.CharField(max_length=16, choices=LimitType)
    binds = models.CharField(max_length=8, choices=Binds, default=Binds.SYSTEM)
    requests = models.PositiveBigIntegerField(null=True, blank=True)
    tokens = models.PositiveBigIntegerField(null=True, blank=True)
    cost = MoneyField(null=True, blank=True, help_text="US dollars.")
    soft = models.BooleanField(default=False, help_text="Warns, and refuses nothing.")
    pace_from = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(WHOLE)],
        help_text="Percent used from which calls are slowed, so that the rest lasts; 100: never. Empty: 80 for daily "
        "and monthly limits, never for others.",
    )
    rollover_percent = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(WHOLE)],
        help_text="How much of it, in percent, may carry over from one period to the next if it is not used. Empty: "
        "50 for monthly limits on the house's keys, else 0.",
    )
    buffer_percent = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(WHOLE)],
        help_text="How far beyond it, in percent, critical calls may go. Empty: 10 on the house's keys, else 0.",
    )
    buffer_uses = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="How many critical calls a period may go beyond it. Empty: 3."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="limit_has_exactly_one_owner",
                condition=one_of("tier", "user", "team", "token", house=True),
            ),
            models.CheckConstraint(
                name="limit_per_member_is_of_a_team", condition=Q(per_member=False) | Q(team__isnull=False)
            ),
            models.UniqueConstraint(
                name="limit_unique_for_tier", fields=["tier", "provider", "type"], condition=Q(tier__isnull=False)
            ),
            models.UniqueConstraint(
                name="limit_unique_for_user", fields=["user", "provider", "type"], condition=Q(user__isnull=False)
            ),
            models.UniqueConstraint(
                name="limit_unique_for_team",
                fields=["team", "per_member", "provider", "type"],
                condition=Q(team__isnull=False),
            ),
            models.UniqueConstraint(
                name="limit_unique_for_token", fields=["token", "provider", "type"], condition=Q(token__isnull=False)
            ),
            models.UniqueConstraint(
                name="limit_unique_for_house", fields=["provider", "type"], condition=Q(house=True)
            ),
        ]

    def __str__(self) -> str:
        whose = self.tier or self.user or self.team or self.token or "the house"
        return f"{self.get_type_display()} limit of {whose}"


class Allocation(models.Model):
    """One limit's account in one period. `used_*` holds settled and running calls alike; `allowed_*`
    contains what was carried over from the period before, `rollover_*`, and what others gave, `received_*`, and lacks
    what was given away, `given_*`.

    `owner_id` is what the ledger goes by: the id of the user, team or token, HOUSE, or for a member's draws
    from a team's pool an id made of both.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner_id = models.UUIDField(editable=False, default=HOUSE)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="allocations"
    )
    team = models.ForeignKey(
        "accounts.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="allocations"
    )
    token = models.ForeignKey(
        "accounts.AccessToken", on_delete=models.CASCADE, null=True, blank=True, related_name="allocations"
    )
    provider = models.CharField(max_length=64, blank=True, default=ALL_PROVIDERS)
    type = models.CharField(max_length=16, choices=LimitType)
    binds = models.CharField(max_length=8, choices=Binds, default=Binds.SYSTEM)
    allowed_requests = models.PositiveBigIntegerField(null=True, blank=True)
    allowed_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    allowed_cost = MoneyField(null=True, blank=True)
    used_requests = models.BigIntegerField(default=0)
    used_tokens = models.BigIntegerField(default=0)
    used_cost = MoneyField(default=0)
    rollover_requests = models.BigIntegerField(default=0)
    rollover_tokens = models.BigIntegerField(default=0)
    rollover_cost = MoneyField(default=0)
    received_requests = models.BigIntegerField(default=0)
    received_tokens = models.BigIntegerField(default=0)
    received_cost = MoneyField(default=0)
    given_requests = models.BigIntegerField(default=0)
    given_tokens = models.BigIntegerField(default=0)
    given_cost = MoneyField(default=0)
    soft = models.BooleanField(default=False)
    pace_from = models.PositiveSmallIntegerField(default=WHOLE)
    buffer_percent = models.PositiveSmallIntegerField(default=0)
    buffer_uses = models.PositiveSmallIntegerField(default=0)
    buffer_used = models.PositiveSmallIntegerField(default=0)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-period_start", "type", "provider"]
        constraints = [
            models.UniqueConstraint(
                name="allocation_unique_in_period", fields=["owner_id", "provider", "type", "period_start"]
            ),
            models.CheckConstraint(
                name="allocation_period_is_not_empty", condition=Q(period_end__gt=models.F("period_start"))
            ),
            models.CheckConstraint(
                name="allocation_owner_is_named",
                condition=Q(owner_id=HOUSE, user__isnull=True, team__isnull=True, token__isnull=True)
                | Q(owner_id=models.F("user_id"), team__isnull=True, token__isnull=True)
                | Q(owner_id=models.F("team_id"), user__isnull=True, token__isnull=True)
                | Q(owner_id=models.F("token_id"), user__isnull=True, team__isnull=True)
                | Q(user__isnull=False, team__isnull=False, token__isnull=True),
            ),
        ]
        indexes = [
            models.Index(name="allocation_of_owner", fields=["owner_id", "period_end"]),
            models.Index(name="allocation_by_end", fields=["period_end"]),
        ]

    def __str__(self) -> str:
        return f"{self.get_type_display()} of {self.owner_id} from {self.period_start:%Y-%m-%d}"


class Adjustment(models.Model):
    """The share of a tier's allowance that one person gets, in percent, and why."""

    class Payment(models.TextChoices):
        NONE = "none", "Does not pay"
        PAID = "paid", "Paid"
        OVERDUE = "overdue", "Overdue"

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="adjustment"
    )
    percent = models.PositiveSmallIntegerField(default=WHOLE, editable=False)
    reasons = models.JSONField(default=list, editable=False)
    computed_at = models.DateTimeField(null=True, editable=False)
    payment = models.CharField(max_length=8, choices=Payment, default=Payment.NONE)
    override_percent = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="A share set by hand, from 50 to 150; empty: the computed one."
    )
    override_why = models.CharField(max_length=300, blank=True, help_text="The person reads it.")

    def __str__(self) -> str:
        return f"{self.effective} % for {self.user_id}"

    @property
    def effective(self) -> int:
        """The share that holds, in percent."""
        return self.percent if self.override_percent is None else self.override_percent

    @property
    def words(self) -> list[str]:
        """Why the share is what it is, in sentences."""
        if self.override_percent is not None:
            return [f"An administrator set it: {self.override_why}"]
        return [f"{words} ({points:+d} %)" for points, words in self.reasons]


class EmergencyUse(models.Model):
    """A critical call that went beyond a limit; its id is the call's request id. `audited` follows the call."""

    id = models.UUIDField(primary_key=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="emergency_uses")
    allocation_id = models.UUIDField()
    type = models.CharField(max_length=16, choices=LimitType)
    provider = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField()
    audited = models.BooleanField(default=False)

    class Meta:
        ordering = ["-at"]
        indexes = [
            models.Index(name="emergency_to_audit", fields=["id"], condition=Q(audited=False)),
            models.Index(name="emergency_of_user", fields=["user", "at"]),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Lease(models.Model):
    """The hold of one running call; its id is the call's request id. The ids are kept without foreign
    keys, so that a hold outlives whatever is removed while the call runs."""

    id = models.UUIDField(primary_key=True, editable=False)
    user_id = models.UUIDField()
    token_id = models.UUIDField(null=True)
    team_id = models.UUIDField(null=True)
    credential_id = models.UUIDField(null=True)
    provider = models.CharField(max_length=64)
    operation = models.CharField(max_length=64)
    model = models.CharField(max_length=128, blank=True, default="")
    key_source = models.CharField(max_length=8)
    tag = models.CharField(max_length=100, blank=True, default="")
    allocations = models.JSONField(default=list)
    reserved_requests = models.BigIntegerField(default=0)
    reserved_tokens = models.BigIntegerField(default=0)
    reserved_cost = MoneyField(default=0)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(name="lease_by_expiry", fields=["expires_at"]),
            models.Index(name="lease_of_user", fields=["user_id"]),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Raise(models.Model):
    """More than a limit allows, for a while: what a person asked for, and what was granted on top of the limit.

    What is granted counts from `starts_at` until just before `ends_at`; no job has to end it.
    """

    class State(models.TextChoices):
        ASKED = "asked", "Asked for"
        GRANTED = "granted", "Granted"
        REFUSED = "refused", "Refused"
        WITHDRAWN = "withdrawn", "Withdrawn"
        ENDED = "ended", "Ended"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="raises")
    type = models.CharField(max_length=16, choices=LimitType)
    provider = models.CharField(
        max_length=64, blank=True, default=ALL_PROVIDERS, help_text="A provider's slug, or empty for all together."
    )
    state = models.CharField(max_length=9, choices=State, default=State.ASKED)
    asked_requests = models.PositiveBigIntegerField(null=True, blank=True)
    asked_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    asked_cost = MoneyField(null=True, blank=True, help_text="US dollars.")
    asked_until = models.DateField(null=True, blank=True, help_text="The last day, in the person's time zone.")
    why = models.CharField(max_length=500, blank=True)
    extra_requests = models.PositiveBigIntegerField(null=True, blank=True)
    extra_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    extra_cost = MoneyField(null=True, blank=True, help_text="US dollars.")
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    answer = models.CharField(max_length=500, blank=True, help_text="The person reads it.")
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    answered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="raise_granted_has_its_time",
                condition=~Q(state="granted") | Q(starts_at__isnull=False, ends_at__gt=models.F("starts_at")),
            ),
        ]
        indexes = [models.Index(name="raise_granted_of_user", fields=["user"], condition=Q(state="granted"))]

    def __str__(self) -> str:
        return f"{self.get_type_display()} raise of {self.user_id}"


class Gift(models.Model):
    """A part of an allowance that somebody gave to another person or to a team's pool, for the running period.

    The rows of both say it too, which is what counts; this one tells of it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    giver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="gifts_given")
    receiver = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="gifts_received"
    )
    team = models.ForeignKey("accounts.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="gifts")
    type = models.CharField(max_length=16, choices=LimitType)
    provider = models.CharField(max_length=64, blank=True, default=ALL_PROVIDERS)
    requests = models.PositiveBigIntegerField(null=True, blank=True)
    tokens = models.PositiveBigIntegerField(null=True, blank=True)
    cost = MoneyField(null=True, blank=True, help_text="US dollars.")
    ends_at = models.DateTimeField(help_text="When the receiver's period ends, and the gift with it.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(name="gift_has_exactly_one_receiver", condition=one_of("receiver", "team")),
        ]
        indexes = [
            models.Index(name="gift_by_giver", fields=["giver", "created_at"]),
            models.Index(name="gift_by_receiver", fields=["receiver", "created_at"]),
            models.Index(name="gift_by_team", fields=["team", "created_at"]),
        ]

    def __str__(self) -> str:
        return str(self.id)
