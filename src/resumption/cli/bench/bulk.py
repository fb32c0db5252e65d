"""Moving data: records of 16 KiB and messages of 100 bytes, written by one end in memory and read by the other.

Both contenders carry sealed bytes from the one to the other as an event loop does: ours from `data_to_send` to
`receive_data`, ``ssl`` through its memory BIOs. What arrives is counted, so nothing can be left out.
"""

from __future__ import annotations

from collections.abc import Callable

from resumption.cli.bench.contenders import Ours, StandardLibrary, Unfair
from resumption.cli.bench.material import Terms
from resumption.cli.certificates import Certificates
from resumption.handshake.events import DataReceived

__all__ = ["RECORD_LENGTH", "SMALL_LENGTH", "our_transfer", "standard_transfer"]

RECORD_LENGTH = 16_384  # bytes: the most that one record holds
SMALL_LENGTH = 100


def our_transfer(terms: Terms, certificates: Certificates, length: int) -> Callable[[], None]:
    """A function that sends ``length`` bytes from our client to our server, and back."""
    client, server = Ours(terms, certificates).connect(fresh=True)
    data = bytes(length)

    def run() -> None:
        for sender, receiver in ((client, server), (server, client)):
            sender.send_data(data)
            came = 0
            for event in receiver.receive_data(sender.data_to_send()):
                if isinstance(event, DataReceived):
                    came += len(event.data)
            if came != length:
                raise Unfair(f"{came} bytes of {length} arrived")

    return run


def standard_transfer(terms: Terms, certificates: Certificates, length: int) -> Callable[[], None]:
    """The same with the standard library's ``ssl``."""
    client, server = StandardLibrary(terms, certificates).connect(None)
    data = bytes(length)

    def run() -> None:
        for sender, receiver in ((client, server), (server, client)):
            sender.write(data)
            came = len(receiver.read(length))
            if came != length:
                raise Unfair(f"{came} bytes of {length} arrived")

    return run
