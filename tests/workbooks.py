"""Workbooks for tests, written by hand: what writes them is in no lock."""

import zipfile
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

Rows = Sequence[Sequence[Any]]
# Cells that stand for more than a value.
ERROR = object()  # what Excel shows as #DIV/0!

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OF_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
OF_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
# The formats of numbers that make them a date, a moment, a time of day and a span of time.
STYLES = (0, 14, 22, 21, 46)
MIMETYPE = "application/vnd.oasis.opendocument.spreadsheet"


def xlsx(path: Path, sheets: Mapping[str, Rows], hidden: Collection[str] = ()) -> Path:
    """Write a workbook of Excel."""
    numbered = list(enumerate(sheets, 1))
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{number}" r:id="r{number}"{hidden_as(name, hidden)}/>'
        for number, name in numbered
    )
    related = "".join(
        f'<Relationship Id="r{n}" Type="{OF_DOCUMENT}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n, _ in numbered
    )
    related += f'<Relationship Id="s" Type="{OF_DOCUMENT}/styles" Target="styles.xml"/>'
    kinds = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="application/'
        'vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        for n, _ in numbered
    )
    formats = "".join(f'<xf numFmtId="{number}" applyNumberFormat="1"/>' for number in STYLES)
    members = {
        "[Content_Types].xml": f'<Types xmlns="{OF_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Override PartName="/xl/workbook.xml" ContentType="application/'
        f'vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>{kinds}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{OF_PACKAGE}/relationships"><Relationship Id="r" '
        f'Type="{OF_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OF_DOCUMENT}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{OF_PACKAGE}/relationships">{related}</Relationships>',
        "xl/styles.xml": f'<styleSheet xmlns="{MAIN}"><cellXfs>{formats}</cellXfs></styleSheet>',
        **{f"xl/worksheets/sheet{n}.xml": _xlsx_sheet(sheets[name]) for n, name in numbered},
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>{text}')
    return path


def hidden_as(name: str, hidden: Collection[str]) -> str:
    return ' state="hidden"' if name in hidden else ""


def _xlsx_sheet(rows: Rows) -> str:
    written = "".join(
        f'<row r="{number}">{"".join(_xlsx_cell(cell, column, number) for column, cell in enumerate(row))}</row>'
        for number, row in enumerate(rows, 1)
    )
    return f'<worksheet xmlns="{MAIN}"><sheetData>{written}</sheetData></worksheet>'


def _xlsx_cell(cell: Any, column: int, row: int) -> str:
    place = f'r="{chr(65 + column)}{row}"'
    if cell is None:
        return ""
    if cell is ERROR:
        return f'<c {place} t="e"><v>#DIV/0!</v></c>'
    if isinstance(cell, str):
        return f'<c {place} t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
    if isinstance(cell, bool):
        return f'<c {place} t="b"><v>{int(cell)}</v></c>'
    number, style = _numbered(cell)
    return f'<c {place} s="{style}"><v>{number!r}</v></c>'


def _numbered(cell: Any) -> tuple[float, int]:
    """A cell as Excel's number, and the place of its format in `STYLES`."""
    if isinstance(cell, datetime):
        return (cell - datetime(1899, 12, 30)) / timedelta(days=1), 2
    if isinstance(cell, date):
        return (cell - date(1899, 12, 30)).days, 1
    if isinstance(cell, time):
        return (cell.hour * 3600 + cell.minute * 60 + cell.second) / 86_400, 3
    if isinstance(cell, timedelta):
        return cell / timedelta(days=1), 4
    return cell, 0


def ods(path: Path, sheets: Mapping[str, Rows]) -> Path:
    """Write a workbook of OpenDocument."""
    names = {one: f"urn:oasis:names:tc:opendocument:xmlns:{one}:1.0" for one in ("office", "table", "text")}
    spaces = " ".join(f'xmlns:{short}="{name}"' for short, name in names.items())
    tables = "".join(
        f"<table:table table:name={quoteattr(name)}>"
        + "".join(f"<table:table-row>{''.join(map(_ods_cell, row))}</table:table-row>" for row in rows)
        + "</table:table>"
        for name, rows in sheets.items()
    )
    body = f"<office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body>"
    content = f'<office:document-content {spaces} office:version="1.2">{body}</office:document-content>'
    entry = f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{MIMETYPE}"/>'
    space = 'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", MIMETYPE)
        archive.writestr("META-INF/manifest.xml", f"<manifest:manifest {space}>{entry}</manifest:manifest>")
        archive.writestr("content.xml", f'<?xml version="1.0" encoding="UTF-8"?>{content}')
    return path


def _ods_cell(cell: Any) -> str:
    if cell is None:
        return "<table:table-cell/>"
    if isinstance(cell, str):
        said, text = 'office:value-type="string"', cell
    elif isinstance(cell, bool):
        said, text = f'office:value-type="boolean" office:boolean-value="{str(cell).lower()}"', str(cell).upper()
    elif isinstance(cell, date):
        said, text = f'office:value-type="date" office:date-value="{cell.isoformat()}"', cell.isoformat()
    else:
        said, text = f'office:value-type="float" office:value="{cell!r}"', repr(cell)
    return f"<table:table-cell {said}><text:p>{escape(text)}</text:p></table:table-cell>"
