"""Settings come from flags, environment, file and defaults, in this order; a typo is an error that helps."""

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from support.kit import seal
from support.retail import RETAIL

from jobs.config.load import load, load_policy
from jobs.config.settings import Settings, duckdb_path, masked
from jobs.operations import scaffold as initial
from marts.errors import UsageError
from marts.policy import EnginePolicy, Policy, numbers_of, read_policy


def write(name: str, text: str) -> str:
    Path(name).write_text(text)
    return name


def test_flags_win_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    write("marts.toml", 'source = "file"\ntarget = "file"\nstate = "file"\n[s3]\nregion = "file"\nendpoint = "file"\n')
    monkeypatch.setenv("MARTS_TARGET", "env")
    monkeypatch.setenv("MARTS_STATE", "env")
    monkeypatch.setenv("MARTS_S3__REGION", "env")
    settings = load(None, {"state": "flag", "as_of": "2024-03-31", "policy": None})
    assert (settings.source, settings.target, settings.state) == ("file", "env", "flag")
    assert (settings.s3.region, settings.s3.endpoint, settings.s3.path_style) == ("env", "file", True)
    assert settings.as_of == date(2024, 3, 31)
    write("marts.toml", "as_of = 2024-03-30")
    assert load(None, {}).as_of == date(2024, 3, 30)
    assert load(None, {"as_of": "month-end"}).as_of == "month-end"


def test_a_file_can_be_named_by_flag_and_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.toml", 'source = "a"')
    write("b.toml", 'source = "b"')
    monkeypatch.setenv("MARTS_CONFIG", "b.toml")
    assert load("a.toml", {}).source == "a"
    assert load(None, {}).source == "b"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sorce = "x"', "unknown key 'sorce', did you mean 'source'?"),
        ("[s3]\nendpiont = 1", "unknown key 's3.endpiont', did you mean 'endpoint'?"),
        ("[s4]\nendpoint = 1", "unknown key 's4', did you mean 's3'?"),
        ('as_of = "31.03.2024"', "as_of"),
        ('mart = "products"', "mart"),
        ('[csv]\ndelimiter = ";"', "[csv] is no longer a setting"),
        (
            '[[source]]\nmatch = "a/**"\n[[source]]\ndelimter = ";"',
            "'[[source]] 2: delimter', did you mean",
        ),
        ('[[source]]\ndelimiter = "ab"', "[[source]] 1: delimiter"),
        ("[[source]]\ndelimiter = '\"'", "delimiter and quote are the same character"),
        ('[[source]]\nkind = "salse"', "unknown kind 'salse'; did you mean 'sales'?"),
        ('[[source]]\ndates = ["%d.%m"]', "must name day, month and year"),
        ('[[source]]\nencoding = "cp125"', "is not an encoding"),
        ('[[source]]\nencoding = "punycode"', "is no encoding of files"),
        ('[[source]]\nconstants = {"Store ID" = 1, store_id = 2}', "give a column twice: Store ID, store_id"),
        ('[[source]]\nconstants = {day = 1}\nfrom_path = "(?P<day>.)"', "give a column twice: day, day"),
        ('[[source]]\ncompute = {price = "a"}\nconstants = {Price = 2}', "give a column twice: Price, price"),
        ('[[source]]\ncolumns = {Umsatz = "price", umsatz = "total_cost"}', "columns names a column twice"),
        ('[[source]]\ncompute = {price = "upper(a, b)"}', "cannot be computed: "),
        ('[[source]]\ntimezone = "Kolkata"', "is not a time zone"),
        ('[[source]]\nfooter = "("', "is not a regular expression"),
        ('[[source]]\nfrom_path = "dt="', "names no column"),
        ('[[source]]\nthousands = "."', "thousands and decimal are the same character"),
        ('source = "x"\n[[source]]\n', "is not TOML"),
        ('source = "x"\n[drops]\nsource = "y"', "source and drops.source are both set"),
        ('[dimensions]\ncustomers = "postgres://x"', "dimensions: customers"),
        ("source = ", "is not TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_the_nearest_right_one(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(write("x.toml", text), {})
    assert message in str(caught.value)
    assert "x.toml" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("MARTS_SORCE", "did you mean MARTS_SOURCE?"),
        ("MARTS_S3__ENDPONT", "did you mean MARTS_S3__ENDPOINT?"),
        ("MARTS_LIMTS__FINISH_ROWS", "did you mean MARTS_LIMITS__FINISH_ROWS?"),
        ("MARTS_S3__REGION__X", "MARTS_S3__REGION has no settings below it"),
        ("MARTS_SOURCE__X", "MARTS_SOURCE has no settings below it"),
        ("MARTS_ZZZ", "known: MARTS_ANALYTICS, MARTS_AS_OF, "),
    ],
)
def test_an_unknown_variable_is_an_error_too(monkeypatch: pytest.MonkeyPatch, variable: str, message: str) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(UsageError, match="unknown environment variable") as caught:
        load(None, {})
    assert message in caught.value.hint
    assert caught.value.where == variable


