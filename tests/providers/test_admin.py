"""The admin's pages of providers: installed, changed, switched and removed by Super Admins only, and nothing is lost on
a mistake."""

import html
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from apikeys import keys
from apikeys.models import Credential
from digitalme.accounts.models import User
from digitalme.accounts.roles import Role
from digitalme.audit.models import AuditEvent
from digitalme.errors import NotFound
from providers import registry
from providers.builtin import BUILT_IN
from providers.models import ProviderDefinition
from tests.apikeys.test_admin import staff

pytestmark = pytest.mark.django_db
PAGE = "/admin/providers/providerdefinition/"
TEXT = """
slug = "acme"
name = "Acme"
help_text = "Ask Acme."
base_url = "https://api.acme.example"

[[fields]]
name = "key"
label = "Key"
pattern = '[a-z]{8,}'

[auth]
place = "bearer"
field = "key"

[[operations]]
name = "all"
method = "*"
path = "*"
"""


@pytest.fixture
def boss() -> Client:
    """The browser of a Super Admin."""
    return staff(Role.SUPER_ADMIN)


def add(client: Client, text: str = TEXT, **more: Any) -> Any:
    return client.post(f"{PAGE}add/", {"definition": text, **more}, follow=True)


def edit(client: Client, text: str, slug: str = "acme", **more: Any) -> Any:
    given = {"definition": text, "is_enabled": "on", **more}
    return client.post(f"{PAGE}{slug}/change/", {k: v for k, v in given.items() if v is not None}, follow=True)


