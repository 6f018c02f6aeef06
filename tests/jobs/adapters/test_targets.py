"""From a real S3 server into a real MariaDB: the same marts as everywhere, loaded in bulk, live at once."""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.kit import Place, as_golden, golden, line, sales
from support.retail import CUSTOMERS_MART, MARTS, RETAIL
from support.servers import MariaDB, S3Server

from jobs.adapters.store.open import open_store
from jobs.adapters.warehouse.mysql import MySQLWarehouse
from jobs.config.load import load
from jobs.config.secret import Secret
from jobs.config.settings import S3, MySQL
from jobs.config.suites import read_file
from jobs.ports.records import Decision, Staged
from jobs.state.parquet import read_parquet, write_parquet
from marts.errors import ObjectChanged, ServiceError, TryLater, UsageError
from marts.policy import Policy
from marts.retail.generate import generate


@pytest.fixture
def database(mariadb: MariaDB, request: pytest.FixtureRequest) -> str:
    names = request.node.name.replace("[", "_").replace("]", "").replace("-", "_")
    return mariadb.make_database(f"d{abs(hash(names)) % 10**12}")


@pytest.fixture
def bucket(s3_server: S3Server, request: pytest.FixtureRequest) -> str:
    return s3_server.make_bucket(f"b{abs(hash(request.node.name)) % 10**12}")


@pytest.fixture
def in_s3(place: Place, s3_server: S3Server, bucket: str, database: str) -> Place:
    """A place whose drops and state are in a bucket, and whose target is MariaDB."""
    place.put_golden()
    s3_server.upload(place.source, bucket, "in")
    place.target = database
    place.settings = {"source": f"s3://{bucket}/in", "state": f"s3://{bucket}/in/_marts", "s3": s3_server.settings}
    return place


@pytest.fixture
def warehouse(database: str) -> Iterator[MySQLWarehouse]:
    opened = MySQLWarehouse(database, MySQL(), RETAIL)
    opened.prepare()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", ["customers", "sales_team"])
def test_the_golden_marts_come_out_of_a_bucket_into_mariadb(in_s3: Place, name: str) -> None:
    report = in_s3.build()
    assert (report.outcome, report.exit_code) == ("published", 0)
    wanted = golden(name)
    columns = [column.name for column in MARTS[name].columns]
    assert as_golden(in_s3.mart(name), columns, list(wanted[0])) == wanted
    assert in_s3.build().outcome == "unchanged"


def test_a_drop_that_arrives_in_the_bucket_is_picked_up(in_s3: Place, s3_server: S3Server, bucket: str) -> None:
    in_s3.build()
    text = sales(line("N1", day="2024-02-03")).encode()
    s3_server.client().put_object(Bucket=bucket, Key="in/sales/2024/new.csv", Body=text)
    report = in_s3.build()
    assert (report.totals.scanned, report.months_rolled_up) == (1, ("2024-02",))


def test_both_targets_hold_the_same_rows(tmp_path: Path, database: str) -> None:
    place = Place(tmp_path, policy=Policy(), as_of=date(2025, 12, 31))
    generate(place.source, 20_000, seed=3)
    assert place.build().error is None
    embedded = place.marts()
    place.target = database
    assert place.build().error is None
    assert place.marts() == embedded
    assert len(embedded["customers"]) > 5000


@pytest.mark.parametrize("load_data", [True, False])
def test_rows_of_every_shape_arrive_as_they_are(tmp_path: Path, database: str, load_data: bool) -> None:
    place = Place(tmp_path, target=database, settings={"mysql": {"load_data": load_data}})
    place.put_golden()
    place.put(
        "customers/new.csv",
        "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date\n"
        '1,NULL,\\N,"C:\\new\\table, ""quoted""\nsecond line",,,\n'
        '2,Zoë,李小龍,"tab\there",,😀,\n3,"O\'Neil ""\\N",", NULL",,,,\n4,a,b,\\,,NULL,\n5,c,d,,,,\n6,e,f,,,,\n',
    )
    assert place.build().error is None
    rows = {row[0]: row[1:4] for row in place.mart("customers")}
    assert rows[1] == ("NULL \\N", 'C:\\new\\table, "quoted"\nsecond line', None)
    assert rows[2] == ("Zoë 李小龍", "tab\there", "😀")
    assert rows[3][0] == "O'Neil \"\\N , NULL"
    assert rows[4] == ("a b", "\\", "NULL")


