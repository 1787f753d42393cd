"""The demand on an ear: which workers want which channels, and what must be said to PostgreSQL for it.

No I/O. Workers ask questions ("listen to these for me"); `compose` gives one batch of statements
for what has come together; when PostgreSQL has answered it, `settle` gives the questions that are
answered by it.

A question is answered by a batch that was composed after it came, even if all its channels were
listened to already: PostgreSQL sends what was committed before a statement before that statement's
answer, so the answer divides what was committed before the question from what is committed after.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

CHANNELS_A_BATCH = 1000  # notifications are read between two batches


class Question(NamedTuple):
    """Who wants to know that it is listened to which channels; `number` is the asker's."""

    worker: int
    number: int
    channels: tuple[bytes, ...] = ()


class Batch(NamedTuple):
    """Statements that are said to PostgreSQL together, and what is settled by them."""

    sql: bytes
    listens: tuple[bytes, ...] = ()
    unlistens: tuple[bytes, ...] = ()
    answers: tuple[Question, ...] = ()


class Demand:
    """What all workers want of one ear."""

    def __init__(self) -> None:
        self.wanted: defaultdict[int, set[bytes]] = defaultdict(set)  # by each worker that ever asked
        self.wanting: dict[bytes, set[int]] = {}  # workers, by channel
        self.listened: set[bytes] = set()  # what PostgreSQL was told to listen to
        self._todo: dict[bytes, None] = {}  # wanted and not listened to, in this order
        self._surplus: dict[bytes, None] = {}  # listened to, and wanted no more
        self._questions: list[Question] = []
        self._one_by_one = False  # some statement failed: find out which

    def listen(self, question: Question) -> None:
        """A worker wants these channels too, and an answer."""
        self.wanted[question.worker].update(question.channels)
        for channel in question.channels:
            self.wanting.setdefault(channel, set()).add(question.worker)
            self._surplus.pop(channel, None)
            if channel not in self.listened:
                self._todo[channel] = None
        self._questions.append(question)

    def unlisten(self, worker: int, channels: Iterable[bytes]) -> None:
        """A worker does not want these channels any more."""
        for channel in channels:
            self.wanted[worker].discard(channel)
            workers = self.wanting.get(channel, set())
            workers.discard(worker)
            if not workers and self.wanting.pop(channel, None) is not None:
                self._todo.pop(channel, None)
                if channel in self.listened:
                    self._surplus[channel] = None

    def forget(self, worker: int) -> None:
        """A worker has died."""
        self.unlisten(worker, tuple(self.wanted[worker]))
        del self.wanted[worker]
        self._questions = [question for question in self._questions if question.worker != worker]

    @property
    def is_met(self) -> bool:
        """Whether PostgreSQL was told to listen to all that is wanted."""
        return not self._todo

    def compose(self) -> Batch | None:
        """What is to be said next; None = nothing."""
        if not (self._todo or self._surplus or self._questions):
            return None
        listens = tuple(islice(self._todo, 1 if self._one_by_one else CHANNELS_A_BATCH))
        unlistens = tuple(islice(self._surplus, CHANNELS_A_BATCH))
        for channel in listens:
            del self._todo[channel]
        for channel in unlistens:
            del self._surplus[channel]
        self.listened.update(listens)
        self.listened.difference_update(unlistens)
        answers, self._questions = self._divided()
        statements = [b"LISTEN " + _quoted(channel) for channel in listens]
        statements += [b"UNLISTEN " + _quoted(channel) for channel in unlistens]
        return Batch(b";".join(statements), listens, unlistens, tuple(answers))

    def _divided(self) -> tuple[list[Question], list[Question]]:
        """The questions of which nothing is left to do, and the others."""
        done: list[Question] = []
        left: list[Question] = []
        for question in self._questions:
            (done if self._todo.keys().isdisjoint(question.channels) else left).append(question)
        return done, left

    def settle(self, batch: Batch) -> tuple[Question, ...]:
        """PostgreSQL has done it: the questions that are answered now."""
        self._one_by_one = self._one_by_one and bool(self._todo)
        return batch.answers

    def fail(self, batch: Batch) -> None:
        """PostgreSQL has refused it, or is gone: what it was to do is to be done again, last of all."""
        self._one_by_one = len(batch.listens) > 1 or self._one_by_one
        self.listened.difference_update(batch.listens)
        self._todo |= dict.fromkeys(channel for channel in batch.listens if channel in self.wanting)
        for channel in batch.unlistens:
            self.listened.add(channel)
            if channel not in self.wanting:
                self._surplus[channel] = None
            self._todo.pop(channel, None)
        self._questions += [question for question in batch.answers if question.worker in self.wanted]

    def begin_again(self) -> None:
        """There is a new backend, which listens to nothing yet."""
        self.listened.clear()
        self._surplus.clear()
        self._todo = dict.fromkeys(self.wanting)
        self._one_by_one = False


def _quoted(channel: bytes) -> bytes:
    return b'"' + channel.replace(b'"', b'""') + b'"'
