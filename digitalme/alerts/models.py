"""How far people were told that limits are used: so that the clock looks only at what goes further."""

from django.db import models


class Reached(models.Model):
    """The highest share of an allocation, in percent, that was told of or passed over."""

    allocation_id = models.UUIDField(primary_key=True, editable=False)
    percent = models.PositiveSmallIntegerField()
    foreseen = models.BooleanField(default=False, help_text="It was told that it will not last its period.")
    period_end = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.percent} % of {self.allocation_id}"