def test_a_server_that_forbids_local_files_is_loaded_by_inserts(
    tmp_path: Path, database: str, mariadb: MariaDB
) -> None:
    connection = mariadb.connect()
    cursor = connection.cursor()
    cursor.execute("SELECT @@global.local_infile")
    ((before,),) = cursor.fetchall()
    cursor.execute("SET GLOBAL local_infile = 0")
    try:
        place = Place(tmp_path, target=database)
        place.put_golden()
        assert place.build().error is None
        assert len(place.mart("customers")) == len(golden("customers"))
    finally:
        cursor.execute(f"SET GLOBAL local_infile = {before}")
        connection.close()


def test_readers_look_up_a_customer_by_an_index(tmp_path: Path, database: str, mariadb: MariaDB) -> None:
    place = Place(tmp_path, target=database)
    place.put_golden()
    place.build()
    name = database.rpartition("/")[2]
    with closing(mariadb.connect(name)) as connection, connection.cursor(dictionary=True) as cursor:
        cursor.execute("EXPLAIN FORMAT=TRADITIONAL SELECT * FROM customers_data_mart WHERE customer_id = 1")
        explained = [(row["type"], row["key"], int(row["rows"])) for row in cursor.fetchall()]
    assert explained == [("const", "PRIMARY", 1), ("ref", "PRIMARY", 4)]


def test_indexes_are_created_used_kept_up_and_dropped(tmp_path: Path, database: str, mariadb: MariaDB) -> None:
    place = Place(tmp_path, target=database)
    name = database.rpartition("/")[2]
    query = "EXPLAIN FORMAT=TRADITIONAL SELECT COUNT(*) FROM customers_data_mart WHERE customer_segment = 'x'"

    def built(*indexes: list[str]) -> tuple[list[str], str]:
        """Build with these indexes; return those of the table, and the one that a reader uses."""
        place.settings = {"marts": {"customers": {"indexes": indexes}}}
        assert place.build().error is None
        with closing(mariadb.connect(name)) as connection, connection.cursor(dictionary=True) as cursor:
            cursor.execute("SHOW INDEX FROM customers_data_mart_rows")
            names = {row["Key_name"]: None for row in cursor.fetchall()}
            cursor.execute(query)
            return list(names), [str(row["key"]) for row in cursor.fetchall()][-1]

    place.put_golden()
    assert built(["customer_segment"]) == (["PRIMARY", "marts_by_customer_segment"], "marts_by_customer_segment")
    wide = ["customer_segment", "full_name", "first_purchase_month", "last_purchase_month"]
    names, used = built(["address"], wide)  # a long text, and a long name
    assert names[0] == "PRIMARY"
    assert names[1] == "marts_by_address"
    assert len(names) == 3
    assert used == names[2]
    rows = place.mart("customers")
    assert built() == (["PRIMARY"], "PRIMARY")
    assert place.mart("customers") == rows


