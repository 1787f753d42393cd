"""Pools as the segment tells them: clients, backends, and why somebody waits."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pgmux.config import PoolSettings
from pgmux.control.reasons import why
from pgmux.control.spelling import known, shown

if TYPE_CHECKING:
    from pgmux.control.figures import Figures
    from pgmux.shm.survey import _PoolSurvey


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """One pool."""

    number: int
    database: str
    user: str
    pool_size: int
    is_paused: bool
    settings: PoolSettings | None  # None: a reload has taken its database away
    # clients
    idle: int
    served: int
    waiting: int
    longest_wait_us: int
    reason: str  # why its clients wait, or would: one of `reasons.REASONS`
    detail: str  # the same in a sentence
    # backends
    opening: int
    free: int
    serving: int
    cleaning: int
    being_cancelled: int
    closing: int
    outdated: int
    cancels: int
    trouble: str  # why PostgreSQL's last log-in failed; "" when it did not

    @property
    def clients(self) -> int:
        """All its clients."""
        return self.idle + self.served + self.waiting

    @property
    def backends(self) -> int:
        """All its connections to PostgreSQL, those included that are being opened or closed."""
        others = self.cleaning + self.being_cancelled
        return self.opening + self.free + self.serving + others + self.closing


class SurveyFigures:
    """All pools as they were counted at one moment."""

    def __init__(
        self, figures: "Figures", rows: "list[_PoolSurvey]", logging_in: int, records: int, consoles: int
    ) -> None:
        self.logging_in = logging_in  # clients
        self.consoles = consoles  # clients of the console
        self.clients = records  # whose sockets are open, those included that log in
        self._figures = figures
        self._rows = rows

    @cached_property
    def pools(self) -> list[PoolFigures]:
        """One a pool."""
        is_paused = self._figures.pools_table.is_pool_paused
        reasons = explain_waits(self._rows, is_paused, self._figures.segment.slot_count)
        return [self._pool(row, *reason) for row, reason in zip(self._rows, reasons, strict=True)]

    def _pool(self, row: "_PoolSurvey", reason: str, detail: str) -> PoolFigures:
        try:
            settings = self._figures.config.settings_of_pool(known(row["database"]), known(row["user"]))
        except KeyError:
            settings = None
        return PoolFigures(
            number=row["pool"],
            database=shown(row["database"]),
            user=shown(row["user"]),
            pool_size=row["pool_size"],
            is_paused=self._figures.pools_table.is_pool_paused(row["pool"]),
            settings=settings,
            idle=row["idle"],
            served=row["served"],
            waiting=row["waiting"],
            longest_wait_us=row["longest_wait_us"],
            reason=reason,
            detail=detail,
            opening=row["opening"],
            free=row["free"],
            serving=row["serving"],
            cleaning=row["cleaning"],
            being_cancelled=row["being_cancelled"],
            closing=row["closing"],
            outdated=row["outdated"],
            cancels=row["cancels"],
            trouble=shown(row["trouble"]),
        )


def explain_waits(
    rows: "list[_PoolSurvey]", is_paused: Callable[[int], bool], max_backends: int
) -> list[tuple[str, str]]:
    """Why clients of each pool wait, or would: a word of `reasons.REASONS`, and a sentence."""
    by_database: dict[bytes, int] = {}
    for row in rows:
        by_database[row["database"]] = by_database.get(row["database"], 0) + backends_of(row)
    in_all = sum(by_database.values())
    return [
        why(
            is_paused=is_paused(row["pool"]),
            trouble=shown(row["trouble"]),
            usable=row["free"] + row["serving"] + row["cleaning"] + row["being_cancelled"],
            opening=row["opening"],
            backends=backends_of(row),
            pool_size=row["pool_size"],
            in_database=by_database[row["database"]],
            database_limit=row["database_limit"],
            in_all=in_all,
            max_backends=max_backends,
        )
        for row in rows
    ]


def backends_of(row: "_PoolSurvey") -> int:
    """All of a pool's slots that are not EMPTY."""
    others = row["cleaning"] + row["being_cancelled"]
    return row["opening"] + row["free"] + row["serving"] + others + row["closing"]
