"""What the wire layer costs, in microseconds of processor time for each operation.

Run it with ``python tests/bench/bench_wire.py [rounds]``. Every operation runs in short slices, one after the other,
many times over; the least of each is printed, because a busy machine only ever adds. Beside some of them stands the
goal that they are held to, and at the end what the plainer way to do the same would cost.
"""

from __future__ import annotations

import gc
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from resumption.constants import MAX_CIPHERTEXT_LENGTH_13
from resumption.errors import DecodeError, IllegalParameter
from resumption.wire import extensions, messages12
from resumption.wire.codec import Message, Struct
from resumption.wire.messages import (
    Certificate,
    CertificateEntry,
    CertificateVerify,
    ClientHello,
    EncryptedExtensions,
    Finished,
    NewSessionTicket,
    ServerHello,
)
from resumption.wire.records import HandshakeBuffer, RecordReader

HELLOS = Path(__file__).parents[1] / "vectors" / "hellos"
SLICE_S = 0.002
ROUNDS = 100

Operation = tuple[str, float | None, Callable[[], object]]


def record(body: bytes) -> bytes:
    """A record of application data."""
    return b"\x17\x03\x03" + len(body).to_bytes(2) + body


def hello_of_247_bytes() -> ClientHello:
    """A hello of the size that the goal is stated for: 247 bytes of body, 11 extensions."""
    suites = (0x1302, 0x1303, 0x1301, 0xC02B)
    index = {number: bytes(10) for number in range(10)}
    hello = ClientHello(0x0303, bytes(32), bytes(32), suites, b"\0", index)
    return ClientHello(0x0303, bytes(32), bytes(32), suites, b"\0", {**index, 51: bytes(247 - len(hello.write()) - 4)})


def message_operations() -> list[Operation]:
    """Parse and pack of the messages that a handshake is made of."""
    certificate = CertificateEntry(bytes(900), {})
    samples: list[tuple[str, float, Message]] = [
        ("ClientHello, 11 extensions", 9, hello_of_247_bytes()),
        ("ServerHello", 3, ServerHello(0x0303, bytes(32), bytes(32), 0x1301, 0, {43: b"\x03\x04", 51: bytes(36)})),
        ("EncryptedExtensions", 3, EncryptedExtensions({16: bytes(5)})),
        ("Certificate, 1 entry", 3, Certificate(b"", (certificate,))),
        ("Certificate, 2 entries", 4.5, Certificate(b"", (certificate, certificate))),
        ("CertificateVerify", 3, CertificateVerify(0x0403, bytes(71))),
        ("Finished", 2, Finished(bytes(32))),
        ("NewSessionTicket", 3, NewSessionTicket(7200, 1, bytes(8), bytes(200), {})),
        ("ServerKeyExchange (1.2)", 3, messages12.ServerKeyExchange(3, 29, bytes(32), 0x0403, bytes(71))),
        ("ClientKeyExchange (1.2)", 3, messages12.ClientKeyExchange(bytes(32))),
    ]
    operations: list[Operation] = []
    for name, goal, message in samples:
        operations.append((f"parse {name}", goal, partial(type(message).parse, message.pack()[4:])))
        operations.append((f"pack  {name}", goal, message.pack))
    return operations


def extension_operations() -> list[Operation]:
    """The bodies that a server reads from a hello."""
    hello = ClientHello.parse((HELLOS / "openssl-resume13-stateless.bin").read_bytes()[9:])
    body = hello.extensions
    return [
        ("parse server_name", None, lambda: extensions.parse_server_name(body[0])),
        ("parse supported_groups", None, lambda: extensions.parse_supported_groups(body[10])),
        ("parse signature_algorithms", None, lambda: extensions.parse_signature_algorithms(body[13])),
        ("parse supported_versions", None, lambda: extensions.parse_supported_versions_client(body[43])),
        ("parse key_share", None, lambda: extensions.parse_key_share_client(body[51])),
        ("parse pre_shared_key", None, lambda: extensions.parse_pre_shared_key_client(body[41])),
    ]


