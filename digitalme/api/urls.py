"""Routes of the API. Every address ends with a slash; what is none of these is answered as a problem too."""

from django.urls import path, re_path

from digitalme.api import audit, docs, keys, me, providers, quotas, raises, records, resource, teams, tokens, usage

urlpatterns = [
    path("keys/", keys.Keys.as_view(), name="api_keys"),
    path("keys/<slug:provider>/", keys.Key.as_view(), name="api_key"),
    path("keys/<slug:provider>/test/", keys.KeyTest.as_view(), name="api_key_test"),
    path("keys/<slug:provider>/<slug:label>/", keys.LabelledKey.as_view(), name="api_labelled_key"),
    path("keys/<slug:provider>/<slug:label>/test/", keys.LabelledKeyTest.as_view(), name="api_labelled_key_test"),
    path("providers/", providers.Providers.as_view(), name="api_providers"),
    path("providers/<slug:provider>/consent/", providers.ProviderConsent.as_view(), name="api_provider_consent"),
    path("quotas/", quotas.Quotas.as_view(), name="api_quotas"),
    path("quotas/raises/", raises.Raises.as_view(), name="api_raises"),
    path("quotas/raises/<uuid:raise_id>/", raises.OneRaise.as_view(), name="api_raise"),
    path("usage/summary/", usage.Summary.as_view(), name="api_usage_summary"),
    path("usage/series/", usage.Series.as_view(), name="api_usage_series"),
    path("usage/records/", records.Records.as_view(), name="api_usage_records"),
    path("usage/records/<uuid:request_id>/", records.Record.as_view(), name="api_usage_record"),
    path("tokens/", tokens.Tokens.as_view(), name="api_tokens"),
    path("tokens/<uuid:token_id>/", tokens.Token.as_view(), name="api_token"),
    path("teams/", teams.Teams.as_view(), name="api_teams"),
    path("teams/<slug:team>/", teams.OneTeam.as_view(), name="api_team"),
    path("teams/<slug:team>/members/", teams.Members.as_view(), name="api_team_members"),
    path("teams/<slug:team>/members/<uuid:user_id>/", teams.Member.as_view(), name="api_team_member"),
    path("teams/<slug:team>/invitations/", teams.Invitations.as_view(), name="api_team_invitations"),
    path(
        "teams/<slug:team>/invitations/<uuid:invitation_id>/",
        teams.OneInvitation.as_view(),
        name="api_team_invitation",
    ),
    path("invitations/<str:token>/", teams.Answer.as_view(), name="api_invitation"),
    path("audit/", audit.Audit.as_view(), name="api_audit"),
    path("me/", me.Me.as_view(), name="api_me"),
    path("schema/", docs.Schema.as_view(), name="schema"),
    path("docs/", docs.Docs.as_view(), name="api_docs"),
    re_path(r"", resource.Nothing.as_view(), name="api_nothing"),
]
