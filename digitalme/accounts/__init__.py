"""Users, teams, roles and access tokens."""
