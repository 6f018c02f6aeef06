"""Notices about a run: what happened, where, since when, what is safe, what to do next.

Pure: the notices to raise follow from a report, the runs before it and the notices that were already raised.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from jobs.ports.notices import Notice, NoticeDelivery, announced_topics
from jobs.ports.records import RunRecord
from jobs.report.run_report import AlertReport, BrokenRule, DropReport, MartReport, Problem, RunReport
from jobs.runtime.escaping import for_chat
from marts.alerts import EVENTS, EVERY_ALERT
from marts.errors import Fenced, QualityBroken, ServiceError, TotalFell, TryLater, UnknownPeople
from marts.privacy.masking import mask_always

_LEFT_ALONE = (TryLater.__name__, Fenced.__name__)
"""Errors of runs that another run excluded or that were stopped on purpose: no notice."""
_EVENT_OF = {
    UnknownPeople.__name__: "unknown",
    QualityBroken.__name__: "quality",
    TotalFell.__name__: "fall",
}
_TRIED_AGAIN = (ServiceError.exit_code, TryLater.exit_code)
_OF_KUBERNETES = ("Job ", "CronJob ")
_SENDER = "Martwright"
_SHOWN = 10
_LONGEST = 160
"""Characters of a subject."""
_ADDRESS = re.compile(r"(mysql://\S*)")
_SCHEDULED = re.compile(r"-[0-9]{7,9}$")
_NUMBERS = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")


@dataclass(frozen=True)
class RunHistory:
    """Runs before a run."""

    last_good: RunRecord | None = None
    failed: tuple[RunRecord, ...] = ()
    """Runs since then that failed or were killed, oldest first."""


@dataclass(frozen=True)
class Addresses:
    """Recipients of events, and the location of the reports."""

    wants: Mapping[str, Sequence[str]]
    """Events by name of an address."""
    reports: str = ""
    """Folder or site of the run reports."""
    pipeline: str = ""
    """Name of the pipeline; empty for the default."""
    scope: str = ""
    """The mart, if only one is built."""

    def deliveries(self, event: str) -> dict[str, NoticeDelivery]:
        """Return a delivery for each address that wants an event; an alert of a pack has two names."""
        names = {event} if event in EVENTS else {event, EVERY_ALERT}
        return {name: NoticeDelivery() for name, events in self.wants.items() if names & {*events}}


def before(runs: Iterable[RunRecord], run_id: str) -> RunHistory:
    """Return the runs before a run, given the last runs, newest first."""
    failed: list[RunRecord] = []
    for run in runs:
        if run.run_id == run_id:
            continue
        if run.outcome in ("published", "unchanged"):
            return RunHistory(run, tuple(reversed(failed)))
        failed.append(run)
    return RunHistory(None, tuple(reversed(failed)))


def raised(report: RunReport, was: RunHistory, known: Sequence[Notice], addresses: Addresses) -> list[Notice]:
    """Return the notices that a run raises: each event once, even if later runs see it again."""
    heard = announced_topics(known)
    own = [notice for notice in known if notice.scope == addresses.scope]
    if report.error:
        results = [_failure(report, was), _held(report, heard), _missing(report, heard)]
    else:
        results = [
            _recovery(report, was, own),
            _held(report, heard),
            _missing(report, heard),
            _quality(report),
            *(_alert(report, alert) for alert in report.alerts),
            _success(report),
        ]
    built = []
    first: dict[str, NoticeDelivery] = {}
    for notice in filter(None, results):
        if set(notice.about) <= heard:
            continue
        deliveries = addresses.deliveries(notice.event)
        if notice is results[0]:
            first = deliveries  # it tells its recipients everything, except what is left out of good runs
        elif report.error or notice.event == "success":
            deliveries = {name: item for name, item in deliveries.items() if name not in first}
        if deliveries or (notice.event in ("held", "withdrawn") and first):
            built.append(_addressed(notice, report, addresses, deliveries))
    return built


def is_news(report: RunReport) -> bool:
    """Return whether a run ended by itself: no notice if it gave way to another run or was stopped on purpose."""
    return report.error is None or report.error.kind not in _LEFT_ALONE


def over(report: RunReport, known: Iterable[Notice], scope: str = "") -> list[str]:
    """Return the ids of notices that are resolved: failures after a good run, drops that count again, …"""
    if report.error:
        return []
    goes_on = {_of_drop(drop) for drop in (*_left_out(report), *_vanished(report))} | {
        _of_rule(*rule) for rule in _broken(report)
    }
    judged = {f"quality:{item.name}" for item in report.quality}
    rules = {about for n in known for about in n.about if about.startswith("quality:")}
    unjudged = {about for about in rules if about.rpartition(":")[0] not in judged}
    own = [n for n in known if n.scope == scope and not n.closed_at]
    return [n.notice_id for n in own if not (goes_on | unjudged) & set(n.about)]


def _failure(report: RunReport, was: RunHistory) -> Notice | None:
    error = report.error
    if error is None or not is_news(report):
        return None
    event = _EVENT_OF.get(error.kind, "failed")
    heads = {
        "failed": "The build failed",
        "unknown": "The build stopped: too many people are unknown",
        "quality": "The build stopped: data quality is below the threshold",
        "fall": "The build stopped: the total of the past fell",
    }
    head = "The build ended without a reply from the database" if report.outcome == "unknown" else heads[event]
    since = was.failed[0].started_at[:16].replace("T", " ") if was.failed else f"{report.started_at:%Y-%m-%d %H:%M}"
    safe = "Nothing was published; the live marts are untouched"
    if report.outcome == "unknown":
        safe = "The live marts are the old ones or the new ones, never a mixture; `marts status` shows which"
    if was.last_good:
        safe += f". Last good run: {was.last_good.run_id} (as of {was.last_good.as_of_date})"
    lines = [
        ("What", error.what),
        ("Where", error.where),
        ("Since", f"{since} UTC" + (f", {len(was.failed) + 1} runs" if was.failed else "")),
        ("Safe", f"{safe}."),
        ("Do", error.hint or "See the report."),
        ("", _again(error, report.exit_code)),
        *_drop_lines(_left_out(report)),
    ]
    about = [f"failure:{_digest(_cause(event, error, report.exit_code))}"]
    return _notice(report, event, "failure", f"{head}: {error.what}", f"{head}.", lines, about)


def _again(error: Problem, exit_code: int) -> str:
    """Return how to run the build again."""
    kind, _, name = error.where.partition(" ")
    if kind not in ("Job", "CronJob"):
        return "Then run marts build again: it continues from where it stopped."
    cron = _SCHEDULED.sub("", name) if kind == "Job" else name
    if kind == "Job" and cron == name:
        return "Then create the Job again."
    tried = "Kubernetes retries. If it has given up" if kind == "Job" and exit_code in _TRIED_AGAIN else "Then"
    return f"{tried}: kubectl create job --from=cronjob/{cron} {cron}-$(($(date +%s) / 60))"


def _cause(event: str, error: Problem, exit_code: int) -> str:
    """Return the name of a cause: equal causes have equal names, regardless of the numbers in their messages.

    A failing service reports changing messages, so it is named by its address.
    """
    if exit_code == ServiceError.exit_code:
        parts = urlsplit(error.where)
        how = error.what if error.where == "Ray" else ""
        if error.where.startswith(_OF_KUBERNETES):  # the problem comes first, then names of pods
            how = error.what.partition(":")[0]
        where = f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{error.where}:{how}"
        return f"{event}:{_NUMBERS.sub('#', where)}"
    return f"{event}:{error.kind}:{_NUMBERS.sub('#', f'{error.where}:{error.what}')}"


def _held(report: RunReport, heard: set[str]) -> Notice | None:
    new = [drop for drop in _left_out(report) if _of_drop(drop) not in heard]
    if not new:
        return None
    item = len(new) == 1
    states = " or ".join(sorted({drop.state for drop in new}))
    head = f"{new[0].key} is {new[0].state}" if item else f"{len(new)} drops are {states}"
    key = new[0].key
    lines = [
        *_drop_lines(new),
        ("Safe", "The marts are live without " + ("it." if item else "them.")),
        ("Do", f"marts quarantine show {key} shows the rows and the reasons. Then deliver a corrected file,"),
        ("", f'or marts quarantine export and replay repaired rows, or marts quarantine accept {key} --why "…"'),
        ("", "if it may count unchanged. The next marts build counts it."),
    ]
    if all(drop.state == "rejected" for drop in new):
        lines[-3:] = [("Do", "Deliver a corrected file under the same name; the next marts build reads it.")]
    return _notice(report, "held", "warning", head, f"{head}.", lines, [_of_drop(drop) for drop in new])


def _missing(report: RunReport, heard: set[str]) -> Notice | None:
    """Ask what to do with drops whose objects are missing."""
    new = [drop for drop in _vanished(report) if _of_drop(drop) not in heard]
    if not new:
        return None
    lines = sum(drop.clean for drop in new)
    what = f"{len(new):,} drops are" if len(new) > 1 else f"{new[0].key} is"
    head = f"{what} missing from the source"
    body = [
        *[("Missing", f"{drop.key}: {drop.clean:,} clean lines") for drop in new[:_SHOWN]],
        *([("", f"and {len(new) - _SHOWN:,} more")] if len(new) > _SHOWN else []),
        ("Safe", f"Nothing was withdrawn: their {lines:,} lines still count."),
        ("Do", 'To remove them: marts withdraw accept --why "…"; the next marts build leaves them out.'),
        ("", 'If the bucket is emptied on purpose: marts withdraw refuse --why "…", or withdrawals = "keep"'),
        ("", "in marts.toml. If it was a mistake, restore the objects under their names."),
    ]
    return _notice(report, "withdrawn", "warning", head, f"{head}.", body, [_of_drop(drop) for drop in new])


def _vanished(report: RunReport) -> list[DropReport]:
    return [drop for drop in report.drops if drop.state == "missing"]


def _quality(report: RunReport) -> Notice | None:
    """Return a notice about broken critical rules, unless drops are left out."""
    rules = _broken(report)
    if not rules or _left_out(report):
        return None
    head = f"Data quality is below the threshold: {', '.join(dict.fromkeys(name for name, _ in rules))}"
    displayed = rules[:_SHOWN]
    lines = [
        ("What", f"{name}: {rule.rule} ({rule.unexpected:,} of {rule.rows:,} {rule.basis})") for name, rule in displayed
    ]
    lines += [
        ("Safe", "The marts are live; rows that break a critical rule are in quarantine and do not count."),
        ("Do", "See the report, then correct the source or the rule (marts expectations list)."),
    ]
    return _notice(report, "quality", "warning", head, f"{head}.", lines, [_of_rule(*rule) for rule in rules])


def _alert(report: RunReport, alert: AlertReport) -> Notice:
    """Return a notice about new rows of a mart, some of them listed; its event is the name of the alert."""
    lines = [("New", _listed(alert, row)) for row in alert.rows]
    lines += [("", f"and {alert.count - len(alert.rows):,} more")] if alert.count > len(alert.rows) else []
    lines += [("Do", alert.hint)]
    about, subject = [f"alert:{alert.name}:{report.run_id}"], alert.subject
    return _notice(report, alert.name, "warning", subject, f"{subject}.", lines, about)


def _listed(alert: AlertReport, row: Mapping[str, str]) -> str:
    """Return a row in one line: the first value, and the others with their headings."""
    first, *others = [(alert.headings[name], value) for name, value in row.items()]
    return f"{first[1]}: {', '.join(f'{heading.lower()} {value}' for heading, value in others)}" if others else first[1]


def _recovery(report: RunReport, was: RunHistory, known: Iterable[Notice]) -> Notice | None:
    open_ = [item for item in known if item.level == "failure" and not item.closed_at]
    killed = [run for run in was.failed if run.outcome == "killed"]
    if not open_ and not killed:
        return None
    head = "Builds work again"
    since = min([*(item.raised_at for item in open_), *(run.started_at for run in killed)])[:16].replace("T", " ")
    lines = [("Was", item.subject.partition(": ")[2]) for item in open_]
    lines += [("Was", f"Run {run.run_id} ended without a report: killed or out of memory?") for run in killed]
    lines += [("Since", f"{since} UTC"), ("Now", _result(report)), ("Do", "Nothing.")]
    return _notice(report, "recovered", "success", head, f"{head}.", lines, [f"run:{report.run_id}"])


def _success(report: RunReport) -> Notice | None:
    if report.outcome != "published":
        return None
    head = f"The marts are up to date, as of {report.as_of}"
    lines = [("Now", _result(report)), ("Do", "Nothing.")]
    return _notice(report, "success", "info", head, f"{head}.", lines, [f"run:{report.run_id}"])


def _result(report: RunReport) -> str:
    totals = report.totals
    marts = "; ".join(f"{mart.table} {mart.rows:,} rows{_total(mart)}" for mart in report.marts)
    return (
        f"{report.outcome} as of {report.as_of}: {totals.rows_read:,} rows read = {totals.clean:,} clean + "
        f"{totals.quarantined:,} in quarantine + {totals.duplicates:,} duplicates ({totals.repeated:,} repeated, "
        f"{totals.replaced:,} replaced). {marts}."
    )


def _left_out(report: RunReport) -> list[DropReport]:
    return [drop for drop in report.drops if drop.state in ("held", "rejected")]


def _broken(report: RunReport) -> list[tuple[str, BrokenRule]]:
    """Return the broken critical rules, each with the name of its drops or mart."""
    failed = [item for item in report.quality if item.outcome == "failed"]
    return [(item.name, rule) for item in failed for rule in item.broken if rule.severity == "critical"]


def _of_rule(name: str, rule: BrokenRule) -> str:
    return f"quality:{name}:{_digest(rule.rule)}"


def _of_drop(drop: DropReport) -> str:
    return f"drop:{drop.delivery or drop.key}"


def _drop_lines(drops: Sequence[DropReport]) -> list[tuple[str, str]]:
    lines = []
    for drop in drops[:_SHOWN]:
        lines.append((drop.state.capitalize(), f"{drop.key}: {drop.reason}"))
        lines += [("", f"{r.rows:,} x {r.rule}, as in line {r.line:,}") for r in drop.reasons]
    if len(drops) > _SHOWN:
        lines.append(("", f"and {len(drops) - _SHOWN:,} more"))
    return lines


def _notice(
    report: RunReport,
    event: str,
    level: Literal["failure", "warning", "success", "info"],
    subject: str,
    head: str,
    lines: Sequence[tuple[str, str]],
    about: Sequence[str],
) -> Notice:
    displayed = [_safe(head), ""] + [_line(label, text) for label, text in lines if text]
    number = _digest(f"{report.run_id}:{event}:{' '.join(about)}")
    line = " ".join(_safe(subject).split())
    at = report.ended_at.isoformat()
    return Notice(number, event, level, at, report.run_id, line, "\n".join(displayed), tuple(about))


def _addressed(
    notice: Notice, report: RunReport, addresses: Addresses, deliveries: Mapping[str, NoticeDelivery]
) -> Notice:
    """Add the location of the report, and the recipients."""
    page = f"{addresses.reports.rstrip('/')}/{report.run_id}.html" if addresses.reports else ""
    rest = [
        _line("Report", f"{page} (or marts report {report.run_id})" if page else f"marts report {report.run_id}"),
        _line("Run", f"{report.run_id}, as of {report.as_of}, exit code {report.exit_code}"),
        _line("Source", report.source),
        _line("Target", report.target),
        _line("Notice", f"{notice.notice_id} of Martwright {report.version}"),
    ]
    body = "\n".join([notice.body, "", *rest, ""])
    subject = f"{_SENDER}{f' ({addresses.pipeline})' if addresses.pipeline else ''}: {notice.subject}"
    short = subject if len(subject) <= _LONGEST else f"{subject[: _LONGEST - 1]}…"
    return replace(notice, subject=short, body=body, deliveries=dict(deliveries), scope=addresses.scope)


def _line(label: str, text: str) -> str:
    return f"{label + ':' if label else '':<9} {_safe(' '.join(text.split()))}"


def _safe(text: str) -> str:
    """Mask personal data and neutralize what a chat or mail program would act upon.

    A database address is not masked, although it looks like a mail address.
    """
    parts = _ADDRESS.split(text)
    return for_chat("".join(part if part.startswith("mysql://") else mask_always(part) for part in parts))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _total(mart: MartReport) -> str:
    return "" if mart.total is None else f", total {mart.total:,}"