NO_DAY = "is not a date, such as 2025-12-31, nor today, yesterday, monday or month-end"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('as_of = "31.12.2025"', f"as_of: '31.12.2025' {NO_DAY}"),
        ("as_of = 5", f"as_of: '5' {NO_DAY}"),
        ('[limits]\nfinish_rows = "many"', "limits.finish_rows: 'many' is not a whole number"),
        ("[limits]\nfinish_rows = 0", "limits.finish_rows: must be greater than or equal to 1"),
        ('[quality]\njudge = "perhaps"', "quality.judge: 'perhaps' is not true or false"),
        ("[limits]\nfinish_rows = 1.5", "limits.finish_rows: 1.5 is not a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_is_explained_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(write("x.toml", text), {})
    assert caught.value.what == message


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load("nowhere.toml", {})


def test_a_missing_setting_lists_the_places_that_were_looked_at() -> None:
    with pytest.raises(UsageError, match="source is not set") as caught:
        load(None, {}).require("source")
    for place in ("--source", "MARTS_SOURCE", "marts.toml"):
        assert place in caught.value.hint


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_S3__SECRET_KEY", "canary")
    monkeypatch.setenv("MARTS_MYSQL__PASSWORD", "canary")
    settings = load(None, {})
    assert settings.s3.secret_key
    assert "canary" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    ("uri", "masked_uri"),
    [
        ("mysql://me:pa%3Ass@host:3306/db", "mysql://me:***@host:3306/db"),
        ("mysql://me@host/db", "mysql://me@host/db"),
        ("duckdb:///x", "duckdb:///x"),
        (None, ""),
    ],
)
def test_an_address_is_shown_without_its_password(uri: str | None, masked_uri: str) -> None:
    assert masked(uri) == masked_uri


@pytest.mark.parametrize(
    ("uri", "path"),
    [("duckdb:///a/b.duckdb", "/a/b.duckdb"), ("duckdb:////a/b", "/a/b"), ("duckdb://b.duckdb", "b.duckdb")],
)
def test_a_duckdb_address_names_a_file(uri: str, path: str) -> None:
    assert duckdb_path(uri) == path


@pytest.mark.parametrize("uri", ["duckdb://", "duckdb:///", "duckdb:x"])
def test_a_duckdb_address_without_a_file_is_an_error(uri: str) -> None:
    with pytest.raises(UsageError, match="names no DuckDB file"):
        duckdb_path(uri)


@pytest.mark.parametrize(
    ("flags", "state"),
    [
        ({"target": "duckdb:///a/b.duckdb"}, "/a/_marts"),
        ({"target": "mysql://u@h/d", "source": "s3://b/in/"}, "s3://b/in/_marts"),
        ({"target": "mysql://u@h/d", "source": "/drops", "state": "/x"}, "/x"),
    ],
)
def test_the_state_has_a_natural_place(flags: dict[str, str], state: str) -> None:
    assert load(None, flags).state_uri == state


def test_a_state_without_a_natural_place_must_be_set() -> None:
    with pytest.raises(UsageError, match="state is not set"):
        _ = load(None, {"target": "mysql://u@h/d", "source": "/drops"}).state_uri


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"incentive_rte": 1}, "did you mean 'incentive_rate'?"),
        ({"segments": [{"name": "a", "inactiv": True}]}, "did you mean 'inactive'?"),
        ({"segments": [{"name": "a", "inactive": True}]}, "segments: the last one must have no condition"),
        ({"segments": []}, "the last one"),
        ({"business_timezone": "Mars/Base"}, "is not a time zone"),
        ({"incentive_rate": 1.5}, "incentive_rate"),
        ({"max_bad_ratio": -1}, "max_bad_ratio"),
    ],
)
def test_a_wrong_policy_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_policy(values, "policy.toml", RETAIL)
    assert message in str(caught.value)