@pytest.mark.parametrize(
    ("marts", "says"),
    [
        ({"customer": {"indexes": [["full_name"]]}}, "did you mean 'customers'"),
        ({"customer": {}}, "did you mean 'customers'"),
        ({"customers": {"indexes": [["segment"]]}}, "customers.indexes: unknown column 'segment'"),
        ({"customers": {"indexes": [[]]}}, "an index has one column or more"),
        ({"customers": {"indexes": [["full_name", "full_name"]]}}, "an index has one column or more, each once"),
        ({"customers": {"index": []}}, "index"),
    ],
)
def test_an_index_that_cannot_be_is_refused(marts: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(None, {"marts": marts})
    assert says in f"{refused.value} {refused.value.hint}"


def test_loading_the_same_rows_twice_changes_nothing(tmp_path: Path, warehouse: MySQLWarehouse) -> None:
    place = Place(tmp_path)
    place.put_golden()
    place.build()
    from marts.compute.engine import mart_schema

    schema = mart_schema(CUSTOMERS_MART)
    import pyarrow as pa

    columns = list(zip(*place.mart("customers"), strict=True))
    rows = pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    generation = warehouse.stage(CUSTOMERS_MART)
    warehouse.load(CUSTOMERS_MART, generation, rows)
    warehouse.load(CUSTOMERS_MART, generation, rows)
    staged = Staged(CUSTOMERS_MART, generation, "", rows.num_rows, "")
    assert warehouse.count(staged)[0] == rows.num_rows
    assert warehouse.execute("SELECT COUNT(*) FROM customers_data_mart") == [(0,)]


def test_two_generations_are_kept_and_older_ones_go(tmp_path: Path, database: str, warehouse: MySQLWarehouse) -> None:
    place = Place(tmp_path, target=database)
    place.put_golden()
    for number in range(4):
        place.put(f"sales/{number}.csv", sales(line(f"N{number}", day="2024-02-03", quantity=number + 1)))
        place.build()
    kept = warehouse.execute("SELECT DISTINCT generation FROM customers_data_mart_rows ORDER BY 1")
    live = warehouse.live()["customers"].generation
    assert len(kept) == 2
    assert kept[-1] == (live,)


def test_dimensions_can_be_tables_of_a_database(tmp_path: Path, database: str, warehouse: MySQLWarehouse) -> None:
    warehouse.execute(
        "CREATE TABLE crm_customers (CUSTOMER_ID INT, first_name TEXT, last_name TEXT, address TEXT, pincode TEXT, "
        "phone_number TEXT, customer_joining_date DATE, secret TEXT)"
    )
    warehouse.execute(
        "INSERT INTO crm_customers VALUES (1, 'Asha', 'Räo', NULL, NULL, '1,2', '2023-01-01', 'x'), "
        "(2, 'Ben', 'Iyer', 'a\nb', NULL, NULL, NULL, ''), (3, 'C', 'D', '', '', '', NULL, ''), "
        "(4, 'E', 'F', '', '', '', NULL, ''), (5, 'G', 'H', '', '', '', NULL, ''), (6, 'I', 'J', '', '', '', NULL, '')"
    )
    place = Place(tmp_path, settings={"dimensions": {"customers": f"{database}/crm_customers"}})
    place.put_golden()
    assert place.build().error is None
    names = {row[0]: row[1] for row in place.mart("customers")}
    assert (names[1], names[2]) == ("Asha Räo", "Ben Iyer")
    assert place.build().outcome == "unchanged"
    warehouse.execute("UPDATE crm_customers SET last_name = 'Rao' WHERE CUSTOMER_ID = 1")
    assert place.build().outcome == "published"
    assert place.mart("customers")[0][1] == "Asha Rao"


def test_a_dimension_table_without_a_column_is_an_error_that_names_it(
    tmp_path: Path, database: str, warehouse: MySQLWarehouse
) -> None:
    warehouse.execute("CREATE TABLE people (id INT, first_name TEXT)")
    place = Place(tmp_path, settings={"dimensions": {"sales_team": f"{database}/people"}})
    place.put_golden()
    report = place.build()
    assert report.error
    assert report.exit_code == 65
    assert "missing column: last_name" in report.error.what
    assert "cret" not in report.error.where


def test_a_second_build_waits_for_the_lock_and_then_reports_it(database: str, warehouse: MySQLWarehouse) -> None:
    other = MySQLWarehouse(database, MySQL(), RETAIL)
    with warehouse.lock(0), pytest.raises(TryLater, match="another build"), other.lock(0):
        pytest.fail("both hold the lock")
    for holder in [other, warehouse] * 20:  # free at once: the next build need not wait
        with holder.lock(0):
            pass
    other.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda uri: uri.replace("s%3Acret", "wrong"), "denies access"),
        (lambda uri: uri.rpartition("/")[0] + "/nowhere", "denies access|does not exist"),
        (lambda uri: "mysql://u@127.0.0.1:1/d", "does not answer"),
    ],
)
def test_a_database_that_cannot_be_used_is_reported_without_the_password(
    database: str, change: Any, message: str
) -> None:
    with pytest.raises(ServiceError, match=message) as caught:
        MySQLWarehouse(change(database), MySQL(connect_timeout=3, deadline=0.1), RETAIL)
    assert caught.value.exit_code == 69
    assert caught.value.hint
    assert "cret" not in str(caught.value) + caught.value.hint


