"""How every decoder case is fed: whole, byte by byte, with empty reads between, and cut anywhere at all."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Protocol

from hypothesis import settings
from hypothesis import strategies as st

FEEDS: dict[str, Callable[[bytes], list[bytes]]] = {
    "whole": lambda wire: [wire],
    "byte by byte": lambda wire: [wire[i : i + 1] for i in range(len(wire))],
    "in threes": lambda wire: [wire[i : i + 3] for i in range(0, len(wire), 3)],
    "with empty reads": lambda wire: [b"", wire[: len(wire) // 2], b"", wire[len(wire) // 2 :], b""],
}

# How long an example takes depends on the machine; how many there are decides how long the tests take.
FUZZ = settings(deadline=None, max_examples=200)


class Fed(Protocol):
    def feed(self, data: bytes) -> list[Any]: ...


def decode(decoder: Fed, reads: Iterable[bytes]) -> list[Any]:
    """All that `decoder` gives for `reads`."""
    return [item for data in reads for item in decoder.feed(data)]


@st.composite
def cuts(draw: st.DrawFn, wire: bytes) -> list[bytes]:
    """`wire` cut at up to 20 places, some of them the same: empty reads."""
    places = draw(st.lists(st.integers(0, len(wire)), max_size=20))
    return [wire[start:stop] for start, stop in pairwise([0, *sorted(places), len(wire)])]