def test_equal_policies_have_equal_names() -> None:
    assert Policy().digest() == read_policy({}, "x", RETAIL).digest()
    assert Policy().digest() != read_policy({"inactive_after_days": 90}, "x", RETAIL).digest()


def test_init_writes_files_that_name_every_option_and_change_nothing() -> None:
    settings_file, policy_file = initial.write(Path(), RETAIL)
    fresh = load(str(settings_file), {})
    assert fresh.policy == "policy.toml"
    assert (fresh.source, fresh.target) == ("./drops", "duckdb://marts.duckdb")
    assert load_policy(load(None, {"policy": str(policy_file)})) == Policy()
    text = settings_file.read_text() + policy_file.read_text()
    for name in (
        *Settings.model_fields,
        *EnginePolicy.model_fields,
        *numbers_of(RETAIL, Policy()),
        "endpoint",
        "password",
        "delimiter",
        "loaders",
    ):
        assert name in text


def test_the_options_that_init_writes_are_right_when_uncommented() -> None:
    for path in initial.write(Path(), RETAIL):
        lines = [line.removeprefix("# ") for line in path.read_text().splitlines()]
        options = [line for line in lines if line.startswith("[") or (" = " in line and not line.endswith(' = ""'))]
        values = tomllib.loads("\n".join(line for line in options if not line.startswith("Every")))
        if path.name == "policy.toml":
            assert read_policy(values, path.name, RETAIL) == Policy()
        else:
            Path("all.toml").write_text("\n".join(options))
            assert load("all.toml", {}).limits.split_bytes == 32 << 20


def test_init_never_overwrites() -> None:
    initial.write(Path(), RETAIL)
    with pytest.raises(UsageError, match="already exists"):
        initial.write(Path(), RETAIL)


def test_addresses_of_notices_are_sealed_or_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in seal(tmp_path, {"notify.to.mail": "mailtos://u:p@h", "notify.heartbeat": "https://x"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MARTS_NOTIFY__TO__CHAT", "slack://a/b/c")
    (tmp_path / "marts.toml").write_text(
        '[notify]\nonly = { mail = ["failed"] }\n[notify.to]\nhook = "json://host/x"\n'
    )
    notify = load(None, {}).notify
    assert sorted(notify.to) == ["chat", "hook", "mail"]
    assert [notify.to[name].reveal() for name in ("chat", "hook", "mail")] == [
        "slack://a/b/c",
        "json://host/x",
        "mailtos://u:p@h",
    ]
    assert notify.heartbeat
    assert notify.heartbeat.reveal() == "https://x"
    assert "slack" not in repr(notify)


@pytest.mark.usefixtures("all_marts")
def test_alerts_of_the_pack_are_events(tmp_path: Path) -> None:
    (tmp_path / "marts.toml").write_text('pack = "banking"\n[notify]\non = ["failed", "fraud", "alert"]\n')
    assert load(None, {}).notify.on == ("failed", "fraud", "alert")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[notify.to]\nops = "slack://a/b/c"', "may contain a credential"),
        ('[notify.to]\nops = "json://user:secret@host"', "may contain a credential"),
        ('[notify]\nheartbeat = "https://hc.test/abc"', "must not contain a credential"),
        ('[notify]\nonly = { nobody = ["failed"] }', "an unknown address"),
        ('[notify]\non = ["failures"]', "on: 'failures' is no event, and no alert of the pack retail; did you mean"),
        ('[notify]\non = ["fraud"]', "on: 'fraud' is no event, and no alert of the pack retail"),
        ('pack = "banking"\n[notify]\non = ["fruad"]', "alert of the pack banking; did you mean 'fraud'?"),
        ('pack = "banking"\n[notify]\nonly = { a = ["x"] }', "notify: only.a: 'x' is no event"),
        ('pack = "banking"\n[notify]\nonly = { a = ["x"] }', "alert, recovered, success, fraud, ledger"),
        ('[notify.to]\nops = "sealed:notify.to.ops"', "does not exist"),
    ],
)
def test_wrong_notify_settings_are_refused_without_the_credential(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "marts.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load(None, {})
    assert message in f"{caught.value} {caught.value.hint}"
    assert "a/b/c" not in str(caught.value)
    assert "secret@" not in str(caught.value)