@pytest.mark.database
def test_a_refused_login_names_the_place_of_the_password(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = database.replace(":s%3Acret%2Fpass@", "@")
    assert bare != database
    monkeypatch.setenv("MARTS_MYSQL__PASSWORD", "wrong")
    for uri, settings, place in (
        (bare, MySQL(password=Secret("env:MARTS_MYSQL__PASSWORD")), "comes from env:MARTS_MYSQL__PASSWORD"),
        (database.replace("s%3Acret", "wrong"), MySQL(), "comes from the address itself"),
        (bare, MySQL(), "no password is set"),
    ):
        with pytest.raises(ServiceError, match="denies access") as caught:
            MySQLWarehouse(uri, settings, RETAIL)
        assert place in caught.value.hint


@pytest.mark.parametrize("uri", ["mysql://user@host:3306", "mysql://host:3306/a/b", "mysql:///d"])
def test_an_address_without_a_database_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError, match="contains no database"):
        MySQLWarehouse(uri, MySQL(), RETAIL)


def test_an_object_is_read_in_the_version_that_was_listed_or_not_at_all(s3_server: S3Server, bucket: str) -> None:
    store = open_store(f"s3://{bucket}/x", S3(**s3_server.settings))
    client = s3_server.client()
    client.put_object(Bucket=bucket, Key="x/sales/a.csv", Body=b"first version")
    (version,) = store.versions("sales")
    assert store.read(version, 6, 13) == b"version"
    client.put_object(Bucket=bucket, Key="x/sales/a.csv", Body=b"other version")
    with pytest.raises(ObjectChanged):
        store.read(version, 0, 5)
    client.delete_object(Bucket=bucket, Key="x/sales/a.csv")
    with pytest.raises(ObjectChanged):
        store.read(version, 0, 5)


def test_thousands_of_objects_are_listed(s3_server: S3Server, bucket: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    store = open_store(f"s3://{bucket}/many", S3(**s3_server.settings))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: store.put(f"sales/{n:05d}.csv", b"x"), range(1100)))
    assert [version.key for version in store.versions("sales")] == [f"sales/{n:05d}.csv" for n in range(1100)]


def test_objects_can_be_written_opened_and_deleted(s3_server: S3Server, bucket: str) -> None:
    store = open_store(f"s3://{bucket}", S3(**s3_server.settings))
    store.put("a/b c.bin", b"0123456789")
    assert store.get("a/b c.bin") == b"0123456789"
    assert store.using("a/b c.bin", lambda file: (file.seek(4), file.read(3))[1]) == b"456"


