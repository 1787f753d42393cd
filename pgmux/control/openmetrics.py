"""The page of metrics, in the format of OpenMetrics or the older one of Prometheus, as its reader wants it.

prometheus_client writes the formats. It is given a few samples at a time, so that a worker with thousands of
them gets back to its clients in between; that is why a metric's heading, which it writes each time, is kept
only once. Imported only where metrics are wanted: it costs some megabytes, shared when it is imported before
the fork.
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

from pgmux.control.figures import Figures
from pgmux.control.metrics import METRICS, Metric, Reading, Sample

SLICE_LINES: Final = 30  # written in half a millisecond or so

_END: Final = b"# EOF\n"  # of a page of OpenMetrics


def write_page(figures: Figures, accept: str) -> tuple[str, Iterator[bytes]]:
    """(content type, the page in pieces). `accept`: the reader's header of that name."""
    encode, content_type = choose_encoder(accept)
    if isinstance(encode, partial) and "escaping" in encode.keywords:
        # Our names need none in any of its ways, and to look at each of their letters takes a third of the time.
        encode = partial(encode, escaping="allow-utf-8")
    return content_type, _write(Reading(figures), encode)


def _write(reading: Reading, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
    """Pieces of about SLICE_LINES lines."""
    piece, has_end = b"", False
    for metric in METRICS:
        is_first = True
        for samples in _slices(metric, reading):
            page = encode(_Registry(_family(metric, samples)))
            has_end = page.endswith(_END)
            page = page.removesuffix(_END)
            piece += page if is_first else _without_heading(page)
            is_first = False
            if piece.count(b"\n") >= SLICE_LINES:
                yield piece
                piece = b""
    yield piece + (_END if has_end else b"")


def _slices(metric: Metric, reading: Reading) -> Iterator[list[Sample]]:
    """The metric's samples, so many at a time as make some lines; once even when there are none."""
    samples: list[Sample] = []
    lines, is_empty = 0, True
    for sample in metric.samples(reading):
        samples.append(sample)
        lines += len(sample.buckets) + 2 if sample.buckets else 1
        if lines >= SLICE_LINES:
            yield samples
            samples, lines, is_empty = [], 0, False
    if samples or is_empty:
        yield samples


def _family(metric: Metric, samples: list[Sample]) -> Any:
    if metric.kind == "info":
        (sample,) = samples
        return InfoMetricFamily(
            metric.name, metric.help, value=dict(zip(metric.labels, sample.labels, strict=True))
        )
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, total, buckets in samples:
            told = [("+Inf" if math.isinf(bound) else str(bound), count) for bound, count in buckets]
            histogram.add_metric(labels, told, sum_value=total)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value, _ in samples:
        family.add_metric(labels, float(value))
    return family


def _without_heading(page: bytes) -> bytes:
    return b"".join(line for line in page.splitlines(keepends=True) if not line.startswith(b"# "))


class _Registry:
    """One family, as the encoders want to have it."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> list[Any]:
        return [self._family]
