"""Personal data is masked wherever values are shown; card numbers always."""

from collections.abc import Callable

from support.kit import SALES_TEAM, Place, line, marts, sales

PEOPLE = ("Xaverinacanary", "Oberhubercanary", "17 Canary Lane", "+49 170 5550123", "Managercanary", "Sellercanary")
MAIL, CARD, DASHED = "jo@canary.example", "4111111111111111", "5500-0000-0000-0004"
_CUSTOMERS = "customer_id,first_name,last_name,address,pincode,phone_number,customer_joining_date\n"


def fed(place: Place) -> Place:
    """Rows with people's data that break a rule in each way: a value, the width, a quote, a key that is there twice."""
    place.judge = True
    place.policy = place.policy.model_copy(update={"max_bad_ratio": 1.0, "max_unknown_ratio": 1.0})
    first, last, address, phone, manager, seller = PEOPLE
    person = f"{first},{last},{address},10001,{phone}"
    rows = [
        f"1,{person},2023-01-01",
        f"x,{person},2023-01-01",
        f"2,{person},2023/01/01",
        f"3,{person}",
        f'4,"{person},2023-01-01',
    ]
    place.put("customers/c.csv", _CUSTOMERS + "\n".join(rows) + "\n")
    stores = "id,address,store_pincode,store_manager_name,store_opening_date,reviews\n"
    place.put(
        "stores/s.csv", f"{stores}121,here,1,{manager},2023-01-01,{first} was kind\n122,here,1,{manager},never,{MAIL}\n"
    )
    place.put("sales_team/t.csv", f"{SALES_TEAM}4,{seller},{last},x,N,{address},1,\n")
    broken = [
        line(f"T{n}", product=text, quantity=0) for n, text in enumerate((CARD, DASHED, MAIL, f"for {CARD}, please"))
    ]
    place.put("sales/x.csv", sales(line("T9"), *broken, line(CARD, day=MAIL), line(MAIL, price=CARD)))
    return place


def test_nobody_is_named_in_pages_reports_and_commands(place: Place, figure: Callable[[str], None]) -> None:
    report = fed(place).build()
    where = place.flags
    outputs = {path.name: path.read_text() for path in (place.folder / "state/docs").rglob("*") if path.is_file()}
    assert len(outputs) > 5
    outputs["report"] = report.model_dump_json()
    for command in (["plan"], ["quarantine", "list"], ["quarantine", "list", "--json"]):
        outputs[" ".join(command)] = marts(*command, *where).output
    for drop in ("c.csv", "s.csv", "t.csv", "x.csv"):
        outputs[f"show {drop}"] = marts("quarantine", "show", drop, *where).output
        outputs[f"show {drop} as JSON"] = marts("quarantine", "show", drop, "--json", *where).output
    for command in (["status"], ["history"], ["status", "--json"]):
        outputs[" ".join(command)] = marts(*command, *where[2:4]).output
    hidden = (*PEOPLE, MAIL, CARD, DASHED)
    hits = [f"{value} in {name}" for name, text in outputs.items() for value in hidden if value in text]
    assert hits == []
    assert "411111******1111" in outputs["show x.csv"]
    assert "5500-00**-****-0004" in outputs["show x.csv"]
    figure(f"{len(hidden)} personal values and cards searched in {len(outputs)} pages, reports and commands: 0 found")


def test_who_asks_for_it_sees_everything(place: Place) -> None:
    fed(place).build()
    where = place.flags
    output = marts("quarantine", "show", "c.csv", "--reveal", *where).output
    assert PEOPLE[0] in output
    assert CARD in marts("quarantine", "export", "x.csv", *where).output
