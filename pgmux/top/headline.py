"""The first lines of the view: how pgmux fares altogether."""

from pgmux.top.lines import Overview
from pgmux.top.panels import show_count, show_duration, show_percent, show_size


def describe(overview: Overview) -> list[str]:
    """Two lines; and a third when something is wrong."""
    busy = "" if overview.cpu is None else f", {show_percent(overview.cpu)} cpu"
    memory = "" if overview.rss is None else f", {show_size(overview.rss)} rss"
    lines = [
        f"{overview.workers} of {overview.workers_wanted} workers{busy}{memory}   "
        f"{show_count(overview.transactions)} tps   {show_count(overview.queries)} qps",
        f"{show_count(overview.clients)} of {show_count(overview.clients_limit)} clients   "
        f"{show_count(overview.waiting)} waiting   "
        f"{show_count(overview.backends)} of {show_count(overview.backends_limit)} backends   "
        f"{show_count(overview.pinned)} pinned"
        + (f"   longest transaction {show_duration(overview.longest)}" if overview.longest else ""),
    ]
    if not overview.is_moving:
        lines.append(f"No worker has moved for {show_duration(overview.silence)}: is pgmux still running?")
    elif overview.is_paused:
        lines.append("PAUSED: clients wait from their next transaction on")
    return lines
