"""`marts secrets …` as people use it; where credentials come from, and in which order."""

import base64
import json
import os
import pickle
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.kit import Place, marts, seal
from support.servers import ACCESS_KEY, PASSWORD, SECRET_KEY, MariaDB, S3Server
from typer.testing import CliRunner

from jobs.adapters.store.open import open_store
from jobs.adapters.warehouse.open import open_warehouse
from jobs.cli.app import app
from jobs.config import sealed, secret
from jobs.config.load import load, vault_of
from jobs.config.secret import Secret, Vault, open_vault
from jobs.config.settings import S3
from jobs.operations import vault
from jobs.operations.seal import check_seal
from jobs.runtime.scrub import scrub
from marts.errors import MartsError, UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody with a home of their own, and nothing in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@dataclass(frozen=True)
class Output:
    stdout: str
    stderr: str


def run(*arguments: str, given: str = "", code: int = 0) -> Output:
    """Run `marts secrets …`; nothing that an earlier one has opened is open."""
    secret._opened.cache_clear()
    done = CliRunner().invoke(app, ["secrets", *arguments], input=given)
    error = done.exception
    exit_code = error.exit_code if isinstance(error, MartsError) else done.exit_code
    assert exit_code == code, done.output
    return Output(done.stdout, done.stderr + (f"{error} {error.hint}" if isinstance(error, MartsError) else ""))


def test_from_nothing_to_a_sealed_value_in_two_commands(home: Path) -> None:
    run("init")
    result = run("set", "mysql.password", given="hunter-two\n")
    assert "hunter" not in result.stdout + result.stderr
    assert "hunter" not in (home / "secrets/credentials.json").read_text()
    key = home / "home/.config/martwright/key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert run("show", "mysql.password", "--reveal").stdout == "hunter-two\n"
    assert "hunter" not in run("show", "mysql.password").stderr
    listed = run("list").stdout
    assert "mysql.password" in listed
    assert "revision 2" in listed
    assert "is intact: revision 2, 1 values" in run("verify").stdout


