"""What a running period comes to, as it was last reckoned."""

from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import models

# A forecast says nothing any more when such a part of its period went by since: three hours of a day.
STALE_AFTER = 8


class Forecast(models.Model):
    """One amount of one period: of a limit, or of a calendar month as a whole (`type` is empty then).

    Amounts are requests, tokens or US dollars, as floats: a forecast is no bill. `owner_id` is the id of the user, team
    or access token; `user` or `team` is whose forecast it is, and goes with them.
    """

    class Dimension(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        COST = "cost", "Cost"

    class Basis(models.TextChoices):
        SEASON = "season", "Habits of weeks or days"
        PACE = "pace", "The pace of this period"

    owner_id = models.UUIDField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="forecasts")
    team = models.ForeignKey("accounts.Team", on_delete=models.CASCADE, null=True, related_name="forecasts")
    allocation_id = models.UUIDField(null=True, db_index=True)
    type = models.CharField(max_length=16, blank=True, default="")
    provider = models.CharField(max_length=64, blank=True, default="")
    dimension = models.CharField(max_length=8, choices=Dimension)
    limit = models.FloatField(null=True)
    used = models.FloatField()
    expected = models.FloatField()
    low = models.FloatField()
    high = models.FloatField()
    reaches_limit_at = models.DateTimeField(null=True)
    basis = models.CharField(max_length=6, choices=Basis)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    made_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["type", "provider", "dimension"]
        constraints = [
            models.UniqueConstraint(name="forecast_unique", fields=["owner_id", "type", "provider", "dimension"])
        ]

    def __str__(self) -> str:
        return f"{self.dimension} of {self.owner_id} until {self.period_end:%Y-%m-%d %H:%M}"

    @property
    def token(self) -> UUID | None:
        """The id of the access token whose cap it is of."""
        return None if self.owner_id in (self.user_id, self.team_id) else self.owner_id

    def holds(self, now: datetime) -> bool:
        """Whether it is of the running period and recent enough to be told."""
        age, whole = now - self.made_at, self.period_end - self.period_start
        return self.period_start <= now < self.period_end and age * STALE_AFTER < whole
