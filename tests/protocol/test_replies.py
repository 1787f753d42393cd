"""The replies owed, as byte strings: what was asked, what came, what is left. And a PostgreSQL of dice."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmux.protocol.replies import ANSWERED, ASYNCHRONOUS, MARKS, RULES, Conversation

ANSWERS = {
    "Q": b"TDCIGHWdcEZ",
    "F": b"VEZ",
    "S": b"EZ",
    "P": b"1E",
    "B": b"2E",
    "D": b"tTnE",
    "E": b"DCIsGHdcE",
    "C": b"3E",
}
SETTLING = {"Q": b"Z", "F": b"Z", "S": b"Z", "P": b"1", "B": b"2", "D": b"Tn", "E": b"CIs", "C": b"3"}


def after(requests: bytes) -> Conversation:
    return Conversation().send(requests)


# --- whole conversations


@pytest.mark.parametrize(
    ("requests", "replies"),
    [
        (b"Q", b"TDDDCZ"),
        (b"Q", b"CZ"),
        (b"Q", b"IZ"),
        (b"Q", b"EZ"),
        (b"Q", b"TDCTDCCZ"),  # several statements in one Query
        (b"Q", b"TDCEZ"),  # of which the last fails
        (b"Q", b"TDDEZ"),  # in the middle of its rows
        (b"QQQ", b"TCZEZCZ"),
        (b"F", b"VZ"),
        (b"F", b"EZ"),
        (b"S", b"Z"),
        (b"S", b"EZ"),  # a deferred constraint fails at the commit
        (b"PBDES", b"12TDCZ"),
        (b"PBDES", b"12nCZ"),
        (b"PDS", b"1tTZ"),  # Describe of a statement
        (b"PDS", b"1tnZ"),
        (b"PBES", b"12DDDsZ"),  # a portal with a limit
        (b"PBEEES", b"12DsDsDCZ"),
        (b"PBES", b"12IZ"),
        (b"PBDECS", b"12TDC3Z"),
        (b"PBDEHPBDEHS", b"12TDC12TDCZ"),
        (b"BDESBDESBDES", b"2TDCZ2TDCZ2TDCZ"),
        (b"PBDESQF", b"12TDCZTDCZVZ"),
        (b"Q", b"Hddddd" + b"cCZ"),  # COPY OUT
        (b"Q", b"HdddEZ"),
        (b"PBES", b"12HddcCZ"),
    ],
)
def test_a_conversation_that_goes_as_the_manual_says_ends_settled(requests: bytes, replies: bytes) -> None:
    conversation = after(requests)
    assert not conversation.is_settled
    assert conversation.receive(replies[:-1])
    assert not conversation.is_settled
    assert conversation.receive(replies[-1:])
    assert conversation.is_settled


def test_replies_are_matched_one_by_one_as_they_come() -> None:
    conversation = after(b"PBDES")
    for reply, owed in zip(b"12TDCZ", (b"BDES", b"DES", b"ES", b"ES", b"S", b""), strict=True):
        assert conversation.receive(bytes([reply]))
        assert conversation.owed == owed


def test_requests_may_be_sent_between_replies() -> None:
    conversation = after(b"PB")
    assert conversation.receive(b"1")
    conversation.send(b"D")
    assert conversation.receive(b"2")
    conversation.send(b"ES")
    assert conversation.receive(b"TDCZ")
    assert conversation.is_settled


# --- errors


@pytest.mark.parametrize("failing", range(4))
def test_an_error_answers_everything_up_to_the_next_sync(failing: int) -> None:
    conversation = after(b"PBDESPBDES")
    assert conversation.receive([b"", b"1", b"12", b"12T"][failing] + b"E")
    assert conversation.owed == b"SPBDES"
    assert conversation.receive(b"Z12TCZ")
    assert conversation.is_settled


def test_an_error_in_the_middle_of_rows_ends_them() -> None:
    conversation = after(b"PBESQ")
    assert conversation.receive(b"12DDDE")
    assert conversation.owed == b"SQ"
    assert conversation.receive(b"ZTDCZ")
    assert conversation.is_settled


def test_after_an_error_nothing_is_owed_until_a_sync_is_sent() -> None:
    conversation = after(b"P")
    assert conversation.receive(b"E")
    conversation.send(b"BDEHC")
    assert conversation.is_settled
    assert conversation.needs_sync
    conversation.send(b"S")
    assert conversation.owed == b"S"
    assert conversation.receive(b"Z")
    conversation.send(b"PBDES")
    assert conversation.receive(b"12TCZ")
    assert conversation.is_settled


@pytest.mark.parametrize("simple", [b"Q", b"F"])
def test_an_error_in_a_pipeline_silences_a_query_behind_it_too(simple: bytes) -> None:
    """PostgreSQL skips all messages until Sync, a Query and a FunctionCall as well."""
    together = after(b"P" + simple + b"S")
    assert together.receive(b"EZ")
    assert together.is_settled
    apart = after(b"P")
    assert apart.receive(b"E")
    apart.send(simple + b"S")
    assert apart.owed == b"S"
    assert apart.receive(b"Z")
    assert apart.is_settled


def test_an_error_of_a_query_answers_that_query_alone() -> None:
    conversation = after(b"QPBES")
    assert conversation.receive(b"E")
    assert conversation.owed == b"QPBES"
    assert conversation.receive(b"Z12CZ")
    assert conversation.is_settled


def test_an_error_that_nobody_asked_for_is_passed_on() -> None:
    """So PostgreSQL ends a session: by a timeout, at a shutdown, for an administrator."""
    assert after(b"").receive(b"E")
    conversation = after(b"Q")
    assert conversation.receive(b"EZE")
    assert conversation.is_settled


@pytest.mark.parametrize("kind", ASYNCHRONOUS)
@pytest.mark.parametrize("at", range(8))
def test_asynchronous_messages_may_come_at_any_moment_and_answer_nothing(kind: int, at: int) -> None:
    conversation = after(b"PBDES")
    replies = b"12TDDCZ"
    assert conversation.receive(replies[:at])
    owed = conversation.owed
    assert conversation.receive(bytes([kind]) * 3)
    assert conversation.owed == owed
    assert conversation.receive(replies[at:])
    assert conversation.is_settled


# --- COPY IN


@pytest.mark.parametrize("end", [b"c", b"f"])
@pytest.mark.parametrize("wait_for_g", [True, False])
def test_copy_in_by_a_query(end: bytes, wait_for_g: bool) -> None:
    conversation = after(b"Q")
    if wait_for_g:
        assert conversation.receive(b"G")
    conversation.send(b"ddd" + end + b"Q")
    if not wait_for_g:
        assert conversation.receive(b"G")
    assert conversation.receive(b"CZ" if end == b"c" else b"EZ")
    assert conversation.owed == b"Q"
    assert conversation.receive(b"TDCZ")
    assert conversation.is_settled


@pytest.mark.parametrize("sent_before_g", range(6))
def test_a_sync_is_swallowed_while_the_backend_reads_copy_data(sent_before_g: int) -> None:
    """libpq sends Sync right after Execute, and another after CopyDone: only the second is answered."""
    requests = b"PBESdcS"
    early = 4 + sent_before_g - 1 if sent_before_g else 3
    conversation = after(requests[:early])
    assert conversation.receive(b"12G")
    conversation.send(requests[early:])
    assert conversation.receive(b"CZ")
    assert conversation.is_settled


def test_flush_and_sync_in_copy_in_are_not_answered_however_many() -> None:
    conversation = after(b"PBE")
    assert conversation.receive(b"12G")
    conversation.send(b"SHSdSHSdc")
    assert conversation.owed == b"E"
    assert conversation.receive(b"C")
    assert conversation.is_settled
    conversation.send(b"S")
    assert conversation.receive(b"Z")
    assert conversation.is_settled


def test_copy_fail_of_an_extended_copy_is_answered_up_to_the_sync() -> None:
    conversation = after(b"PBES")
    assert conversation.receive(b"12G")
    conversation.send(b"dfS")
    assert conversation.owed == b"ES"
    assert conversation.receive(b"EZ")
    assert conversation.is_settled


def test_copy_that_fails_while_data_is_still_being_sent() -> None:
    """What comes late is ignored: CopyData, CopyDone; the Sync after it is answered."""
    conversation = after(b"PBE")
    assert conversation.receive(b"12G")
    conversation.send(b"dd")
    assert conversation.receive(b"E")
    conversation.send(b"ddc")
    assert conversation.is_settled
    assert conversation.needs_sync
    conversation.send(b"S")
    assert conversation.receive(b"Z")
    assert conversation.is_settled


def test_query_copy_that_fails_while_data_is_still_being_sent() -> None:
    conversation = after(b"Q")
    assert conversation.receive(b"G")
    conversation.send(b"dd")
    assert conversation.receive(b"EZ")
    conversation.send(b"ddcQ")
    assert conversation.owed == b"Q"
    assert conversation.receive(b"TDCZ")


def test_two_copies_in_one_pipeline() -> None:
    conversation = after(b"PBESdcPBESdfS")
    assert conversation.receive(b"12GC")
    assert conversation.receive(b"12GEZ")
    assert conversation.is_settled


def test_several_copies_in_one_query() -> None:
    conversation = after(b"Q")
    for _ in range(3):
        assert conversation.receive(b"G")
        conversation.send(b"ddSc")
        assert conversation.receive(b"C")
    assert conversation.receive(b"Z")
    assert conversation.is_settled


@pytest.mark.parametrize("late", [b"c", b"f", b"cf", b"d", b"ddc", b"H"])
def test_messages_that_are_never_answered_are_not_owed(late: bytes) -> None:
    assert after(late).is_settled
    assert after(late).needs_sync
    conversation = after(b"Q" + late + b"Q")
    assert conversation.receive(b"CZ")
    assert conversation.owed == b"Q"
    assert conversation.receive(b"CZ")
    assert conversation.is_settled


# --- mismatches


@pytest.mark.parametrize("request_type", ANSWERS)
def test_a_request_is_answered_by_its_own_replies_and_no_others(request_type: str) -> None:
    for reply in range(256):
        conversation = after(request_type.encode())
        expected = reply in ANSWERS[request_type] + ASYNCHRONOUS
        assert conversation.receive(bytes([reply])) is expected, chr(reply)


@pytest.mark.parametrize("request_type", ANSWERS)
def test_a_request_is_settled_by_its_last_reply_and_no_earlier(request_type: str) -> None:
    for reply in ANSWERS[request_type]:
        conversation = after(request_type.encode())
        assert conversation.receive(bytes([reply]))
        is_error = reply == ord("E") and request_type in "PBDEC"
        assert conversation.is_settled is (reply in SETTLING[request_type] or is_error), chr(reply)


def test_tables_of_module_and_test_name_the_same_requests_and_replies() -> None:
    assert set(ANSWERED.decode()) == set(ANSWERS)
    assert set().union(*ANSWERS.values()) == {ord(reply) for reply in RULES}


def test_nothing_but_an_error_and_asynchronous_messages_may_come_unasked() -> None:
    for reply in range(256):
        assert after(b"").receive(bytes([reply])) is (reply in b"E" + ASYNCHRONOUS)


@pytest.mark.parametrize(
    ("requests", "replies"),
    [
        (b"PBDES", b"2"),
        (b"PBDES", b"11"),
        (b"PBDES", b"12Z"),
        (b"PBDES", b"12TDCZZ"),
        (b"PBDES", b"EE"[:1] + b"1"),
        (b"Q", b"TDCZC"),
        (b"Q", b"1"),
        (b"QQ", b"ZT1"),
        (b"P", b"EZ"),
        (b"PBES", b"12GZ"),
    ],
)
def test_a_reply_that_answers_nothing_is_a_mismatch(requests: bytes, replies: bytes) -> None:
    conversation = after(requests)
    assert conversation.receive(replies[:-1])
    assert not conversation.receive(replies[-1:])


# --- whether a Sync is needed


@pytest.mark.parametrize(
    ("requests", "needs"),
    [
        (b"", True),
        (b"Q", False),
        (b"F", False),
        (b"S", False),
        (b"PBDES", False),
        (b"PBDE", True),
        (b"C", True),
        (b"QP", True),
        (b"PQ", True),  # if P fails, Q is not answered
        (b"SQ", False),
        (b"PSQ", False),
        (b"SPQ", True),
        (b"QQc", False),
    ],
)
def test_a_sync_is_needed_unless_the_backend_comes_to_rest_by_itself(requests: bytes, needs: bool) -> None:
    assert after(requests).needs_sync is needs


# --- depth


@pytest.mark.parametrize("depth", [15, 16, 17, 31, 32, 33, 1_000, 10_000])
def test_pipelines_of_any_depth_are_remembered_in_order(depth: int) -> None:
    requests = bytes(b"PBDEC"[each % 5] for each in range(depth)) + b"S"
    conversation = after(requests)
    assert conversation.owed == requests
    replies = {"P": b"1", "B": b"2", "D": b"T", "E": b"DC", "C": b"3"}
    for request in requests[:-1]:
        assert conversation.receive(replies[chr(request)])
    assert conversation.owed == b"S"
    assert conversation.receive(b"Z")
    assert conversation.is_settled


def test_a_ring_grows_in_the_middle_of_its_turn() -> None:
    for ahead in range(1, 40):
        conversation = after(b"Q" * ahead)
        assert conversation.receive(b"Z" * (ahead - 1))
        requests = (b"PBDES" * 60)[: 200 + ahead]
        conversation.send(requests)
        assert conversation.owed == b"Q" + requests


def test_an_error_drops_ten_thousand_requests_at_once() -> None:
    conversation = after(b"PBE" * 3_333 + b"SQ")
    assert conversation.receive(b"12CE")
    assert conversation.owed == b"SQ"


# --- a PostgreSQL made of dice


@dataclass
class Request:
    """What a client sends, and what will come of it if the server gets to it."""

    type: str
    replies: str = ""  # ends in E = it fails; in G = COPY IN begins


@dataclass
class Server:
    """PostgreSQL's message loop: it answers, skips to Sync after an error, reads CopyData after G."""

    inbox: deque[Request] = field(default_factory=deque)
    outbox: deque[str] = field(default_factory=deque)
    is_skipping: bool = False
    copying: str = ""  # the type of the request that began it

    def work(self) -> None:
        """Handles one message."""
        request = self.inbox.popleft()
        if self.copying:
            self._copy(request)
        elif self.is_skipping:
            if request.type == "S":
                self.is_skipping = False
                self._say("Z")
        elif request.type in "QPBDECFS":
            self._answer(request.type, request.replies)

    def _answer(self, kind: str, replies: str) -> None:
        self._say(replies)
        if replies.endswith("G"):
            self.copying = kind
        elif kind in "QFS":
            self._say("Z")
        elif replies.endswith("E"):
            self.is_skipping = True

    def _copy(self, request: Request) -> None:
        if request.type in "HS" or (request.type == "d" and not request.replies):
            return
        kind, self.copying = self.copying, ""
        self._answer(kind, request.replies)

    def _say(self, replies: str) -> None:
        self.outbox.extend(replies)