def test_a_process_of_its_own_reads_the_value_from_a_pipe(home: Path) -> None:
    command = f"{Path(sys.executable).parent}/marts secrets"
    script = f"{command} init && printf 'hunter-two\\n' | {command} set name && {command} show name --reveal"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "hunter-two\n"
    refused = subprocess.run(
        ["bash", "-c", f"{command} show nothing"], check=False, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2
    assert "the sealed file has no such value" in refused.stderr


def test_nothing_is_overwritten(home: Path) -> None:
    run("init")
    assert "already exists" in run("init", code=2).stderr
    assert "already exists" in run("keygen", code=2).stderr


def test_a_value_is_never_an_argument(home: Path) -> None:
    run("init")
    assert "unexpected extra argument" in run("set", "mysql.password", "hunter-two", code=2).stderr


def test_an_empty_value_and_one_that_is_too_long_are_refused(home: Path) -> None:
    run("init")
    assert "the value is empty" in run("set", "name", given="\n", code=2).stderr
    assert "longer than" in run("set", "name", given="x" * 70_000, code=2).stderr
    assert "is not a valid name" in run("set", "a name", given="x", code=2).stderr


def test_somebody_else_opens_it_with_a_key_of_their_own(home: Path) -> None:
    public = run("keygen", "--key", "theirs.pem").stdout.strip()
    run("init")
    run("set", "name", given="value")
    refused = run("show", "name", "--reveal", "--key", "theirs.pem", code=2).stderr
    assert "cannot open it" in refused
    assert "these can: the key" in refused
    run("add-key", "friend", public)
    assert run("show", "name", "--reveal", "--key", "theirs.pem").stdout == "value\n"
    run("remove-key", "friend")
    run("show", "name", "--reveal", "--key", "theirs.pem", code=2)
    assert (
        "is the last key that can open the file"
        in run("remove-key", json.loads(run("list", "--json").stdout)["keys"].popitem()[0], code=2).stderr
    )


def test_a_passphrase_opens_it_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARTS_SECRETS__PASSPHRASE", "open sesame")
    run("init", "--passphrase", "--name", "team")
    run("set", "name", given="value")
    assert run("show", "name", "--reveal").stdout == "value\n"
    monkeypatch.setenv("MARTS_SECRETS__PASSPHRASE", "close sesame")
    assert "the passphrase 'team'" in run("show", "name", "--reveal", code=2).stderr


def test_a_new_key_replaces_the_old_one(home: Path) -> None:
    run("init")
    run("set", "name", given="value")
    before = (home / "home/.config/martwright/key.pem").read_bytes()
    run("rotate")
    assert run("show", "name", "--reveal").stdout == "value\n"
    assert (home / "home/.config/martwright/key.pem").read_bytes() != before
    run("show", "name", "--key", str(home / "home/.config/martwright/key.pem.old"), code=2)


def test_all_values_are_edited_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("init")
    run("set", "odd", given='quote " back \\ slash\nnew line \x7f \u202e ü 🔑')
    editor = home / "editor"
    monkeypatch.setenv("EDITOR", str(editor))
    editor.write_text('#!/bin/sh\necho \'"more" = "x"\' >> "$1"; stat -c %a "$1" > mode; echo "$1" > where\n')
    editor.chmod(0o700)
    run("edit")
    assert set(json.loads(run("list", "--json").stdout)["values"]) == {"odd", "more"}
    assert run("show", "odd", "--reveal").stdout == 'quote " back \\ slash\nnew line \x7f \u202e ü 🔑\n'
    assert (home / "mode").read_text() == "600\n"
    assert not Path((home / "where").read_text().strip()).exists()
    editor.write_text("#!/bin/sh\necho 'canary' > \"$1\"\n")
    refused = run("edit", code=2).stderr
    assert "nothing was changed" in refused
    assert "canary" not in refused
    editor.write_text("#!/bin/sh\nexit 1\n")
    assert "the editor failed" in run("edit", code=2).stderr
    editor.write_text("#!/bin/sh\ntrue\n")
    assert "nothing was changed" in run("edit").stderr


def test_a_plain_file_is_sealed_under_the_names_that_settings_look_for(home: Path) -> None:
    Path(".env").write_text(
        "# keys\nexport MARTS_S3__SECRET_KEY='a b'\nAWS_ACCESS_KEY_ID=id\n\nMYSQL_PWD=\"p=1\"\nmail=x\nempty=\n"
        "MARTS_NOTIFY__TO__OPS=json://host\n"
    )
    run("init")
    run("import-plain", ".env")
    values = {
        name: run("show", name, "--reveal").stdout
        for name in ("s3.secret_key", "s3.access_key", "mysql.password", "mail")
    }
    assert run("show", "notify.to.ops", "--reveal").stdout == "json://host\n"
    assert values == {"s3.secret_key": "a b\n", "s3.access_key": "id\n", "mysql.password": "p=1\n", "mail": "x\n"}
    Path(".env").write_text("canary")
    refused = run("import-plain", ".env", code=2).stderr
    assert "line 1" in refused
    assert "canary" not in refused


def test_a_kubernetes_secret_opens_as_it_is_mounted(home: Path) -> None:
    run("init")
    run("set", "name", given="value")
    text = run("export-k8s", "--name", "marts", "--namespace", "data").stdout
    data = dict(line.split(": ") for line in text.splitlines() if line.startswith("  ") and "." in line)
    mounted = home / "mounted"
    mounted.mkdir()
    for name, value in data.items():
        (mounted / name.strip()).write_bytes(base64.b64decode(value))
    (mounted / "key.pem").chmod(0o600)
    assert (
        run("show", "name", "--reveal", "--file", "mounted/credentials.json", "--key", "mounted/key.pem").stdout
        == "value\n"
    )
    assert 'namespace: "data"' in text


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o666, 0o700])
def test_a_key_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    run("init")
    key = home / "home/.config/martwright/key.pem"
    key.chmod(mode)
    refused = run("set", "name", given="value", code=2).stderr
    assert "other users can read this key" in refused
    assert "chmod 600" in refused


