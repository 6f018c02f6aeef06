"""One figure of a run, as Prometheus names it: what adapters carry, whatever it says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

PREFIX = "martwright_"


@dataclass(frozen=True)
class Sample:
    """The value of a gauge under some labels."""

    name: str
    """With our prefix, in base units: seconds, ratios, unix timestamps."""
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def of_pipeline(samples: Iterable[Sample], pipeline: str) -> list[Sample]:
    """Label samples with the pipeline, for several of them share one Prometheus."""
    return [replace(sample, labels={**sample.labels, "pipeline": pipeline}) for sample in samples]


def by_name(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Put the samples of a gauge together: it is told of once, with one text and one set of labels."""
    results: dict[str, list[Sample]] = {}
    for sample in samples:
        results.setdefault(sample.name, []).append(sample)
    return results