def record_operations() -> list[Operation]:
    """Framing, each operation one record or message."""
    small, large = record(bytes(100)), record(bytes(2**14 + 17))
    reader, buffer = RecordReader(MAX_CIPHERTEXT_LENGTH_13), HandshakeBuffer()
    finished = Finished(bytes(32)).pack()

    def whole(data: bytes) -> None:
        reader.feed(data)
        reader.next_record()
        reader.next_record()

    def header_first() -> None:
        reader.feed(small[: reader.bytes_needed])
        reader.next_record()
        reader.feed(small[5:])
        reader.next_record()

    def message() -> None:
        buffer.feed(finished)
        buffer.next_message()
        buffer.next_message()

    return [
        ("record of 100 bytes, fed whole", None, lambda: whole(small)),
        ("record of 100 bytes, header first", None, header_first),
        ("record of 16 KiB, fed whole", None, lambda: whole(large)),
        ("handshake message, fed whole", None, message),
    ]


def streams() -> list[tuple[str, int, Callable[[], object]]]:
    """Longer runs, with the number of records in each."""
    small, large = record(bytes(100)) * 200, record(bytes(2**14 + 17)) * 12

    def walk(stream: bytes, size: int) -> None:
        reader = RecordReader(MAX_CIPHERTEXT_LENGTH_13)
        for at in range(0, len(stream), size):
            reader.feed(stream[at : at + size])
            while reader.next_record() is not None:
                pass

    return [
        ("record of 100 bytes, 200 in one feed", 200, lambda: walk(small, len(small))),
        ("record of 16 KiB, in pieces of 64 KiB", 12, lambda: walk(large, 65536)),
    ]


def by_constructor(cls: type[Struct], data: bytes) -> Struct:
    """A struct read the plain way: fields into a list, the list into the constructor."""
    fields: list[object] = []
    at, end = 0, len(data)
    for name, read, _ in cls._readers:
        try:
            field, at = read(data, at, end)
        except (DecodeError, IllegalParameter) as error:
            raise type(error)(f"{cls.__name__}.{name}: {error}") from None
        fields.append(field)
    return cls(*fields)


def plain_operations() -> list[Operation]:
    """What the tricks of the codec are measured against."""
    body = ServerHello(0x0303, bytes(32), bytes(32), 0x1301, 0, {}).pack()[4:]
    suites = bytes(range(40))
    unpack_known = struct.Struct(">20H").unpack_from
    return [
        ("ServerHello through its slots", None, partial(ServerHello.read, body, 0, len(body))),
        ("ServerHello by its constructor", None, partial(by_constructor, ServerHello, body)),
        ("20 numbers, unpacker made before", None, partial(unpack_known, suites, 0)),
        (
            "20 numbers, unpacker made from a format",
            None,
            lambda: struct.unpack_from(f">{len(suites) >> 1}H", suites, 0),
        ),
    ]


def best_of(operations: list[Operation], rounds: int) -> list[float]:
    """The least time of each operation, in microseconds, over ``rounds`` interleaved slices."""
    counts = []
    for _, _, run in operations:
        count, elapsed = 1, 0.0
        while elapsed < SLICE_S / 4:
            count *= 2
            elapsed = timed(run, count)
        counts.append(max(1, int(count * SLICE_S / elapsed)))
    best = [float("inf")] * len(operations)
    for _ in range(rounds):
        for place, ((_, _, run), count) in enumerate(zip(operations, counts, strict=True)):
            best[place] = min(best[place], timed(run, count) / count)
    return [seconds * 1e6 for seconds in best]


def timed(run: Callable[[], object], count: int) -> float:
    """Processor time of ``count`` runs, in seconds."""
    repeat = range(count)
    start = time.process_time()
    for _ in repeat:
        run()
    return time.process_time() - start


def main(rounds: int) -> None:
    """Measure everything and print one line for each."""
    runs = streams()
    operations = message_operations() + extension_operations() + record_operations()
    operations += [(name, None, run) for name, _, run in runs] + plain_operations()
    divisors = {name: count for name, count, _ in runs}
    gc.freeze()
    print(f"{'microseconds':<44}{'best':>8}{'goal':>8}")
    for (name, goal, _), cost in zip(operations, best_of(operations, rounds), strict=True):
        print(f"{name:<44}{cost / divisors.get(name, 1):>8.2f}{goal or '':>8}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
