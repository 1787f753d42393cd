"""Mailboxes carry any bytes, keep their bounds and order, and say when they are full."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pgmux.worker.mailbox import LONGEST_BODY, Kind, Mailbox, Message


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.close()


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\xff" * 4000, bytes(LONGEST_BODY)], ids=len)
def test_a_body_comes_as_it_was_sent(mailbox: Mailbox, body: bytes) -> None:
    sent = [Message(Kind.NOTIFY, 7, 1 << 63, 3, body=body), Message(Kind.CANCEL, 1, 2)]
    for message in sent:
        assert mailbox.send(message)
    assert list(mailbox.collect()) == sent
    assert list(mailbox.collect()) == []


def test_a_full_mailbox_takes_nothing_and_loses_nothing(mailbox: Mailbox) -> None:
    sent = 0
    while mailbox.send(Message(Kind.NOTIFY, sent, body=bytes(8000))):
        sent += 1
    assert sent > 10
    assert [message.target for message in mailbox.collect()] == list(range(sent))
    assert mailbox.send(Message(Kind.NOTIFY, sent))


def test_a_descriptor_comes_with_its_body(mailbox: Mailbox) -> None:
    reading, writing = os.pipe()
    assert mailbox.send(Message(Kind.SOCKET, 1, fd=writing, body=b"body"))
    os.close(writing)
    (message,) = mailbox.collect()
    assert message.body == b"body"
    os.write(message.fd, b"!")
    os.close(message.fd)
    assert os.read(reading, 2) == b"!"
    os.close(reading)