@pytest.mark.parametrize("size", [1000, 1 << 20, (1 << 20) + 1, 3 << 20, 8 << 20, (8 << 20) + 1, 20 << 20])
def test_an_object_of_any_size_is_read_by_parts_as_it_is(s3_server: S3Server, size: int) -> None:
    store = open_store(f"s3://{s3_server.make_bucket(f'sized{size}')}", S3(**s3_server.settings))
    data = random.Random(size).randbytes(size)
    store.put("object", data)
    edges = [0, 1, size // 3, max(size - (1 << 20) - 10, 0), max(size - (1 << 20), 0), size - 10, size]

    def parts(file: pa.NativeFile) -> list[bytes]:
        chunks = []
        for edge in (*edges, *reversed(edges)):
            file.seek(edge)
            chunks.append(file.read(100))
        return [*chunks, file.size().to_bytes(8), *((file.seek(0), file.read())[1] for _ in "12")]

    slices = [data[edge : edge + 100] for edge in (*edges, *reversed(edges))]
    assert store.using("object", parts) == [*slices, size.to_bytes(8), data, data]


def test_what_is_in_a_large_parquet_file_is_read_from_its_end(s3_server: S3Server) -> None:
    """One request: borders between customers are looked for in the facts of all months."""
    store = open_store(f"s3://{s3_server.make_bucket('footers')}", S3(**s3_server.settings))
    rows = pa.table({"raw": [random.Random(n).randbytes(1 << 20) for n in range(9)]})
    write_parquet(store, "large", rows)
    opened = store.using("large", lambda file: (pq.ParquetFile(file).metadata.num_rows, file))[1]
    assert opened.closed
    asked = []
    client = vars(store)["_client"]
    client.meta.events.register("before-call.s3", lambda **_: asked.append(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.adapters.store.bucket._file_system", lambda _: pytest.fail("it is opened"))
        vars(store)["_files"] = None
        assert store.using("large", lambda file: pq.ParquetFile(file).metadata.num_rows) == 9
    assert len(asked) == 1
    assert read_parquet(store, "large").equals(rows)
    store.delete("a/b c.bin")
    store.delete("a/b c.bin")
    assert store.versions("a") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"secret_key": "wrong"}, "denies access"),
        ({"endpoint": "http://127.0.0.1:1", "deadline": 0.1}, "does not answer"),
    ],
)
def test_a_storage_that_cannot_be_used_is_reported_with_what_to_do(
    s3_server: S3Server, bucket: str, change: Any, message: str
) -> None:
    store = open_store(f"s3://{bucket}", S3(**{**s3_server.settings, **change}))
    with pytest.raises(ServiceError, match=message) as caught:
        store.versions("sales")
    assert caught.value.hint


def test_a_missing_bucket_is_named(s3_server: S3Server) -> None:
    store = open_store("s3://no-such-bucket/x", S3(**s3_server.settings))
    with pytest.raises(ServiceError, match="bucket 'no-such-bucket' does not exist"):
        store.versions("sales")


def own_mart_rule(place: Place, name: str, **entry: Any) -> None:
    folder = place.folder / "suites"
    folder.mkdir(exist_ok=True)
    data, _ = read_file(name, RETAIL, None)
    data["expectations"].append(entry)
    (folder / f"{name}.json").write_text(json.dumps(data))
    place.settings["expectations"] = str(folder)


def test_great_expectations_judges_the_staged_marts(in_s3: Place) -> None:
    in_s3.judge = True
    results = {result.name: result for result in in_s3.build().quality}
    names = ("sales", "customers", "stores", "sales_team", *(mart.table for mart in MARTS.values()))
    passed: tuple[str, tuple[Any, ...]] = ("passed", ())
    assert {name: (result.outcome, result.broken) for name, result in results.items()} == dict.fromkeys(names, passed)
    assert results["customers_data_mart"].rules == 11


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "expect_column_max_to_be_between", "kwargs": {"column": "purchase_frequency", "max_value": 1}},
        {
            "type": "unexpected_rows_expectation",
            "kwargs": {"unexpected_rows_query": "SELECT customer_id FROM {batch} WHERE purchase_frequency > 1"},
        },
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "full_name", "regex": "^[0-9]+$"}},
    ],
)
def test_a_staged_mart_that_breaks_a_critical_rule_stops_the_publish(
    in_s3: Place, database: str, entry: dict[str, Any]
) -> None:
    in_s3.judge = True
    in_s3.build()
    before = in_s3.marts()
    own_mart_rule(in_s3, "customers_data_mart", **entry)
    in_s3.policy = in_s3.policy.model_copy(update={"own": (("inactive_after_days", 1),)})
    report = in_s3.build()
    assert report.error
    assert (report.exit_code, report.error.where) == (65, "customers_data_mart")
    assert in_s3.marts() == before
    in_s3.settings.pop("expectations")
    assert in_s3.build().outcome == "published"
    warehouse = in_s3.warehouse()
    assert not warehouse.execute("SHOW TABLES LIKE '%staged'")
    warehouse.close()