def test_values_that_two_people_set_at_once_are_all_there(tmp_path: Path) -> None:
    where = _sealed(tmp_path, {})
    threads = [
        threading.Thread(
            target=lambda n=n: vault.change(where, "t", lambda held: vault.with_values(held, {f"n{n}": "x"}))
        )
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = open_vault(where)
    assert (len(held.values), held.revision) == (12, 14)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["credentials.json", "key.pem"]


def _sealed(folder: Path, values: dict[str, str]) -> Vault:
    variables = seal(folder, values)
    return Vault(variables["MARTS_SECRETS__FILE"], variables["MARTS_SECRETS__KEY_FILE"])


# Where credentials come from


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """A sealed file with what a build needs, named by the environment."""
    (tmp_path / "sealed").mkdir()
    values = {
        "s3.access_key": ACCESS_KEY,
        "s3.secret_key": SECRET_KEY,
        "mysql.password": PASSWORD,
        "other": "else-where",
    }
    for name, value in seal(tmp_path / "sealed", values).items():
        monkeypatch.setenv(name, value)
    return vault_of(load(None, {}))


def test_a_sealed_value_wins_over_the_platform_and_that_over_the_environment(
    credentials: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MARTS_MYSQL__PASSWORD", "from-environment")
    monkeypatch.setenv("MARTS_S3__SECRET_KEY", "from-environment")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    (tmp_path / "my.cnf").write_text("[client]\nuser=x\npassword='from-option-file'\n")
    options = {"mysql": {"option_file": str(tmp_path / "my.cnf")}}
    both = load(None, options)
    assert both.mysql.password.reveal() == PASSWORD
    assert both.s3.secret_key.reveal() == SECRET_KEY
    monkeypatch.setenv("MARTS_SECRETS__FILE", str(tmp_path / "none.json"))
    platform = load(None, options)
    assert platform.mysql.password.reveal() == "from-option-file"
    assert platform.s3.secret_key is None
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    plain = load(None, {})
    assert plain.mysql.password.reveal() == "from-environment"
    assert plain.s3.secret_key.reveal() == "from-environment"


def test_a_setting_and_an_address_may_name_any_sealed_value(credentials: Vault) -> None:
    settings = load(None, {"target": "mysql://me:sealed:other@db/marts", "s3": {"secret_key": "sealed:other"}})
    assert settings.target == "mysql://me@db/marts"
    assert settings.mysql.password.reveal() == "else-where"
    assert settings.s3.secret_key.reveal() == "else-where"
    with pytest.raises(UsageError, match="has no value 'othre'") as caught:
        load(None, {"s3": {"secret_key": "sealed:othre"}})
    assert "did you mean other?" in caught.value.hint


def test_a_password_in_an_address_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(None, {"target": "mysql://me:p%40ss@db:1/marts"})
    assert settings.target == "mysql://me@db:1/marts"
    assert settings.mysql.password.reveal() == "p@ss"
    assert b"p@ss" not in pickle.dumps(settings.mysql)
    assert "p@ss" not in f"{settings!r} {settings.model_dump_json()} {settings.model_dump()}"
    worker = pickle.loads(pickle.dumps(settings.mysql))
    monkeypatch.delenv("MARTWRIGHT_TARGET_PASSWORD")
    with pytest.raises(UsageError, match="is not set in this process") as caught:
        worker.password.reveal()
    assert "on every node" in caught.value.hint


@pytest.mark.parametrize(
    "text", ['[s3]\nsecret_key = "canary"', '[mysql]\npassword = "canary"', '[secrets]\npassphrase = "canary"']
)
def test_a_credential_in_a_settings_file_is_refused_without_printing_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "marts.toml").write_text(text)
    with pytest.raises(UsageError, match="a settings file must not contain") as caught:
        load(None, {})
    assert "canary" not in str(caught.value.args)
    (tmp_path / "marts.toml").write_text('[s3]\nsecret_key = "sealed:nothing"')
    with pytest.raises(UsageError, match="does not exist"):
        load(None, {})


def test_a_secret_is_its_place_wherever_it_goes(credentials: Vault) -> None:
    key = load(None, {}).s3.secret_key
    spelled = f"{key!r} {key} {key!s:>5} {key:>9} {S3(secret_key=key)!r} {S3(secret_key=key).model_dump_json()}"
    assert SECRET_KEY not in spelled
    assert "sealed:s3.secret_key" in spelled
    assert SECRET_KEY.encode() not in pickle.dumps(key)
    assert pickle.loads(pickle.dumps(key)).reveal() == SECRET_KEY
    plain = Secret(plain="canary")
    assert "canary" not in f"{plain!r} {plain} {plain:10}"
    with pytest.raises(UsageError, match="is not sent to workers"):
        pickle.dumps(plain)


@pytest.mark.parametrize(
    "text", ["password=canary", "[client]\npassword", "[mysqld]\npassword=canary", "[client\ncanary"]
)
def test_an_option_file_without_a_password_is_reported_without_its_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "my.cnf").write_text(text)
    password = load(None, {"mysql": {"option_file": str(tmp_path / "my.cnf")}}).mysql.password
    with pytest.raises(UsageError) as caught:
        password.reveal()
    assert "canary" not in str(caught.value.args)
    assert caught.value.__cause__ is None


