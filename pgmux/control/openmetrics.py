"""The page of metrics, in the format of OpenMetrics or the older one of Prometheus, as its reader wants it.

prometheus_client writes the formats, which takes it ten microseconds a line; but all that stands before a value is
the same on every page. It is asked once for each series, what it wrote is kept, and later pages are made of
that and of the values of their moment: a tenth of the work, and this worker's clients wait for no more. Pages
come in slices, so that a worker with thousands of series gets back to them in between. Imported only where
metrics are wanted: it costs some megabytes, shared when it is imported before the fork.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from pgmux.control.figures import Figures
from pgmux.control.metrics import METRICS, Labels, Metric, Reading, Sample

SLICE_LINES: Final = 100  # written in a millisecond if they are new, in a tenth of it later

_END: Final = b"# EOF\n"  # of a page of OpenMetrics
_MOST_KEPT: Final = 20_000  # series: pools come and go, with strangers' names

Encode = Callable[[Any], bytes]


class Pages:
    """The pages of one process."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._scribes: dict[str, _Scribe] = {}  # by content type, of which there are a handful

    def write(self, accept: str) -> tuple[str, Iterator[bytes]]:
        """(content type, the page in slices of about SLICE_LINES lines). `accept`: the reader's header of that
        name."""
        encode, content_type = choose_encoder(accept)
        if content_type not in self._scribes:
            self._scribes[content_type] = _Scribe(encode)
        return content_type, self._scribes[content_type].write(Reading(self._figures))


class _Scribe:
    """Writes one format."""

    def __init__(self, encode: Encode) -> None:
        if isinstance(encode, partial) and "escaping" in encode.keywords:
            # Our names need none in any of its ways, and to look at each of their letters takes a third of the time.
            encode = partial(encode, escaping="allow-utf-8")
        self._encode = encode
        self._end = _END if encode(_Registry(_family(METRICS[0], None))).endswith(_END) else b""
        self._headings = {metric.name: b"".join(self._lines_of(_family(metric, None))) for metric in METRICS}
        self._series: dict[tuple[str, Labels], list[bytes]] = {}

    def write(self, reading: Reading) -> Iterator[bytes]:
        """The page, in slices."""
        lines: list[bytes] = []
        for metric in METRICS:
            lines.append(self._headings[metric.name])
            for sample in metric.samples(reading):
                before = self._series.get((metric.name, sample.labels)) or self._learn(metric, sample)
                for words, value in zip(before, _values(sample), strict=True):
                    lines.append(b"%b %b\n" % (words, floatToGoString(value).encode()))
                if len(lines) >= SLICE_LINES:
                    yield b"".join(lines)
                    lines = []
        yield b"".join([*lines, self._end])

    def _learn(self, metric: Metric, sample: Sample) -> list[bytes]:
        """What stands before each value of this sample."""
        lines = self._lines_of(_family(metric, sample))
        before = [line.rpartition(b" ")[0] for line in lines if not line.startswith(b"#")]
        if len(self._series) >= _MOST_KEPT:
            self._series.clear()
        self._series[metric.name, sample.labels] = before
        return before

    def _lines_of(self, family: Any) -> list[bytes]:
        """The lines of a family, without the page's end."""
        return self._encode(_Registry(family)).removesuffix(_END).splitlines(keepends=True)


def _values(sample: Sample) -> list[float]:
    """The values of a sample's lines, in prometheus_client's order."""
    if not sample.buckets:
        return [sample.value]
    counts = [float(count) for _, count in sample.buckets]
    return [*counts, counts[-1], sample.value]


def _family(metric: Metric, sample: Sample | None) -> Any:
    """A metric with one sample, or with its heading alone."""
    if metric.kind == "info":
        value = dict(zip(metric.labels, sample.labels, strict=True)) if sample else None
        return InfoMetricFamily(metric.name, metric.help, value=value)
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        if sample:
            told = [
                ("+Inf" if math.isinf(bound) else str(bound), float(count)) for bound, count in sample.buckets
            ]
            histogram.add_metric(sample.labels, told, sum_value=sample.value)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    if sample:
        family.add_metric(sample.labels, float(sample.value))
    return family


class _Registry:
    """One family, as the encoders want to have it."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> list[Any]:
        return [self._family]
