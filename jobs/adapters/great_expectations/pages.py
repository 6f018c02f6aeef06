"""Pages of Great Expectations' Data Docs, safe and offline.

The content comes from its own renderers. Its page template loads scripts and styles from the web, and its tables do not
escape values. The template used here has no script, one style and a strict Content-Security-Policy, and values are
escaped before they are rendered.
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
"""Make heading levels contiguous and tables scrollable by keyboard. Escaped values contain no tags, so none match."""
_ESCAPED = ("partial_unexpected_list", "partial_unexpected_counts", "observed_value", "details", "unexpected_rows")


class _Compiled(BytecodeCache):
    """Cache of compiled templates, shared by the environments of all pages."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


class SafePageView(DefaultJinjaPageView):
    """Great Expectations' page inside the frame of Martwright's reports."""

    _template = "gx/page.j2"

    def __init__(self) -> None:
        super().__init__()
        self.env.loader = ChoiceLoader([PackageLoader("jobs.report"), self.env.loader])
        self.env.bytecode_cache = _COMPILED
        numbers = itertools.count(1)
        # Equal results must render equal pages: Great Expectations would use random ids.
        self.env.filters["generate_html_element_uuid"] = lambda prefix="": f"{prefix}{next(numbers)}"


class _Renderer(ValidationResultsPageRenderer):
    """Great Expectations' renderer without its header, which links to pages that do not exist here."""

    @classmethod
    def _render_validation_header(cls, validation_results: ExpectationSuiteValidationResult) -> Any:
        header = super()._render_validation_header(validation_results)
        header.subheader = None
        return header


def page_of(result: ExpectationSuiteValidationResult, bases: Sequence[tuple[int, str, str]], **frame: Any) -> str:
    """Render the page of a validation result. ``frame``: title, about, outcome, places, here.

    ``bases`` has, for each result, the number of its rows, a description of them, and the limit of the rule: it may
    pass although some rows break it.
    """
    safe = _escaped(result)
    for number, item in enumerate(safe.results):
        if "element_count" in item.result:
            item.result["element_count"] = number  # index into ``bases``, read below
        if unexpected := item.result.get("unexpected_count"):
            rows, basis, limit = bases[number]
            item.result["observed_value"] = for_html(f"{unexpected:,} of {rows:,} {basis}{limit}")
    document = _Renderer(run_info_at_end=True).render(safe)
    _say_bases(document, bases)
    page: str = SafePageView().render(document, **frame)
    for before, after in _ACCESSIBLE:
        page = page.replace(before, after)
    return page


def _say_bases(part: Any, bases: Sequence[tuple[int, str, str]]) -> None:
    """Replace the number and description of the rows that a share is of, in all parts of a page.

    Great Expectations shows the share of the rows that a rule checks, but labels it as a share of all rows.
    """
    if isinstance(part, RenderedStringTemplateContent):
        message = part.string_template
        if isinstance(message, dict) and "$element_count total rows" in message.get("template", ""):
            rows, basis, limit = bases[int(message["params"]["element_count"])]
            message["template"] = (
                f"\n\n$unexpected_count of $element_count break it ($unexpected_percent){for_html(limit)}."
            )
            message["params"]["unexpected_count"] = f"{int(message['params']['unexpected_count'].replace(',', '')):,}"
            message["params"]["element_count"] = f"{rows:,} {for_html(basis)}"
        return
    for inner in part if isinstance(part, list) else vars(part).values() if isinstance(part, RenderedContent) else ():
        _say_bases(inner, bases)


def _escaped(result: ExpectationSuiteValidationResult) -> ExpectationSuiteValidationResult:
    """Copy a result with all data values escaped, and without values that differ from run to run."""
    safe = copy.deepcopy(result)
    safe.meta.pop("batch_markers", None)  # the time at which an empty frame was loaded
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
    """Return the validation result as JSON."""
    return json.dumps(result.to_json_dict(), indent=1, sort_keys=True, default=str)