def test_a_run_with_no_stored_secret_uses_the_identity_of_the_platform(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token_service: str
) -> None:
    (tmp_path / "token").write_text("who we are, says Kubernetes")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/marts")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", token_service)
    monkeypatch.setenv("MARTS_S3__ENDPOINT", s3_server.endpoint)
    bucket = s3_server.make_bucket("identity")
    store = open_store(f"s3://{bucket}/x", load(None, {}).s3)
    store.put("file", b"by its role")
    assert store.get("file") == b"by its role"
    assert store.using("file", lambda file: file.read()) == b"by its role"


@pytest.fixture
def token_service() -> Any:
    """What AWS's token service answers to a pod's token: here, with the keys of the tests' storage."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            assert "AssumeRoleWithWebIdentity" in asked
            text = f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
                <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{ACCESS_KEY}</AccessKeyId>
                <SecretAccessKey>{SECRET_KEY}</SecretAccessKey><SessionToken></SessionToken>
                <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
                </AssumeRoleWithWebIdentityResponse>""".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


# The file that the target knows


@pytest.fixture(params=["DuckDB", "MariaDB"])
def used(request: pytest.FixtureRequest, place: Place, credentials: Vault) -> Place:
    """A target that was built with a sealed file."""
    if request.param == "MariaDB":
        database: MariaDB = request.getfixturevalue("mariadb")
        name = f"seal_{os.urandom(4).hex()}"
        database.make_database(name)
        place.target = f"mysql://{name}@127.0.0.1:{database.port}/{name}"
    check(place)
    return place


def check(place: Place, remember: bool = True) -> None:
    settings = place.configured()
    warehouse = open_warehouse(settings.target or "", settings.mysql, settings.domain)
    try:
        check_seal(settings, warehouse, "2026-01-01T00:00:00", remember)
    finally:
        warehouse.close()


def test_an_old_copy_is_refused_by_the_target_that_saw_a_newer_one(used: Place, credentials: Vault) -> None:
    old = Path(credentials.file).read_bytes()
    vault.change(credentials, "t", lambda held: vault.with_values(held, {"more": "x"}))
    check(used)
    Path(credentials.file).write_bytes(old)
    with pytest.raises(UsageError, match="is an old copy: revision 2; 3 was used"):
        check(used)
    with pytest.raises(UsageError, match="is an old copy"):
        check(used, remember=False)


def test_a_file_that_somebody_else_made_for_our_key_is_refused(used: Place, credentials: Vault) -> None:
    recipients = sealed.look(Path(credentials.file).read_bytes(), "").recipients
    forged = vault.with_values(sealed.new_contents(recipients), dict(open_vault(credentials).values))
    Path(credentials.file).write_bytes(sealed.seal(forged, "t"))
    with pytest.raises(UsageError, match="is not the file that this target recorded"):
        check(used)