ROWS = st.sampled_from(["C", "TC", "TDC", "TDDDC", "I", "HddcC", "Hc" + "C"])
ERROR = st.just("E")
OUTCOMES: dict[str, st.SearchStrategy[str]] = {
    "Q": st.one_of(
        ROWS, st.lists(ROWS, max_size=3).map("".join), st.sampled_from(["E", "TDE", "CE", "HdE", "G", "TDCG"])
    ),
    "P": st.sampled_from("1111E"),
    "B": st.sampled_from("2222E"),
    "D": st.sampled_from(["T", "n", "tT", "tn", "E"]),
    "E": st.sampled_from(["C", "DC", "DDs", "s", "I", "HddcC", "DE", "E", "G", "G"]),
    "C": st.sampled_from("3333E"),
    "F": st.sampled_from("VE"),
    "S": st.sampled_from(["", "", "", "E"]),
}
COPY_ENDS = {"c": st.sampled_from(["C", "C", "E"]), "f": ERROR}


@st.composite
def pipelines(draw: st.DrawFn) -> list[Request]:
    """What a sane client may send: COPY data after a COPY and only then; a Sync at the end."""
    requests: list[Request] = []
    for kind in draw(st.lists(st.sampled_from("QPBDECFSPBDESSH"), max_size=25)):
        request = Request(kind, draw(OUTCOMES[kind]) if kind != "H" else "")
        requests.append(request)
        if request.replies.endswith("G"):
            requests += draw(copies())
    return [*requests, Request("S")]


