"""Reading the environment and the file of variables."""

from pathlib import Path

import pytest

from digitalme import env, env_file

pytestmark = pytest.mark.once


def test_a_value_comes_from_the_variable() -> None:
    assert env.text("NAME", environ={"NAME": "value"}) == "value"


def test_a_value_comes_from_the_file_that_name_file_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    assert env.text("NAME", environ={"NAME_FILE": str(tmp_path / "secret")}) == "from a file"


def test_a_missing_value_falls_back_to_the_default() -> None:
    assert env.text("NAME", "default", environ={}) == "default"


def test_a_missing_value_without_default_is_refused_by_name() -> None:
    with pytest.raises(env.EnvironmentProblem, match="NAME is not set"):
        env.text("NAME", environ={})


def test_both_forms_at_once_are_refused_without_naming_the_value(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden-in-file")
    with pytest.raises(env.EnvironmentProblem, match="both set") as caught:
        env.text("NAME", environ={"NAME": "hidden", "NAME_FILE": str(tmp_path / "secret")})
    assert "hidden" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(env.EnvironmentProblem, match="NAME_FILE"):
        env.text("NAME", environ={"NAME_FILE": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
def test_a_flag_is_on(value: str) -> None:
    assert env.flag("FLAG", False, environ={"FLAG": value})


@pytest.mark.parametrize("value", ["0", "False", "no", "off"])
def test_a_flag_is_off(value: str) -> None:
    assert not env.flag("FLAG", True, environ={"FLAG": value})


def test_an_odd_flag_is_refused_without_naming_the_value() -> None:
    with pytest.raises(env.EnvironmentProblem, match="FLAG") as caught:
        env.flag("FLAG", True, environ={"FLAG": "perhaps"})
    assert "perhaps" not in str(caught.value)


def test_a_number_is_read() -> None:
    assert env.number("COUNT", 1, environ={"COUNT": " 42 "}) == 42


@pytest.mark.parametrize("value", ["", "4.2", "many"])
def test_an_odd_number_is_refused(value: str) -> None:
    with pytest.raises(env.EnvironmentProblem, match="COUNT must be a whole number"):
        env.number("COUNT", 1, environ={"COUNT": value})


def test_a_number_below_the_least_is_refused() -> None:
    assert env.number("COUNT", 1, least=1, environ={"COUNT": "1"}) == 1
    with pytest.raises(env.EnvironmentProblem, match="COUNT must be 1 or more"):
        env.number("COUNT", 1, least=1, environ={"COUNT": "0"})


def test_a_list_drops_blanks() -> None:
    assert env.listing("NAMES", environ={"NAMES": " a, ,b,"}) == ["a", "b"]


def test_a_prefix_gathers_both_forms(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("two")
    environ = {"KEY_ONE": "one", "KEY_TWO_FILE": str(tmp_path / "key"), "OTHER": "x", "KEY_EMPTY": ""}
    assert env.by_prefix("KEY_", environ=environ) == {"one": "one", "two": "two"}


# --- The file of variables ----------------------------------------------------------------------


def load(tmp_path: Path, content: str, **environ: str) -> dict[str, str]:
    path = tmp_path / ".env"
    path.write_text(content)
    env.load_file(path, environ=environ)
    return environ


def test_the_file_fills_the_environment(tmp_path: Path) -> None:
    content = "# comment\n\nONE=1\nexport TWO = two words \nTHREE='quoted = text'\nFOUR=\"#no comment\"\nFIVE=\n"
    expected = {"ONE": "1", "TWO": "two words", "THREE": "quoted = text", "FOUR": "#no comment", "FIVE": ""}
    assert load(tmp_path, content) == expected


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, "ONE=file\n", ONE="environment") == {"ONE": "environment"}


def test_a_variable_given_as_a_file_wins_over_the_plain_one(tmp_path: Path) -> None:
    assert load(tmp_path, "ONE=file\n", ONE_FILE="/run/secrets/one") == {"ONE_FILE": "/run/secrets/one"}


def test_a_missing_file_changes_nothing(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    env.load_file(tmp_path / "nowhere", environ=environ)
    assert environ == {}


def test_a_line_of_another_shape_is_refused_by_its_number_alone(tmp_path: Path) -> None:
    with pytest.raises(env.EnvironmentProblem, match="line 2: write NAME=value") as caught:
        load(tmp_path, "ONE=1\nsecret without a name\n")
    assert "secret" not in str(caught.value)


# --- Its making ---------------------------------------------------------------------------------


def test_fresh_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert env_file.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(env.read_file(path)) == set(env_file.KEYS)


def test_two_clones_get_different_keys(tmp_path: Path) -> None:
    for name in ("one", "two"):
        env_file.create(tmp_path / name)
    one, two = (env.read_file(tmp_path / name) for name in ("one", "two"))
    assert not set(one.values()) & set(two.values())


def test_keys_that_are_there_are_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("SECRET_KEY=mine\n")
    assert not env_file.create(path)
    assert path.read_text() == "SECRET_KEY=mine\n"
    assert list(tmp_path.iterdir()) == [path]


def test_fresh_keys_pass_the_checks_at_start(tmp_path: Path) -> None:
    from django.test import override_settings

    from apikeys import keyring

    path = tmp_path / ".env"
    env_file.create(path)
    with override_settings(**env.read_file(path)):
        assert keyring.ring().sealing_id == "k1"
