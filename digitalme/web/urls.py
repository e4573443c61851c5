"""Routes of the pages."""

from django.urls import path

from digitalme.web import api_keys, connections, home, key_details, preferences, profile, security, usage

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
    path("settings/usage/", usage.show, name="settings_usage"),
    path("settings/security/", security.show, name="settings_security"),
    path("settings/security/tokens/", security.make_token, name="settings_tokens"),
    path("settings/security/tokens/<uuid:token_id>/revoke/", security.revoke_token, name="settings_token_revoke"),
]
