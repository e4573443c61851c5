"""Routes of the pages."""

from django.urls import path

from digitalme.web import (
    api_keys,
    connections,
    home,
    key_details,
    preferences,
    profile,
    security,
    team,
    team_keys,
    usage,
)

urlpatterns = [
    path("", home.show, name="home"),
    path("start/token/", home.make_token, name="start_token"),
    path("settings/", home.to_settings, name="settings"),
    path("settings/profile/", profile.show, name="settings_profile"),
    path("settings/preferences/", preferences.show, name="settings_preferences"),
    path("settings/api/", api_keys.show, name="settings_api"),
    path("settings/api/<slug:slug>/", api_keys.show_one, name="settings_api_card"),
    path("settings/api/<slug:slug>/key/", api_keys.edit, name="settings_api_key"),
    path("settings/api/<slug:slug>/test/", api_keys.test, name="settings_api_test"),
    path("settings/api/<slug:slug>/remove/", api_keys.remove, name="settings_api_remove"),
    path("settings/api/<slug:slug>/details/", key_details.edit, name="settings_api_details"),
    path("settings/api/<slug:slug>/connect/", connections.ask, name="settings_api_connect"),
    path("settings/api/<slug:slug>/connected/", connections.take, name="settings_api_connected"),
    path("settings/api/<slug:slug>/connection/", connections.show, name="settings_api_connection"),
    path("settings/team/", team.show, name="settings_team"),
    path("settings/team/invitation/<str:token>/", team.invitation, name="settings_team_invitation"),
    path("settings/team/<slug:team>/", team.show_one, name="settings_team_one"),
    path("settings/team/<slug:team>/rename/", team.rename, name="settings_team_rename"),
    path("settings/team/<slug:team>/leave/", team.leave, name="settings_team_leave"),
    path("settings/team/<slug:team>/dissolve/", team.dissolve, name="settings_team_dissolve"),
    path("settings/team/<slug:team>/invite/", team.invite, name="settings_team_invite"),
    path(
        "settings/team/<slug:team>/invitations/<uuid:invitation_id>/withdraw/",
        team.withdraw,
        name="settings_team_withdraw",
    ),
    path("settings/team/<slug:team>/members/<uuid:user_id>/role/", team.change_role, name="settings_team_role"),
    path("settings/team/<slug:team>/members/<uuid:user_id>/remove/", team.remove_member, name="settings_team_remove"),
    path("settings/team/<slug:team>/members/<uuid:user_id>/owner/", team.hand_over, name="settings_team_hand_over"),
    path("settings/team/<slug:team_slug>/keys/<slug:provider_slug>/", team_keys.edit, name="settings_team_key"),
    path(
        "settings/team/<slug:team_slug>/keys/<slug:provider_slug>/test/", team_keys.test, name="settings_team_key_test"
    ),
    path(
        "settings/team/<slug:team_slug>/keys/<slug:provider_slug>/remove/",
        team_keys.remove,
        name="settings_team_key_remove",
    ),
    path("settings/usage/budgets/", usage.set_budget, name="settings_budgets"),
    path("settings/usage/budgets/<int:limit_id>/remove/", usage.remove_budget, name="settings_budget_remove"),
    path("settings/usage/raises/", usage.ask_for_more, name="settings_raises"),
    path("settings/usage/raises/<uuid:raise_id>/withdraw/", usage.withdraw_raise, name="settings_raise_withdraw"),
    path(
        "settings/team/<slug:team_slug>/keys/<slug:provider_slug>/connect/",
        connections.ask_for_team,
        name="settings_team_key_connect",
    ),
    path(
        "settings/team/<slug:team_slug>/keys/<slug:provider_slug>/connection/",
        connections.show_for_team,
        name="settings_team_key_connection",
    ),
    path("settings/usage/", usage.show, name="settings_usage"),
    path("settings/security/", security.show, name="settings_security"),
    path("settings/security/tokens/", security.make_token, name="settings_tokens"),
    path("settings/security/tokens/<uuid:token_id>/revoke/", security.revoke_token, name="settings_token_revoke"),
]
