"""Conversations that are nearly right: real ones, some of their bytes changed, lost, doubled or exchanged."""

from __future__ import annotations

from hypothesis import strategies as st

MAX_CHANGES = 4
TELLING = [0, 1, 3, 4, 5, 8, 0x7F, 0x80, 0xFF, *b"=,;$+/\\ -cnpqrsvy"]  # bytes that mean something somewhere


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """A conversation with up to MAX_CHANGES changes."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, MAX_CHANGES))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.sampled_from([1, 2, 4, 5, 8, 20]))
        match draw(st.sampled_from(["flip", "tell", "lose", "double", "add", "length", "end"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "tell" if at < len(data):
                data[at] = draw(st.sampled_from(TELLING))
            case "lose":
                del data[at : at + size]
            case "double":
                data[at:at] = data[at : at + size]
            case "add":
                data[at:at] = draw(st.binary(max_size=size))
            case "length":
                data[at : at + 4] = draw(st.integers(0, 2**32 - 1)).to_bytes(4, "big")
            case "end":
                del data[at:]
            case _:
                pass
    return bytes(data)


@st.composite
def cut(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """The same bytes in some pieces."""
    places = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    return [whole[begin:end] for begin, end in zip([0, *places], [*places, len(whole)], strict=True)]
