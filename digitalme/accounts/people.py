"""Find people and teams by what others call them."""

from digitalme.accounts.models import Team, User
from digitalme.errors import NotFound


def user_with(email: str) -> User:
    """Return the user with this e-mail address, in any case. Raises NotFound."""
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        raise NotFound("There is no user with this e-mail address.")
    return user


def team_with(slug: str) -> Team:
    """Return the team with this slug. Raises NotFound."""
    team = Team.objects.filter(slug=slug).first()
    if team is None:
        raise NotFound("There is no team with this name.")
    return team
