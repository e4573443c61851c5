"""Stored keys, and what is known of the keys of the house. A row never holds a readable secret."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from digitalme.database import uuid7


class OwnerSalt(models.Model):
    """The 32 random bytes from which an owner's encryption key is derived."""

    owner = models.CharField(max_length=64, primary_key=True)
    salt = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.owner


class Credential(models.Model):
    """What a provider wants to see before it serves: one or several sealed fields and their facts."""

    class Status(models.TextChoices):
        UNKNOWN = "unknown", "Not tested"
        VALID = "valid", "Connected"
        LIMITED = "limited", "Connected, limited"
        INVALID = "invalid", "Key rejected"
        EXPIRED = "expired", "Key expired"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="credentials"
    )
    team = models.ForeignKey(
        "accounts.Team", on_delete=models.CASCADE, null=True, blank=True, related_name="credentials"
    )
    is_system = models.BooleanField(default=False, help_text="The house's own key, for everybody's demo.")
    provider = models.CharField(max_length=64)
    label = models.CharField(max_length=64, blank=True, default="")
    display_name = models.CharField(max_length=100, blank=True, default="")
    salt = models.ForeignKey(OwnerSalt, on_delete=models.PROTECT, editable=False)
    sealed = models.JSONField(default=dict, help_text="Base64 ciphertext by field name.")
    key_id = models.CharField(max_length=64, help_text="The master key that sealed it.")
    destination = models.JSONField(default=list, help_text="The hosts that may see the secret; bound into the seal.")
    version = models.PositiveBigIntegerField(default=1)
    fingerprint = models.CharField(max_length=52, help_text="Keyed HMAC in base32.")
    fingerprint_key_id = models.CharField(max_length=64)
    hint = models.CharField(max_length=24, blank=True, default="")
    is_active = models.BooleanField(default=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.UNKNOWN)
    status_detail = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_validated_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    rotate_by = models.DateField(null=True, blank=True)
    last_use = models.JSONField(
        null=True, editable=False, help_text="Of the last use: operation, model, token's id, network it came from."
    )
    reminded_days = models.PositiveSmallIntegerField(
        null=True, editable=False, help_text="How many days before its end the last reminder was due."
    )
    checked_at = models.DateTimeField(null=True, editable=False, help_text="When the provider was asked last.")
    last_check = models.JSONField(null=True, editable=False, help_text="What came of it, whatever it was.")
    untold = models.BooleanField(
        default=False, editable=False, help_text="It was found dead by itself, and its owner is not told yet."
    )
    # Set by keys.set_key: the stored key of the same owner with the same secret, itself if nothing changed.
    same_as: "Credential | None" = None

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="credential_has_exactly_one_owner",
                condition=(
                    Q(user__isnull=False, team__isnull=True, is_system=False)
                    | Q(user__isnull=True, team__isnull=False, is_system=False)
                    | Q(user__isnull=True, team__isnull=True, is_system=True)
                ),
            ),
            models.UniqueConstraint(
                name="credential_unique_for_user",
                fields=["user", "provider", "label"],
                condition=Q(user__isnull=False),
            ),
            models.UniqueConstraint(
                name="credential_unique_for_team",
                fields=["team", "provider", "label"],
                condition=Q(team__isnull=False),
            ),
            models.UniqueConstraint(
                name="credential_unique_for_system",
                fields=["provider", "label"],
                condition=Q(is_system=True),
            ),
        ]
        indexes = [
            models.Index(fields=["key_id", "id"], name="credential_by_master_key"),
            models.Index(fields=["fingerprint_key_id", "id"], name="credential_by_fingerprint_key"),
        ]
        permissions = [("manage_system_credential", "Can set and remove system keys")]

    def __str__(self) -> str:
        return f"{self.provider} of {self.owner}"

    @property
    def owner(self) -> str:
        """The immutable owner id that the vault binds a secret to: user:ID, team:ID or system."""
        if self.is_system:
            return "system"
        return f"user:{self.user_id}" if self.user_id else f"team:{self.team_id}"


class Consent(models.Model):
    """What a person granted at a provider, and where the renewal of its access token stands. The tokens themselves
    are sealed fields of the credential."""

    credential = models.OneToOneField(Credential, on_delete=models.CASCADE, primary_key=True, related_name="consent")
    version = models.PositiveBigIntegerField(help_text="Of the credential that it gave; another one is none of it.")
    scopes = models.JSONField(default=list, help_text="What was granted, as the provider calls it.")
    granted_at = models.DateTimeField()
    renewed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When the provider said that it is over.")
    # Who renews it just now, and until when others wait for them; after a failure, until when nobody tries.
    claim = models.UUIDField(null=True, editable=False)
    claimed_until = models.DateTimeField(null=True, editable=False)
    rest_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"consent of {self.credential_id}"


