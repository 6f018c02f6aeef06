"""What the server of the pages measures of itself, as Prometheus reads it."""

from datetime import datetime

from jobs.pages.live import State
from jobs.ports.metrics import PREFIX, Sample


def samples(state: State) -> list[Sample]:
    """Return the gauges of what is shown; what is not known yet is left out."""
    about = "Whether the target did not answer the last look, or a build has it."
    results = [_sample("trouble", about, bool(state.trouble))]
    times: list[tuple[str, str, datetime | None]] = [
        ("answered", "When the target last answered.", state.answered_at),
        ("looked", "When the last look for another publication ended.", state.looked_at),
    ]
    if publication := state.publication:
        times.append(("published", "When the publication that is shown was published.", publication.published_at))
        results.append(_sample("cells", "Cells in memory.", publication.cube.size))
    results += [_sample(f"{name}_timestamp_seconds", about, at.timestamp()) for name, about, at in times if at]
    return results


def _sample(name: str, about: str, value: float) -> Sample:
    return Sample(f"{PREFIX}pages_{name}", about, float(value))