def test_pages_in_a_bucket_are_pages_for_a_browser(in_s3: Place, s3_server: S3Server, bucket: str) -> None:
    in_s3.judge = True
    in_s3.settings["docs"] = f"s3://{bucket}/site"
    report = in_s3.build()
    for key in ("index.html", "trends.html", *(result.page for result in report.quality)):
        response = s3_server.client().get_object(Bucket=bucket, Key=f"site/{key}")
        assert response["ContentType"] == "text/html"
        assert b"<!DOCTYPE html>" in response["Body"].read()


def test_decisions_and_what_was_measured_are_kept_in_mariadb(in_s3: Place) -> None:
    in_s3.judge = True
    in_s3.build()
    warehouse = in_s3.warehouse()
    kept = {record.object_key: record.row_count for record in warehouse.quality(100)}
    assert kept["sales/golden.csv"] == 22
    decision = Decision("1", "2024-01-01", "Zoë", "accept", "sales", "sales/x.csv", "id", "weil", "{}")
    warehouse.decide(decision)
    assert warehouse.decisions() == [decision]
    warehouse.close()


def test_a_query_that_the_server_refuses_is_the_user_s_error(in_s3: Place) -> None:
    in_s3.judge = True
    query = "SELECT nothing FROM {batch}"
    own_mart_rule(
        in_s3, "customers_data_mart", type="unexpected_rows_expectation", kwargs={"unexpected_rows_query": query}
    )
    report = in_s3.build()
    assert report.error
    assert (report.exit_code, report.error.where) == (2, query)


@pytest.mark.parametrize("rows", [3, 250])
def test_the_rows_of_a_query_are_counted(in_s3: Place, rows: int) -> None:
    in_s3.judge = True
    query = f"SELECT column_name FROM {{batch}} AS mart CROSS JOIN information_schema.columns LIMIT {rows}"
    own_mart_rule(
        in_s3,
        "customers_data_mart",
        type="unexpected_rows_expectation",
        kwargs={"unexpected_rows_query": query},
        severity="warning",
    )
    assert in_s3.build().error is None
    settings = in_s3.configured()
    page = json.loads(open_store(settings.docs_uri, settings.s3).get("runs/run-1/customers_data_mart.json"))
    kwargs = [validation["expectation_config"]["kwargs"].get("unexpected_rows_query") for validation in page["results"]]
    result = page["results"][kwargs.index(query)]
    assert (result["success"], result["result"]["observed_value"]) == (False, rows)


def test_names_of_people_in_a_mart_are_masked(in_s3: Place) -> None:
    in_s3.judge = True
    kwargs = {"column": "full_name", "regex": "^[0-9]+$"}
    own_mart_rule(
        in_s3, "customers_data_mart", type="expect_column_values_to_match_regex", kwargs=kwargs, severity="warning"
    )
    in_s3.build()
    for suffix in ("html", "json"):
        settings = in_s3.configured()
        store = open_store(settings.docs_uri, settings.s3)
        text = store.get(f"runs/run-1/customers_data_mart.{suffix}").decode()
        assert "xxxx xxx" in text
        assert "Asha" not in text
