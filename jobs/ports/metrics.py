"""Metric samples as Prometheus defines them, passed on by adapters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

PREFIX = "martwright_"


@dataclass(frozen=True)
class Sample:
    """The value of a gauge under some labels."""

    name: str
    """With PREFIX, in base units: seconds, ratios, unix timestamps."""
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def of_pipeline(samples: Iterable[Sample], pipeline: str) -> list[Sample]:
    """Label samples with the pipeline: several pipelines may share one Prometheus."""
    return [replace(sample, labels={**sample.labels, "pipeline": pipeline}) for sample in samples]


def by_name(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Group samples by gauge: a gauge is exposed once, with one help text and one set of labels."""
    results: dict[str, list[Sample]] = {}
    for sample in samples:
        results.setdefault(sample.name, []).append(sample)
    return results
