"""Write an Excel workbook, as small as the format allows: for tests of reading them."""

# ruff: noqa: E501 - addresses of XML are long

import io
import zipfile
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from xml.sax.saxutils import escape

_EPOCH = date(1899, 12, 30)
_PARTS = {
    "[Content_Types].xml": """<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>
<Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>
{sheets}</Types>""",
    "_rels/.rels": """<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1"
Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>""",
    "xl/styles.xml": """<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">
<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>""",
}


def _cell(value: Any) -> str:
    match value:
        case None:
            return "<c/>"
        case datetime():
            serial = (value.date() - _EPOCH).days + (value.hour * 3600 + value.minute * 60 + value.second) / 86_400
            return f'<c s="1"><v>{serial!r}</v></c>'
        case date():
            return f'<c s="1"><v>{(value - _EPOCH).days}</v></c>'
        case int() | float():
            return f"<c><v>{value!r}</v></c>"
        case _:
            return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(str(value))}</t></is></c>'


def workbook(sheets: dict[str, Sequence[Sequence[Any]]], corner: str = "") -> bytes:
    """Return a workbook with sheets of rows: texts, numbers, dates; with one more value in a cell such as XFD9."""
    names = list(sheets)
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{kind}"/>' for n in range(len(names))
    )
    listed = "".join(f'<sheet name="{escape(name)}" sheetId="{n + 1}" r:id="rId{n}"/>' for n, name in enumerate(names))
    related = "".join(
        f'<Relationship Id="rId{n}" Type="{relations}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(len(names))
    )
    related += f'<Relationship Id="style" Type="{relations}/styles" Target="styles.xml"/>'
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, text in _PARTS.items():
            archive.writestr(name, text.replace("{sheets}", overrides))
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>{listed}</sheets></workbook>'
        )
        package = "http://schemas.openxmlformats.org/package/2006/relationships"
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}">{related}</Relationships>')
        for number, name in enumerate(names):
            far = f'<row><c r="{corner}"><v>1</v></c></row>' if corner else ""
            rows = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in sheets[name])
            text = f'<worksheet xmlns="{main}"><sheetData>{rows}{far}</sheetData></worksheet>'
            archive.writestr(f"xl/worksheets/sheet{number}.xml", text)
    return sink.getvalue()