@st.composite
def copies(draw: st.DrawFn) -> list[Request]:
    early = [Request(kind) for kind in draw(st.sampled_from(["", "S", "H", "SS", "SH"]))]
    data = [
        Request("d", draw(st.sampled_from(["", "", "", "", "E"]))) for _ in range(draw(st.integers(0, 4)))
    ]
    end = draw(st.sampled_from("ccf"))
    return [*early, *data, Request(end, draw(COPY_ENDS[end]))]


@settings(max_examples=400, deadline=None)
@given(pipelines(), st.integers(0, 1_000_000))
def test_no_valid_conversation_is_ever_a_mismatch_and_each_ends_settled(
    pipeline: list[Request], seed: int
) -> None:
    """Messages travel as they like: the queue must be right whatever has crossed whatever on the way."""
    for each in range(10):
        converse(pipeline, random.Random(seed + each))


def converse(pipeline: list[Request], chance: random.Random) -> None:
    conversation, server = Conversation(), Server()
    unsent = deque(pipeline)
    while unsent or server.inbox or server.outbox:
        moves = [move for move, has in zip("cso", (unsent, server.inbox, server.outbox), strict=True) if has]
        move = chance.choice([*moves, "n"])
        if move == "c":
            is_noted = unsent[0].type in "QPBDEC" and chance.random() < 0.5
            conversation.send(unsent[0].type.encode(), MARKS["noted"] if is_noted else 0)
            server.inbox.append(unsent.popleft())
        elif move == "s":
            server.work()
        elif move == "o":
            reply = server.outbox.popleft()
            assert conversation.receive(reply.encode()), (
                f"{reply!r} of {pipeline}, owed {conversation.owed!r}"
            )
        else:
            assert conversation.receive(chance.choice([b"N", b"S", b"A"]))
    assert conversation.is_settled
    assert conversation.owed == b""
    assert conversation.noted == 0
    assert not server.is_skipping