class KeyTest(models.Model):
    """A test of a key that somebody asked for: what the limits on such tests count.

    It names no key: whoever deletes one and enters another has been counted all the same.
    """

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        PASSED = "passed", "Not rejected"
        REJECTED = "rejected", "Rejected"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    actor = models.CharField(max_length=64, help_text="Who asked: user:ID, or the command line.")
    provider = models.CharField(max_length=64)
    address = models.CharField(max_length=45, blank=True, help_text="Where it was asked from.")
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    started_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(name="key_test_by_actor", fields=["actor", "provider", "started_at"]),
            models.Index(name="key_test_by_address", fields=["address", "started_at"]),
            models.Index(name="key_test_by_time", fields=["started_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.provider} by {self.actor}, {self.state}"


class KeyTestLock(models.Model):
    """One row: whoever holds it decides whether one more test may begin."""

    id = models.PositiveSmallIntegerField(primary_key=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return "the lock of key tests"


class EnvironmentKeyCheck(models.Model):
    """What came of the last test of a key of the house that comes from the environment; the key itself is in no row."""

    provider = models.CharField(max_length=64, primary_key=True)
    fingerprint = models.CharField(max_length=52, blank=True, help_text="Of the key that was tested; keyed HMAC.")
    fingerprint_key_id = models.CharField(max_length=64, blank=True)
    category = models.CharField(max_length=16)
    message = models.CharField(max_length=300, blank=True)
    checked_at = models.DateTimeField()
    untold = models.BooleanField(default=False, help_text="It was found dead, and nobody is told yet.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.provider} of the environment, {self.category}"


class KeptKey(models.Model):
    """A key of the house as it was before it was replaced by an import, still sealed, so that this can be undone.

    It holds ciphertext as Credential does: whatever seals anew or counts the rows of a master key has to
    take this table too.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    credential_id = models.UUIDField(help_text="The row that it was; bound into the seal.")
    provider = models.CharField(max_length=64)
    salt = models.ForeignKey(OwnerSalt, on_delete=models.PROTECT, editable=False)
    sealed = models.JSONField(default=dict, help_text="Base64 ciphertext by field name.")
    key_id = models.CharField(max_length=64, help_text="The master key that sealed it.")
    destination = models.JSONField(default=list, help_text="The hosts that may see the secret; bound into the seal.")
    version = models.PositiveBigIntegerField(help_text="The version that it had; bound into the seal.")
    facts = models.JSONField(default=dict, help_text="The other columns, by name.")
    kept_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(name="kept_key_by_time", fields=["kept_at"]),
            models.Index(name="kept_key_by_master_key", fields=["key_id", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.provider} of the house, version {self.version}"


class WebhookSecret(models.Model):
    """What the events of one webhook are signed with, sealed as keys are; `destination` is the webhook's address."""

    provider = "webhook"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    webhook = models.OneToOneField("notifications.Webhook", on_delete=models.CASCADE, related_name="+")
    salt = models.ForeignKey(OwnerSalt, on_delete=models.PROTECT, editable=False)
    sealed = models.JSONField(default=dict, help_text="Base64 ciphertext by field name.")
    key_id = models.CharField(max_length=64, help_text="The master key that sealed it.")
    destination = models.JSONField(default=list, help_text="Where what it signs goes; bound into the seal.")
    version = models.PositiveBigIntegerField(default=1)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(name="webhook_secret_by_master", fields=["key_id", "id"])]

    def __str__(self) -> str:
        return f"secret of webhook {self.webhook_id}"


class HouseKey(models.Model):
    """What is known of a key of the house: never the key, but a value that tells whether it is the same one."""

    class Kind(models.TextChoices):
        MASTER = "master", "Master key"
        FINGERPRINT = "fingerprint", "Fingerprint key"

    class State(models.TextChoices):
        KNOWN = "known", "Known"
        SEALING = "sealing", "Promoted: seals"
        RETIRED = "retired", "Retired"

    kind = models.CharField(max_length=16, choices=Kind, default=Kind.MASTER)
    key_id = models.CharField(max_length=64)
    check_value = models.CharField(max_length=16, blank=True, help_text="Of a key that was lost: empty.")
    state = models.CharField(max_length=16, choices=State, default=State.KNOWN)
    first_seen = models.DateTimeField(auto_now_add=True)
    promoted_at = models.DateTimeField(null=True, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="house_key_unique_by_id", fields=["kind", "key_id"]),
            models.UniqueConstraint(name="house_key_one_seals", fields=["kind"], condition=Q(state="sealing")),
        ]
        default_permissions = ()
        verbose_name = "key of the house"
        verbose_name_plural = "keys of the house"

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.key_id}"


class KeyHolder(models.Model):
    """A process that holds keys of the house, and which; it counts as long as it keeps writing."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    role = models.CharField(max_length=16)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    known = models.JSONField(default=dict, help_text="Check values by kind and id.")
    sealing_id = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.role} {self.pid} on {self.host}"


class Resealing(models.Model):
    """How far the re-seal towards one master and one fingerprint key has come: where it goes on after a kill."""

    key_id = models.CharField(max_length=64)
    fingerprint_key_id = models.CharField(max_length=64)
    cursor = models.UUIDField(null=True, help_text="The last credential that was looked at.")
    resealed = models.PositiveBigIntegerField(default=0)
    started_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(name="resealing_unique_by_target", fields=["key_id", "fingerprint_key_id"])
        ]

    def __str__(self) -> str:
        return f"re-seal to {self.key_id}"
