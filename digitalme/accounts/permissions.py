"""The names of everything that a role may be allowed to do in the admin."""

from enum import StrEnum


class Permission(StrEnum):
    """A permission, named as Django names it: application, deed, model."""

    VIEW_USERS = "accounts.view_user"
    ADD_USERS = "accounts.add_user"
    CHANGE_USERS = "accounts.change_user"
    DELETE_USERS = "accounts.delete_user"
    VIEW_TEAMS = "accounts.view_team"
    ADD_TEAMS = "accounts.add_team"
    CHANGE_TEAMS = "accounts.change_team"
    DELETE_TEAMS = "accounts.delete_team"
    VIEW_MEMBERSHIPS = "accounts.view_membership"
    ADD_MEMBERSHIPS = "accounts.add_membership"
    CHANGE_MEMBERSHIPS = "accounts.change_membership"
    DELETE_MEMBERSHIPS = "accounts.delete_membership"
    VIEW_INVITATIONS = "accounts.view_invitation"
    VIEW_TOKENS = "accounts.view_accesstoken"
    REVOKE_TOKENS = "accounts.change_accesstoken"

    VIEW_PROVIDERS = "providers.view_providerdefinition"
    ADD_PROVIDERS = "providers.add_providerdefinition"
    CHANGE_PROVIDERS = "providers.change_providerdefinition"
    DELETE_PROVIDERS = "providers.delete_providerdefinition"

    VIEW_PRICES = "providers.view_modelprice"
    ADD_PRICES = "providers.add_modelprice"
    DELETE_PRICES = "providers.delete_modelprice"

    VIEW_CREDENTIALS = "apikeys.view_credential"
    SWITCH_CREDENTIALS = "apikeys.change_credential"
    MANAGE_SYSTEM_CREDENTIALS = "apikeys.manage_system_credential"

    VIEW_TIERS = "quotas.view_tier"
    ADD_TIERS = "quotas.add_tier"
    CHANGE_TIERS = "quotas.change_tier"
    DELETE_TIERS = "quotas.delete_tier"
    VIEW_LIMITS = "quotas.view_limit"
    ADD_LIMITS = "quotas.add_limit"
    CHANGE_LIMITS = "quotas.change_limit"
    DELETE_LIMITS = "quotas.delete_limit"
    VIEW_ALLOCATIONS = "quotas.view_allocation"
    CHANGE_ALLOCATIONS = "quotas.change_allocation"
    VIEW_RAISES = "quotas.view_raise"
    ADD_RAISES = "quotas.add_raise"
    CHANGE_RAISES = "quotas.change_raise"
    VIEW_ADJUSTMENTS = "quotas.view_adjustment"
    CHANGE_ADJUSTMENTS = "quotas.change_adjustment"
    VIEW_EMERGENCY_USES = "quotas.view_emergencyuse"
    VIEW_GIFTS = "quotas.view_gift"
    VIEW_LEASES = "quotas.view_lease"

    VIEW_AUDIT_EVENTS = "audit.view_auditevent"

    VIEW_NOTIFICATIONS = "notifications.view_notification"
    VIEW_LETTERS = "notifications.view_letter"
    VIEW_WEBHOOKS = "notifications.view_webhook"
    VIEW_DELIVERIES = "notifications.view_delivery"

    VIEW_RECORDS = "usage.view_usagerecord"
    VIEW_HOURLY_USAGE = "usage.view_hourlyusage"
    VIEW_DAILY_USAGE = "usage.view_dailyusage"
    VIEW_HOUSE_USAGE = "usage.view_houseusage"
    VIEW_FORECASTS = "forecasts.view_forecast"