def test_a_restored_file_is_trusted_when_somebody_confirms_it(used: Place, credentials: Vault) -> None:
    old = Path(credentials.file).read_bytes()
    vault.change(credentials, "t", lambda held: held)
    check(used)
    Path(credentials.file).write_bytes(old)
    target = used.target or f"duckdb://{used.folder / 'marts.duckdb'}"
    assert "is an old copy" in str(marts("secrets", "verify", "--target", target, code=2).exception)
    assert "trusts" in marts("secrets", "trust", "--target", target).output
    assert "is not older than" in marts("secrets", "verify", "--target", target).output
    check(used)


# What is opened is taken out of all that is written


def test_values_are_taken_out_of_texts_however_they_are_spelled() -> None:
    value = 'p@ss/wörd "x"+1'
    Secret(plain=value).reveal()
    spellings = [
        value,
        "mysql://me:p%40ss%2Fw%C3%B6rd%20%22x%22%2B1@db",
        json.dumps({"password": value}),
        repr(value),
        base64.b64encode(value.encode()).decode(),
    ]
    for text in spellings:
        assert "rd" not in scrub(text).replace("***", "").replace("password", "")


def test_a_short_value_does_not_take_words_apart() -> None:
    Secret(plain="a").reveal()
    assert scrub("a database") == "a database"