def shown(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def actions() -> list[str]:
    return list(
        AuditEvent.objects.filter(action__startswith="provider.").order_by("sequence").values_list("action", flat=True)
    )


def a_key(user: User) -> Credential:
    return keys.set_key(
        actor=user, owner=keys.Owner("user", user.pk), provider=registry.get("acme"), fields={"key": "a" * 20}
    )


def test_a_pasted_definition_is_installed_and_has_its_card(boss: Client, alice_client: Client) -> None:
    assert "Acme can be called at /gateway/acme/ from now on." in shown(add(boss))
    assert registry.get("acme").origin == "installed"
    assert 'id="provider-acme"' in alice_client.get("/settings/api/").content.decode()
    assert actions() == ["provider.installed"]


def test_an_uploaded_definition_is_installed(boss: Client) -> None:
    add(boss, "", upload=SimpleUploadedFile("acme.toml", TEXT.encode()))
    assert registry.get("acme").name == "Acme"


def test_mistakes_stand_beside_the_text_which_is_kept(boss: Client) -> None:
    wrong = TEXT.replace('place = "bearer"', 'place = "cookie"').replace('method = "*"', 'methot = "*"')
    answer = add(boss, wrong)
    page = shown(answer)
    assert "definition, line 13, [auth]: 'place' must be one of bearer, token" in page
    assert "'methot' is not known here; remove it or correct its spelling (perhaps 'method')." in page
    assert 'methot = "*"' in page
    assert not ProviderDefinition.objects.filter(slug="acme").exists()


def test_the_text_of_an_uploaded_file_with_mistakes_is_kept_too(boss: Client) -> None:
    wrong = TEXT.replace("https://", "http://")
    page = shown(add(boss, "", upload=SimpleUploadedFile("acme.toml", wrong.encode())))
    assert "'base_url' must be https://host" in page
    assert 'base_url = "http://api.acme.example"' in page


@pytest.mark.parametrize(
    ("upload", "words"),
    [(b"\xff\xfe", "not text in UTF-8"), (b"#" * 900_000, "too large"), (b"a = ", "not valid TOML")],
)
def test_a_file_that_is_none_is_refused(boss: Client, upload: bytes, words: str) -> None:
    assert words in shown(add(boss, "", upload=SimpleUploadedFile("acme.toml", upload)))


def test_nothing_is_no_definition(boss: Client) -> None:
    assert "Paste a definition, or choose a file." in shown(add(boss, "  "))


@pytest.mark.parametrize(
    "base",
    [
        "https://127.0.0.1",
        "https://10.0.0.1",
        "https://169.254.169.254",
        "https://2130706433",
        "https://0x7f.1",
        "https://127.1",
        "https://0",
        "https://-a.example",
        "https://a..example",
    ],
)
def test_an_address_inside_is_refused(boss: Client, base: str) -> None:
    page = shown(add(boss, TEXT.replace("https://api.acme.example", base)))
    assert f"'base_url' {base} cannot be used" in page
    assert not ProviderDefinition.objects.filter(slug="acme").exists()


@pytest.mark.parametrize(
    "base",
    [
        "http://api.acme.example",
        "https://api.acme.example:8443",
        "https://u@api.acme.example",
        "https://a.example/x",
        "https://[::1]",
        "https://a.example?x",
        "ftp://a.example",
        "https://A.example",
        "//a.example",
        "https://",
    ],
)
def test_an_address_that_is_not_plain_https_is_refused(boss: Client, base: str) -> None:
    assert "'base_url' must be https://host" in shown(add(boss, TEXT.replace("https://api.acme.example", base)))


def test_a_further_host_inside_is_refused_too(boss: Client) -> None:
    text = TEXT + '\n[[hosts]]\nprefix = "/x"\nbase_url = "https://192.168.0.1"\n'
    assert "https://192.168.0.1 cannot be used" in shown(add(boss, text))


@pytest.mark.parametrize("slug", BUILT_IN)
def test_a_built_in_provider_is_not_replaced(boss: Client, slug: str) -> None:
    page = shown(add(boss, TEXT.replace('"acme"', f'"{slug}"')))
    assert f"'{slug}' is built in and cannot be replaced" in page
    assert registry.get(slug).origin == "built-in"


def test_a_slug_is_taken_once(boss: Client) -> None:
    add(boss)
    assert "'acme' is installed already; change it there." in shown(add(boss))


def test_a_definition_is_changed(boss: Client) -> None:
    add(boss)
    edit(boss, TEXT.replace("Acme", "Acme Two"))
    assert registry.get("acme").name == "Acme Two"
    assert actions() == ["provider.installed", "provider.changed"]


def test_a_mistake_in_a_change_leaves_what_was(boss: Client) -> None:
    add(boss)
    page = shown(edit(boss, TEXT.replace('"acme"', '"other"')))
    assert "'slug' must stay 'acme'" in page
    assert 'slug = "other"' in page
    assert [registry.get("acme").name, actions()] == ["Acme", ["provider.installed"]]


def test_a_change_of_address_asks_for_the_keys_again(boss: Client, alice: User, alice_client: Client) -> None:
    add(boss)
    credential = a_key(alice)
    page = shown(edit(boss, TEXT.replace("api.acme", "api2.acme")))
    assert "1 stored key must be entered again" in page
    card = alice_client.get("/settings/api/").content.decode()
    assert "Enter the key again" in card
    assert "The address of Acme was changed after this key was entered." in card
    tested = alice_client.post("/settings/api/acme/test/", follow=True).content.decode()
    assert "Not tested." in tested
    credential.refresh_from_db()
    assert credential.status == "unknown"


def test_the_same_address_keeps_the_keys(boss: Client, alice: User, alice_client: Client) -> None:
    add(boss)
    a_key(alice)
    assert "must be entered again" not in shown(edit(boss, TEXT.replace("Ask Acme.", "Ask them.")))
    assert "Enter the key again" not in alice_client.get("/settings/api/").content.decode()


@pytest.mark.parametrize("slug", ["acme", "openai"])
def test_a_provider_is_switched_off_and_on(boss: Client, alice_client: Client, slug: str) -> None:
    add(boss)
    edit(boss, TEXT, slug, is_enabled=None)
    with pytest.raises(NotFound, match="is switched off on this server"):
        registry.get(slug)
    assert f'id="provider-{slug}"' not in alice_client.get("/settings/api/").content.decode()
    edit(boss, TEXT, slug)
    assert registry.get(slug)
    assert actions()[1:] == ["provider.disabled", "provider.enabled"]


def test_several_are_switched_at_once(boss: Client) -> None:
    data = {"action": "switch_off", "_selected_action": ["openai", "slack"]}
    assert "2 switched off." in shown(boss.post(PAGE, data, follow=True))
    assert not {"openai", "slack"} & {one.slug for one in registry.all_providers()}


def test_a_built_in_definition_can_be_looked_at_but_not_written(boss: Client) -> None:
    page = shown(boss.get(f"{PAGE}openai/change/"))
    assert 'base_url = "https://api.openai.com"' in page
    assert 'name="definition"' not in page
    edit(boss, TEXT, "openai")
    assert registry.get("openai").manifest.base_url == "https://api.openai.com"


def test_a_provider_is_removed_after_a_question(boss: Client, alice: User) -> None:
    add(boss)
    a_key(alice)
    page = shown(boss.get(f"{PAGE}acme/delete/"))
    assert "1 stored key" in page
    assert registry.get("acme")
    boss.post(f"{PAGE}acme/delete/", {"post": "yes"})
    with pytest.raises(NotFound, match="There is no provider"):
        registry.get("acme")
    assert Credential.objects.filter(provider="acme").exists()
    assert actions() == ["provider.installed", "provider.removed"]


def test_a_built_in_provider_is_not_removed(boss: Client) -> None:
    assert boss.post(f"{PAGE}openai/delete/", {"post": "yes"}).status_code == 403
    assert registry.get("openai")


def test_a_key_serves_again_if_the_same_provider_returns_and_no_other(boss: Client, alice: User) -> None:
    from apikeys import resolution
    from apikeys.vault import CredentialUnreadable

    add(boss)
    credential = a_key(alice)
    boss.post(f"{PAGE}acme/delete/", {"post": "yes"})
    add(boss)
    assert resolution.unseal(resolution.resolved(credential))["key"].reveal() == "a" * 20
    boss.post(f"{PAGE}acme/delete/", {"post": "yes"})
    add(boss, TEXT.replace("api.acme", "evil.acme"))
    with pytest.raises(CredentialUnreadable):
        resolution.unseal(resolution.resolved(credential))


def test_a_destination_written_into_the_database_does_not_help(boss: Client, alice: User) -> None:
    from apikeys import resolution
    from apikeys.vault import CredentialUnreadable

    add(boss)
    credential = a_key(alice)
    evil = TEXT.replace("api.acme", "evil.acme")
    ProviderDefinition.objects.filter(slug="acme").update(definition=evil)
    edit(boss, evil.replace("Ask Acme.", "Ask."))
    Credential.objects.filter(pk=credential.pk).update(destination=["https://evil.acme.example"])
    credential.refresh_from_db()
    assert registry.get("acme").destination == ("https://evil.acme.example",)
    with pytest.raises(CredentialUnreadable):
        resolution.unseal(resolution.resolved(credential))


@pytest.mark.parametrize("role", [Role.SUPPORT, Role.ADMIN])
def test_others_look_on(role: Role, boss: Client) -> None:
    add(boss)
    client = staff(role)
    assert "acme" in client.get(PAGE).content.decode()
    assert add(client, TEXT.replace('"acme"', '"other"')).status_code == 403
    assert edit(client, TEXT.replace("Acme", "Evil")).status_code == 403
    assert client.post(f"{PAGE}acme/delete/", {"post": "yes"}).status_code == 403
    client.post(PAGE, {"action": "switch_off", "_selected_action": ["acme"]})
    assert registry.get("acme").name == "Acme"


def test_users_see_nothing_of_it(alice_client: Client) -> None:
    assert alice_client.get(PAGE).status_code in {302, 403}


def test_a_password_of_long_ago_is_asked_for_again(boss: Client) -> None:
    session = boss.session
    session["account_authentication_methods"] = [{"method": "password", "at": 0, "email": "x"}]
    session.save()
    answer = boss.get(f"{PAGE}add/")
    assert answer.status_code == 302
    assert "reauthenticate" in answer["Location"]


def test_the_houses_key_of_the_environment_goes_to_no_address_entered_in_the_admin(
    boss: Client, alice: User, settings: Any
) -> None:
    from apikeys import resolution
    from digitalme.statements import ask

    settings.DIGITALME_SYSTEM_KEYS = {"acme": "a" * 20}
    add(boss)
    assert ask(resolution.resolve([(alice.pk, "acme")])) == {}
