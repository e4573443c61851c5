"""import_appsettings, as an operator types it."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from apikeys import keys
from apikeys.models import Credential
from digitalme.accounts.models import User
from quotas import policy
from quotas.models import Limit
from tests.commands import run
from tests.transfer.conftest import (
    ANTHROPIC_KEY,
    HOUSE_KEY,
    NEW,
    OLD,
    OTHER_KEY,
    Write,
    everything,
    limit,
    set_house_key,
    states,
    stored,
)

pytestmark = pytest.mark.django_db


# --- What becomes of it -------------------------------------------------------------------------


def test_the_old_shape_gives_the_house_its_keys(write: Write) -> None:
    printed = run("import_appsettings", write(OLD))
    assert (stored("openai"), stored("anthropic")) == (HOUSE_KEY, ANTHROPIC_KEY)
    assert states(printed) == {
        "ApiKeys:Anthropic": "new",
        "ApiKeys:OpenAI": "new",
        "ApiBaseUrl": "ignored: set by environment: SITE_URL",
        "Authentication": "ignored: accounts and sign-in are this product's own",
    }


def test_keys_at_the_top_of_the_file_are_found_too(write: Write) -> None:
    run("import_appsettings", write(f'{{"apikeys": {{"OPENAI": "{HOUSE_KEY}"}}, "Logging": {{}}}}'))
    assert stored() == HOUSE_KEY


def test_a_path_in_one_name_is_read_as_dotnet_reads_it(write: Write) -> None:
    run("import_appsettings", write(f'{{"DigitalMe:ApiKeys:OpenAI": "{HOUSE_KEY}"}}'))
    assert stored() == HOUSE_KEY


def test_the_new_shape_gives_keys_and_limits(write: Write) -> None:
    printed = run("import_appsettings", write(NEW))
    assert (stored("openai"), stored("anthropic")) == (HOUSE_KEY, ANTHROPIC_KEY)
    assert limit("demo", "anthropic") == (100, None)
    assert limit("demo", "openai") == (50, None)
    assert limit("demo", "*") == (40, None)
    assert limit("daily", "") == (900, None)
    assert limit("monthly", "") == (None, 50_000)
    assert states(printed) == {
        "SystemKeys:Anthropic": "new",
        "SystemKeys:OpenAI": "new",
        "SystemKeys:Anthropic:DemoQuota": "new",
        "SystemKeys:OpenAI:DemoQuota": "new",
        "DefaultQuotas:DailyRequests": "changed",
        "DefaultQuotas:MonthlyTokens": "unchanged",
        "EncryptionSettings:KeyDerivationIterations": "unchanged",
        "EncryptionSettings:EncryptionAlgorithm": "unchanged",
        "SecuritySettings:MaxFailedValidations": states(printed)["SecuritySettings:MaxFailedValidations"],
        "SecuritySettings:ValidationCooldownMinutes": states(printed)["SecuritySettings:ValidationCooldownMinutes"],
        "SecuritySettings:AuditLogRetentionDays": "unchanged",
        "QuotaSettings:DefaultDemoQuota": "changed",
        "QuotaSettings:MaxUserQuota": states(printed)["QuotaSettings:MaxUserQuota"],
        "QuotaSettings:QuotaResetSchedule": "unchanged",
    }


def test_the_other_amounts_of_a_limit_stay(write: Write) -> None:
    before = Limit.objects.get(tier__is_default=True, type="monthly").cost
    run("import_appsettings", write('{"DefaultQuotas": {"MonthlyTokens": "70000"}}'))
    assert Limit.objects.get(tier__is_default=True, type="monthly").cost == before


def test_an_imported_limit_binds_everybody_on_the_default_tier_at_once(write: Write, alice: User) -> None:
    run("import_appsettings", write('{"DigitalMe": {"SystemKeys": {"OpenAI": {"DemoQuota": 7}}}}'))
    spec = policy.spec_of(policy.limits_for([alice.pk])[alice.pk], "demo", "openai")
    assert spec is not None
    assert spec.requests == 7


@pytest.mark.parametrize("name", ["anthropic", "ANTHROPIC", "Claude", "Anthropic Claude"])
def test_a_provider_is_known_by_its_names_in_any_case(name: str, write: Write) -> None:
    run("import_appsettings", write(f'{{"ApiKeys": {{"{name}": "{ANTHROPIC_KEY}"}}}}'))
    assert stored("anthropic") == ANTHROPIC_KEY


def test_the_newer_shape_comes_before_the_older(write: Write) -> None:
    text = f'{{"ApiKeys": {{"OpenAI": "{OTHER_KEY}"}}, "SystemKeys": {{"OpenAI": {{"Key": "{HOUSE_KEY}"}}}}}}'
    printed = run("import_appsettings", write(text))
    assert stored() == HOUSE_KEY
    assert "SystemKeys:OpenAI comes before it" in states(printed)["ApiKeys:OpenAI"]


@pytest.mark.parametrize(
    ("text", "setting", "said"),
    [
        ('{"ApiKeys": {"OpenAI": ""}}', "ApiKeys:OpenAI", "ignored: it is empty"),
        ('{"ApiKeys": {"OpenAI": null}}', "ApiKeys:OpenAI", "ignored: it is empty"),
        ('{"ApiKeys": {"Nobody": "abc"}}', "ApiKeys:Nobody", "ignored: there is no provider 'Nobody' here"),
        ('{"ApiKeys": {"sandbox": "abc"}}', "ApiKeys:sandbox", "ignored: Sandbox needs no key"),
        ('{"SystemKeys": {"OpenAI": {"Colour": "x"}}}', "SystemKeys:OpenAI:Colour", "ignored: OpenAI has no such"),
        ('{"Logging": {"LogLevel": {"a": "b"}}}', "Logging", "ignored: set by environment: LOG_LEVEL"),
        ('{"Serilog": {"Key": "hunter2"}}', "Serilog", "ignored: it is not about keys or quotas"),
        ('{"QuotaSettings": {"Odd": 1}}', "QuotaSettings:Odd", "ignored: this product knows no such setting"),
        ('{"QuotaSettings": {"MaxUserQuota": 5}}', "QuotaSettings:MaxUserQuota", "ignored: nobody but staff"),
        (
            '{"QuotaSettings": {"QuotaResetSchedule": "0 6 * * *"}}',
            "QuotaSettings:QuotaResetSchedule",
            "ignored: periods are calendar days",
        ),
        (
            '{"SecuritySettings": {"AuditLogRetentionDays": 400}}',
            "SecuritySettings:AuditLogRetentionDays",
            "ignored: set by environment: DIGITALME_AUDIT_RETENTION_DAYS",
        ),
        (
            '{"EncryptionSettings": {"KeyDerivationIterations": 600000}}',
            "EncryptionSettings:KeyDerivationIterations",
            "ignored: more rounds add nothing",
        ),
    ],
)
def test_what_becomes_nothing_is_said_with_its_reason(text: str, setting: str, said: str, write: Write) -> None:
    before = everything()
    printed = run("import_appsettings", write(text))
    assert states(printed)[setting].startswith(said)
    assert "hunter2" not in printed
    assert everything() == before


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ('{"EncryptionSettings": {"KeyDerivationIterations": 99999}}', "EncryptionSettings:KeyDerivationIterations"),
        ('{"EncryptionSettings": {"EncryptionAlgorithm": "AES-128-CBC"}}', "EncryptionSettings:EncryptionAlgorithm"),
        ('{"SecuritySettings": {"MaxFailedValidations": 4}}', "SecuritySettings:MaxFailedValidations"),
        ('{"SecuritySettings": {"ValidationCooldownMinutes": 14}}', "SecuritySettings:ValidationCooldownMinutes"),
        ('{"SecuritySettings": {"AuditLogRetentionDays": 89}}', "SecuritySettings:AuditLogRetentionDays"),
    ],
)
def test_what_would_weaken_something_is_refused_and_said(text: str, setting: str, write: Write) -> None:
    before = everything()
    assert states(run("import_appsettings", write(text)))[setting].startswith("refused: ")
    assert everything() == before


def test_a_key_that_stands_before_one_of_the_environment_is_said_to(write: Write, settings: Any) -> None:
    settings.DIGITALME_SYSTEM_KEYS = {"openai": OTHER_KEY}
    assert "it comes before DIGITALME_SYSTEM_KEY_OPENAI" in run("import_appsettings", write(OLD))


# --- Once, dry, and never a secret --------------------------------------------------------------


@pytest.mark.parametrize("text", [OLD, NEW])
def test_a_second_run_changes_nothing_and_says_so(text: str, write: Write) -> None:
    run("import_appsettings", write(text))
    before = everything()
    printed = run("import_appsettings", write(text))
    assert everything() == before
    assert not {"new", "changed"} & set(states(printed).values())
    assert "Nothing was changed" in printed


@pytest.mark.parametrize("text", [OLD, NEW])
def test_a_dry_run_says_the_same_and_changes_nothing(text: str, write: Write) -> None:
    before = everything()
    dry = run("import_appsettings", write(text), "--dry-run")
    assert everything() == before
    assert "dry run" in dry
    assert states(dry) == states(run("import_appsettings", write(text)))


def test_no_key_is_printed_or_kept_in_clear(write: Write) -> None:
    printed = run("import_appsettings", write(NEW))
    again = run("import_appsettings", write(NEW.replace(HOUSE_KEY, OTHER_KEY)))
    for key in (HOUSE_KEY, OTHER_KEY, ANTHROPIC_KEY):
        assert key not in printed + again + repr(everything())
    credential = keys.system_keys().get(provider="openai")
    assert f"fingerprint {credential.fingerprint[:10]}, ends in {credential.hint}" in again


def test_a_key_that_was_switched_off_stays_off(write: Write) -> None:
    keys.set_active(actor=None, credential=set_house_key(HOUSE_KEY), active=False)
    printed = run("import_appsettings", write(f'{{"ApiKeys": {{"OpenAI": "{HOUSE_KEY}"}}}}'))
    assert states(printed)["ApiKeys:OpenAI"] == "unchanged: it is switched off here and stays so"
    assert not keys.system_keys().get().is_active


def test_a_stored_key_that_cannot_be_read_is_replaced(write: Write) -> None:
    set_house_key(HOUSE_KEY)
    Credential.objects.update(sealed={"api_key": "AAAA"})
    printed = run("import_appsettings", write(f'{{"ApiKeys": {{"OpenAI": "{HOUSE_KEY}"}}}}'))
    assert states(printed)["ApiKeys:OpenAI"] == "changed"
    assert stored() == HOUSE_KEY


# --- Bad files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ('{"ApiKeys": {\n  "OpenAI": "hello-there-secret"\n}}', "2:13", "not a valid API key"),
        ('{"ApiKeys": {\n  "OpenAI": "sk two parts-of-a-secret"\n}}', "2:13", "space"),
        (f'{{"ApiKeys": {{"OpenAI": "{HOUSE_KEY}",\n "gpt": "{OTHER_KEY}"}}}}', "2:9", "line 1 already"),
        ('{"DefaultQuotas": {"DailyRequests": -1}}', "1:37", "whole number"),
        ('{"DefaultQuotas": {"DailyRequests": 1.5}}', "1:37", "whole number"),
        ('{"DefaultQuotas": {"DailyRequests": true}}', "1:37", "whole number"),
        ('{"DefaultQuotas": {"DailyRequests": 9999999999999999}}', "1:37", "whole number"),
        ('{"DefaultQuotas": {"MonthlyCost": "NaN"}}', "1:35", "US dollars"),
        ('{"DefaultQuotas": {"MonthlyCost": "much"}}', "1:35", "US dollars"),
        ('{"SystemKeys": {"OpenAI": {"DemoQuota": {}}}}', "1:41", "whole number"),
        ('{"QuotaSettings": {"MaxUserQuota": "lots"}}', "1:36", "whole number"),
        ('{"EncryptionSettings": {"KeyDerivationIterations": "many"}}', "1:52", "whole number"),
        (f'{{"ApiKeys": {{"OpenAI": "{HOUSE_KEY}"}}\n', "2:1", "} is missing"),
    ],
)
def test_a_bad_file_is_named_with_line_and_column_and_changes_nothing(
    text: str, place: str, said: str, write: Write
) -> None:
    # Something that could be imported stands before the mistake.
    good = f'{{"Before": {{}}, "ApiKeys:Anthropic": "{ANTHROPIC_KEY}", '
    before = everything()
    path = write(text)
    with pytest.raises(CommandError) as refusal:
        run("import_appsettings", path)
    assert f"{path}:{place}: " in str(refusal.value)
    assert said in str(refusal.value)
    assert "secret" not in str(refusal.value)
    assert refusal.value.returncode == 1
    with pytest.raises(CommandError):
        run("import_appsettings", write(good + text[1:]))
    assert everything() == before


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run("import_appsettings", str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    "arguments", [[], ["a.json", "--undo", "x"], ["a.json", "--force"], ["--undo", "x", "--dry-run"], ["--undo", "x"]]
)
def test_arguments_that_do_not_go_together_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run("import_appsettings", *arguments)


def test_without_a_usable_master_nothing_is_imported(write: Write, settings: Any) -> None:
    settings.DIGITALME_MASTER_KEYS = "k1:c2hvcnQ="
    with pytest.raises(CommandError, match="'k1'"):
        run("import_appsettings", write(OLD))
