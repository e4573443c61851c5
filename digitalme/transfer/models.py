"""What imports changed, so that each can be undone."""

from django.db import models

from digitalme.database import uuid7


class ImportTrace(models.Model):
    """One import: for each thing that it changed, what was there before and what it left. No secrets."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    source = models.CharField(max_length=255, help_text="The name of the file.")
    entries = models.JSONField(default=list)
    created_at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.source}, {self.created_at:%Y-%m-%d %H:%M}"
