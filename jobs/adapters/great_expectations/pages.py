"""Pages of Great Expectations' Data Docs, safe and offline.

Its own renderers say what is on the page. Its page template loads scripts and styles from elsewhere, and its tables
print values as they are; ours has no script, one style, a strict Content-Security-Policy, and values are escaped
before they are rendered.
"""

import copy
import itertools
import json
from collections.abc import Sequence
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.components import RenderedContent, RenderedStringTemplateContent
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import BytecodeCache, ChoiceLoader, PackageLoader
from jinja2.bccache import Bucket

from jobs.runtime.escaping import for_html

_ACCESSIBLE = (
    *(("<h5", "<h2"), ("</h5>", "</h2>"), ("<h6", "<h3"), ("</h6>", "</h3>")),
    ('table-responsive"', 'table-responsive" tabindex="0"'),
)
"""Headings without a gap, and tables that scroll by keyboard; values are escaped: none of them holds a tag."""
_ESCAPED = ("partial_unexpected_list", "partial_unexpected_counts", "observed_value", "details", "unexpected_rows")


class _Compiled(BytecodeCache):
    """Templates as they were compiled for the pages before: a page has an environment of its own."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


class SafePageView(DefaultJinjaPageView):
    """Great Expectations' page with our frame around it."""

    _template = "gx/page.j2"

    def __init__(self) -> None:
        super().__init__()
        self.env.loader = ChoiceLoader([PackageLoader("jobs.report"), self.env.loader])
        self.env.bytecode_cache = _COMPILED
        numbers = itertools.count(1)
        # Equal results give equal pages: Great Expectations would draw random ids.
        self.env.filters["generate_html_element_uuid"] = lambda prefix="": f"{prefix}{next(numbers)}"


class _Renderer(ValidationResultsPageRenderer):
    """Great Expectations' renderer without its header, which links to pages that we do not write."""

    @classmethod
    def _render_validation_header(cls, validation_results: ExpectationSuiteValidationResult) -> Any:
        header = super()._render_validation_header(validation_results)
        header.subheader = None
        return header


def page_of(result: ExpectationSuiteValidationResult, bases: Sequence[tuple[int, str]], **frame: Any) -> str:
    """Render the page of a validation result. ``frame``: title, about, outcome, places, here.

    ``bases`` has, for each result, how many rows it is about, and a description of them.
    """
    safe = _escaped(result)
    for number, item in enumerate(safe.results):
        if "element_count" in item.result:
            item.result["element_count"] = number  # what is said of the rows is found by it below
    document = _Renderer(run_info_at_end=True).render(safe)
    _say_bases(document, bases)
    page: str = SafePageView().render(document, **frame)
    for before, after in _ACCESSIBLE:
        page = page.replace(before, after)
    return page


def _say_bases(part: Any, bases: Sequence[tuple[int, str]]) -> None:
    """Describe of how many of which rows a share is, in all parts of a page.

    Great Expectations gives the share of the rows that a rule looks at, and calls it one of all rows.
    """
    if isinstance(part, RenderedStringTemplateContent):
        message = part.string_template
        if isinstance(message, dict) and "$element_count total rows" in message.get("template", ""):
            rows, basis = bases[int(message["params"]["element_count"])]
            message["template"] = "\n\n$unexpected_count of $element_count break it ($unexpected_percent)."
            message["params"]["unexpected_count"] = f"{int(message['params']['unexpected_count'].replace(',', '')):,}"
            message["params"]["element_count"] = f"{rows:,} {for_html(basis)}"
        return
    for inner in part if isinstance(part, list) else vars(part).values() if isinstance(part, RenderedContent) else ():
        _say_bases(inner, bases)


def _escaped(result: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    """Copy a result with all values from data escaped, and without what differs from run to run."""
    safe = copy.deepcopy(result)
    safe.meta.pop("batch_markers", None)  # when an empty frame was loaded
    for item in safe.results:
        item.result = {name: _escape(value) if name in _ESCAPED else value for name, value in item.result.items()}
    return safe


def _escape(value: Any) -> Any:
    if isinstance(value, str):
        return for_html(value)
    if isinstance(value, dict) and isinstance(value.get("value"), tuple):
        value = {**value, "value": ", ".join(map(str, value["value"]))}
    if isinstance(value, dict):
        return {_escape(key): _escape(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_escape(inner) for inner in value)
    return value if isinstance(value, int | float | type(None)) else for_html(str(value))


def as_json(result: ExpectationSuiteValidationResult) -> str:
    """Return the official result."""
    return json.dumps(result.to_json_dict(), indent=1, sort_keys=True, default=str)
