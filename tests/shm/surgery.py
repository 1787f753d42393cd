"""A hand in the segment's file: states that only a process killed between two instructions leaves.

The offsets are those of pgmux/shm/layout.pxd, worked out here a second time.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_HEADER: Final = struct.Struct("=8s8I11QI")
_POOL_BYTES, _HEAD_AT, _TAIL_AT = 3392, 3264, 3328
_SLOT_BYTES = 64
_TURN_AT, _TURN_BITS = 40, 24


class Surgery:
    """The file of a segment, mapped read-write beside the segment's own mapping."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        fields = _HEADER.unpack_from(self._map)
        self.cells, self._words = fields[6], fields[7]
        self._slots_at, self._pools_at, self._bits_at, self._rings_at = (
            fields[at] for at in (12, 14, 15, 16)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._map.close()

    def word(self, slot: int) -> int:
        """A slot's lease word."""
        return self._get(self._slots_at + slot * _SLOT_BYTES)

    def is_free_bit_set(self, pool: int, slot: int) -> bool:
        """What the pool's free bitmap says of a slot."""
        return bool(self._get(self._bit_word_at(pool, slot)) >> slot % 64 & 1)

    def set_free_bit(self, pool: int, slot: int) -> None:
        """Makes the bitmap say that a slot is free, be it or not."""
        at = self._bit_word_at(pool, slot)
        self._set(at, self._get(at) | 1 << slot % 64)

    def head(self, pool: int) -> int:
        """The ticket that is served next, or one that was served already."""
        return self._get(self._pools_at + pool * _POOL_BYTES + _HEAD_AT)

    def set_head(self, pool: int, ticket: int) -> None:
        self._set(self._pools_at + pool * _POOL_BYTES + _HEAD_AT, ticket)

    def tail(self, pool: int) -> int:
        """The ticket that is given out next, or one that was given out already."""
        return self._get(self._pools_at + pool * _POOL_BYTES + _TAIL_AT)

    def set_tail(self, pool: int, ticket: int) -> None:
        self._set(self._pools_at + pool * _POOL_BYTES + _TAIL_AT, ticket)

    def start_queue_at(self, pool: int, ticket: int) -> None:
        """An empty queue whose next ticket is this one, as after so many turns of the ring."""
        self.set_head(pool, ticket)
        self.set_tail(pool, ticket)
        for each in range(ticket, ticket + self.cells):
            turn = each // self.cells % (1 << _TURN_BITS)
            self._set(self._cell_at(pool, each), turn << _TURN_AT)

    def _cell_at(self, pool: int, ticket: int) -> int:
        return int(self._rings_at + (pool * self.cells + ticket % self.cells) * 8)

    def _bit_word_at(self, pool: int, slot: int) -> int:
        return int(self._bits_at + (pool * self._words + slot // 64) * 8)

    def _get(self, at: int) -> int:
        return int(struct.unpack_from("=Q", self._map, at)[0])

    def _set(self, at: int, value: int) -> None:
        struct.pack_into("=Q", self._map, at, value)
