"""Changes to records, messages and bytes: what a hostile or broken peer might send. Standard library only."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

INTERESTING = (0, 1, 2, 3, 4, 16, 20, 21, 22, 23, 24, 32, 64, 127, 128, 254, 255)
WIDE = (0, 1, 2, 0x00FF, 0x0100, 0x0303, 0x0304, 0x4000, 0x4100, 0x7FFF, 0x8000, 0xFFFF)


def flip(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def overwrite(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    out = bytearray(data)
    out[rng.randrange(len(out))] = rng.choice(INTERESTING)
    return bytes(out)


def overwrite_two(rng: Random, data: bytes) -> bytes:
    if len(data) < 2:
        return data
    at = rng.randrange(len(data) - 1)
    return data[:at] + rng.choice(WIDE).to_bytes(2) + data[at + 2 :]


def insert(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    more = rng.randbytes(rng.choice((1, 1, 2, 4, 40))) if rng.random() < 0.7 else bytes(rng.choice((1, 4, 300)))
    return data[:at] + more + data[at:]


def delete(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 1, 2, 4, 30)) :]


def truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def repeat(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice((1, 4, 20, 200)))
    return data[:end] + data[start:end] * rng.choice((1, 1, 5, 60)) + data[end:]


BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (
    flip,
    flip,
    overwrite,
    overwrite_two,
    insert,
    delete,
    truncate,
    repeat,
)


def change_bytes(rng: Random, data: bytes) -> bytes:
    """One or a few of the changes above."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(BYTES)(rng, data)
    return data


def change_message(rng: Random, raw: bytes) -> bytes:
    """A handshake message with another body. Its length mostly still fits, so that the body is looked at."""
    kind, body = raw[:1], change_bytes(rng, raw[4:])
    if rng.random() < 0.05:
        kind = bytes((rng.choice((*range(26), 254, 255)),))
    if rng.random() < 0.95:
        return kind + len(body).to_bytes(3) + body
    return kind + rng.choice((0, 1, len(body) + 1, 0x020001, 0xFFFFFF)).to_bytes(3) + body


def change_extensions(rng: Random, body: bytes, at: int) -> bytes:
    """A message body whose extension block begins at ``at``: one extension more, less, twice, elsewhere or changed."""
    found: list[tuple[bytes, bytes]] = []
    start, end = at + 2, len(body)
    while start + 4 <= end:
        length = int.from_bytes(body[start + 2 : start + 4])
        found.append((body[start : start + 2], body[start + 4 : start + 4 + length]))
        start += 4 + length
    choice = rng.randrange(6)
    if choice == 0 and found:
        del found[rng.randrange(len(found))]
    elif choice == 1 and found:
        found.insert(rng.randint(0, len(found)), rng.choice(found))
    elif choice == 2:
        number = rng.choice(
            (0, 5, 10, 11, 13, 16, 18, 21, 23, 28, 35, 41, 42, 43, 44, 45, 47, 48, 50, 51, 0xFF01, 0x2A2A)
        )
        body_of = rng.choice((b"", b"\0", b"\0\0", b"\1\0", b"\0\2\0\x1d", rng.randbytes(rng.randint(0, 40))))
        found.insert(rng.randint(0, len(found)), (number.to_bytes(2), body_of))
    elif choice == 3:
        rng.shuffle(found)
    elif found:
        index = rng.randrange(len(found))
        number_of, old = found[index]
        found[index] = (number_of, change_bytes(rng, old))
    block = b"".join(number + len(old).to_bytes(2) + old for number, old in found)
    return body[:at] + (len(block) & 0xFFFF).to_bytes(2) + block


def extensions_at(raw: bytes) -> int | None:
    """Where the extension block of this hello begins in its body; None for other messages."""
    body = raw[4:]
    try:
        if raw[0] == 1:
            at = 34
            at += 1 + body[at]
            at += 2 + int.from_bytes(body[at : at + 2])
            at += 1 + body[at]
        elif raw[0] == 2:
            at = 34
            at += 1 + body[at] + 3
        elif raw[0] == 8:
            at = 0
        elif raw[0] == 13:
            at = 1 + body[0]
        elif raw[0] == 4:
            at = 8
            at += 1 + body[at]
            at += 2 + int.from_bytes(body[at : at + 2])
        else:
            return None
    except IndexError:
        return None
    return at if at + 2 <= len(body) else None


def twist(rng: Random, raw: bytes) -> bytes:
    """Some change to a handshake message."""
    at = extensions_at(raw)
    if at is not None and rng.random() < 0.6:
        body = change_extensions(rng, raw[4:], at)
        return raw[:1] + len(body).to_bytes(3) + body
    return change_message(rng, raw)


def split_records(data: bytes) -> list[bytes]:
    """The stream in records; what is cut short comes as the last one."""
    records = []
    while data:
        length = 5 + int.from_bytes(data[3:5]) if len(data) >= 5 else len(data)
        records.append(data[:length])
        data = data[length:]
    return records


def change_stream(rng: Random, data: bytes, spare: list[bytes]) -> bytes:
    """Records dropped, doubled, swapped, damaged, or some from elsewhere among them."""
    records = split_records(data)
    choice = rng.randrange(9)
    index = rng.randrange(len(records)) if records else 0
    if not records or choice == 0:
        return data + rng.randbytes(rng.randint(1, 60))
    if choice == 1:
        del records[index]
    elif choice == 2:
        records.insert(index, records[index])
    elif choice == 3:
        rng.shuffle(records)
    elif choice == 4 and spare:
        records.insert(index, rng.choice(spare))
    elif choice == 5:
        records[index] = change_bytes(rng, records[index])
    elif choice == 6:
        one = records[index]
        body = change_bytes(rng, one[5:])[: 2**14 + 300]
        records[index] = one[:3] + len(body).to_bytes(2) + body
    elif choice == 7:
        one = records[index]
        cut = rng.randint(0, max(0, len(one) - 5))
        halves = (one[5 : 5 + cut], one[5 + cut :])
        records[index] = b"".join(one[:3] + len(half).to_bytes(2) + half for half in halves)
    else:
        kind = rng.choice((20, 21, 22, 23, 24))
        body = rng.choice((b"", b"\1", b"\1\0", b"\2\50", b"\1\132", rng.randbytes(rng.randint(0, 80))))
        records.insert(index, bytes((kind, 3, rng.choice((1, 3)))) + len(body).to_bytes(2) + body)
    return b"".join(records)