def test_log_records_and_their_tracebacks_are_clean(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    from jobs.runtime.scrub import scrub_logs

    Secret(plain="canary-in-a-log").reveal()
    before = logging.getLogRecordFactory()
    scrub_logs()
    try:
        raise ValueError("canary-in-a-log")
    except ValueError:
        logging.getLogger("some.library").exception("failed with %s", "canary-in-a-log")
    finally:
        logging.setLogRecordFactory(before)
    assert "canary" not in caplog.text
    assert "ValueError: ***" in caplog.text


def test_an_error_of_the_product_prints_no_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.cli import app as cli

    Secret(plain="canary-in-an-error").reveal()
    for error in (
        UsageError("canary-in-an-error", "canary-in-an-error", "canary-in-an-error"),
        KeyError("canary-in-an-error"),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        with pytest.raises(SystemExit):
            cli.main()
        output = capsys.readouterr().err
        assert "***" in output
        assert "canary" not in output


def _raise(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_what_a_task_raises_prints_no_value() -> None:
    from jobs.adapters.ray.tasks import Task

    Secret(plain="canary-in-a-task").reveal()
    for error in (UsageError("canary-in-a-task"), RuntimeError("canary-in-a-task")):
        (block,) = Task(_raise(error), [(0, None)], {}, 20)()
        result = pickle.loads(block["result"].to_pylist()[0])
        assert isinstance(result, MartsError)
        assert "canary" not in str(result.args)


def test_the_example_opens_as_its_folder_says(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parent.parent.parent / "secrets"
    monkeypatch.setenv("MARTS_SECRETS__PASSPHRASE", "open sesame")
    assert run("show", "mysql.password", "--reveal", "--file", str(folder / "example.json")).stdout == "nor is this\n"
    assert not list(folder.rglob("*.py"))


# What a review found


@pytest.mark.parametrize("step", ["the file is saved", "a key is renamed"])
def test_a_rotation_that_was_killed_is_finished_by_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    run("init")
    run("set", "name", given="value")
    key = home / "home/.config/martwright/key.pem"

    def save_and_die(*arguments: Any, save: Callable[..., object] = vault._save) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    def die_or_move(path: Path, to: object, move: Callable[..., Path] = Path.replace) -> Path:
        if path == key:
            raise KeyboardInterrupt
        return move(path, to)

    with monkeypatch.context() as patched:
        where, name = (vault, "_save") if step == "the file is saved" else (Path, "replace")
        patched.setattr(where, name, save_and_die if where is vault else die_or_move)
        run("rotate", code=130)
    run("rotate")
    assert run("show", "name", "--reveal").stdout == "value\n"


def test_rotations_at_once_leave_a_key_that_opens_the_file(tmp_path: Path) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # a change between any two steps
    try:
        for number in range(5):
            (tmp_path / str(number)).mkdir()
            where = _sealed(tmp_path / str(number), {"name": "value"})
            threads = [threading.Thread(target=vault.rotate, args=(where, "t")) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert open_vault(where).values == {"name": "value"}
    finally:
        sys.setswitchinterval(before)


def test_a_file_that_would_be_too_large_is_not_saved(tmp_path: Path) -> None:
    where = _sealed(tmp_path, {"name": "value"})
    large = {f"n{number}": "x" * 65_000 for number in range(60)}
    with pytest.raises(UsageError, match="more than 4,194,304 bytes"):
        vault.change(where, "t", lambda held: vault.with_values(held, large))
    assert open_vault(where).values == {"name": "value"}


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    where = _sealed(tmp_path, {})
    link = tmp_path / "link.json"
    link.symlink_to(where.file)
    vault.change(Vault(str(link), where.key_file), "t", lambda held: vault.with_values(held, {"name": "value"}))
    assert link.is_symlink()
    assert open_vault(where).values == {"name": "value"}


def test_an_old_file_is_not_trusted_any_more_when_another_is(used: Place, credentials: Vault) -> None:
    old = Path(credentials.file).read_bytes()
    Path(credentials.file).unlink()
    target = used.target or f"duckdb://{used.folder / 'marts.duckdb'}"
    values = {"s3.access_key": ACCESS_KEY, "s3.secret_key": SECRET_KEY, "mysql.password": PASSWORD}
    vault.create(credentials, (vault.recipient_of(credentials.key_file, "new"),), "t")
    vault.change(credentials, "t", lambda held: vault.with_values(held, values))
    marts("secrets", "trust", "--target", target)
    check(used)
    Path(credentials.file).write_bytes(old)
    vault.change(credentials, "t", lambda held: held)
    vault.change(credentials, "t", lambda held: held)
    with pytest.raises(UsageError, match="is not the file that this target recorded"):
        check(used)


def test_a_passphrase_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="shorter than 8"):
        sealed.passphrase_recipient("team", "")


def test_a_number_that_is_no_point_of_the_curve_is_no_public_key() -> None:
    with pytest.raises(UsageError, match="is not a public key"):
        sealed.public_from_text("x25519:" + base64.b64encode(bytes(32)).decode())


def test_a_secret_in_the_cause_of_an_error_does_not_leave_the_task() -> None:
    from jobs.adapters.ray.tasks import Task

    def fail(_: object) -> None:
        try:
            raise RuntimeError("connect(password='canary-in-a-cause')")
        except RuntimeError as error:
            raise ValueError("something failed") from error

    Secret(plain="canary-in-a-cause").reveal()
    (block,) = Task(fail, [(0, None)], {}, 20)()
    assert "canary" not in str(pickle.loads(block["result"].to_pylist()[0]).args)


def test_a_password_in_an_address_of_a_settings_file_is_refused(tmp_path: Path) -> None:
    for text in ('target = "mysql://u:canary@h/d"', '[dimensions]\ncustomers = "mysql://u:canary@h/d/t"'):
        (tmp_path / "marts.toml").write_text(text)
        with pytest.raises(UsageError, match="a settings file must not contain") as caught:
            load(None, {})
        assert "canary" not in str(caught.value.args)


def test_what_the_settings_file_seals_wins_over_the_environment(
    credentials: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "marts.toml").write_text('[mysql]\npassword = "sealed:other"')
    monkeypatch.setenv("MARTS_MYSQL__PASSWORD", "from-environment")
    assert load(None, {}).mysql.password.reveal() == "else-where"


def test_a_client_certificate_without_an_authority_is_refused() -> None:
    with pytest.raises(UsageError, match="ssl_ca"):
        load(None, {"mysql": {"ssl_cert": "client.pem"}})


def test_a_log_call_with_wrong_arguments_does_not_fail_its_caller() -> None:
    import logging

    from jobs.runtime.scrub import scrub_logs

    before = logging.getLogRecordFactory()
    scrub_logs()
    try:
        logging.getLogger("x").makeRecord("x", 30, "f", 1, "%d %d", ("a",), None)
    finally:
        logging.setLogRecordFactory(before)
