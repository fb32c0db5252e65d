"""``resumption keys``: make ticket keys, look at them, rotate and revoke them. No key is ever printed but a new one."""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from resumption.cli.output import Status, fail, for_people, reports_errors, show_table, warn, write_json
from resumption.cli.sources import SOURCES, any_ticket_keys, ticket_keys
from resumption.errors import ConfigurationError
from resumption.session.fleet.revocation import PublishedEpoch
from resumption.session.stores.store import open_store
from resumption.session.tickets.keys import TicketKeys
from resumption.session.tickets.openssl_tickets import BLOCK_LENGTHS, OpenSSLTicketKeys
from resumption.session.tickets.secret_files import read_secret_file, write_secret_file
from resumption.session.verdicts import duration

__all__ = ["keys", "new", "revoke", "rotate", "status"]

keys = typer.Typer(help="Make, show, rotate and revoke ticket keys.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(metavar="KEYS", help=SOURCES)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_STORE_TIMEOUT_S = 2.0


@keys.command()
@reports_errors
def new(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there, mode 0600, not to the terminal.")
    ] = None,
    openssl: Annotated[
        int | None, typer.Option("--openssl", metavar="80|48", help="A key file for nginx and OpenSSL instead.")
    ] = None,
    ratchet: Annotated[
        bool, typer.Option("--ratchet", help="A ring whose passed days cannot be computed again; needs --out.")
    ] = False,
) -> None:
    """Make a secret for a fleet: 32 random bytes, as text."""
    if openssl is not None and openssl not in BLOCK_LENGTHS:
        fail("OpenSSL's key files have 80 or 48 bytes", Status.USAGE)
    if (openssl is not None or ratchet) and out is None:
        fail("say where to write it: --out FILE", Status.USAGE)
    if openssl is not None:
        content = _new_block(openssl)
    elif ratchet:
        now = time.time()
        ring = TicketKeys.from_secret(secrets.token_bytes(32), ratchet=True, since=now)
        content = ring.to_state(now).encode("ascii")
        ring.close()
    else:
        content = secrets.token_hex(32).encode() + b"\n"
    if out is None:
        for_people(content.decode("ascii").rstrip())
    elif not write_secret_file(out, content, replace=False):
        fail(f"{out} exists; an existing key is not overwritten", Status.USAGE)
    else:
        warn(f"{out} holds a secret: whoever has it can read sessions (its mode is 0600)")


@keys.command()
@reports_errors
def status(source: Source, json: Json = False) -> None:
    """Show the keys that are accepted now, their ages, and which one is issued with.

    Exit status: 0 if tickets are issued and nothing is wrong, else 1.
    """
    now = time.time()
    with contextlib.closing(any_ticket_keys(source)) as opened:
        found = opened.status(now)
    if json:
        write_json({**_plain(asdict(found)), "issuing": found.issuing})
    else:
        show_table(
            ["key", "epoch", "generation", "age", "accepted for", ""],
            [
                [
                    key.name,
                    str(key.epoch),
                    str(key.generation),
                    duration(key.age_s) if key.age_s >= 0 else f"in {duration(-key.age_s)}",
                    duration(key.accepted_for_s) if key.accepted_for_s < 1e12 else "always",
                    "issuing" if key.is_issuing else "",
                ]
                for key in found.keys
            ],
            title=f"{found.mode} keys {found.fingerprint}, {found.forward_secrecy}",
            numbers=(1, 2),
        )
    trouble = found.not_issuing_because or found.trouble
    if trouble is not None:
        fail(trouble)


@keys.command()
@reports_errors
def rotate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Key files of OpenSSL, the sealing one first; or one ring.")
    ],
) -> None:
    """Rotate what does not rotate by itself.

    Several key files of OpenSSL: a new key is put first, each one moves to the next file, the last one is forgotten.
    One file of a ratchet ring: it is moved on to now, so that passed days cannot be computed from it any more. A
    secret needs nothing: its keys change by the hour.
    """
    content = read_secret_file(files[0], 4096)
    if content.startswith(b"{"):
        if len(files) > 1:
            fail("a ring has one file", Status.USAGE)
        now = time.time()
        with contextlib.closing(TicketKeys.from_file(files[0])) as ring:
            ring.status(now)
            ring.save(files[0], now)
        for_people(f"{files[0]} begins with the oldest day still needed")
        return
    if len(content) not in BLOCK_LENGTHS:
        fail(f"{files[0]} is no key file of OpenSSL and no ring: a secret's keys rotate by themselves", Status.USAGE)
    blocks = [content, *(read_secret_file(path, max(BLOCK_LENGTHS)) for path in files[1:])]
    for path, block in zip(files, blocks, strict=True):
        _checked(path, block)
    # From the last to the first: at every moment each ticket that is to stay good has its key in some file.
    for path, block in zip(reversed(files), reversed([_new_block(len(content)), *blocks[:-1]]), strict=True):
        write_secret_file(path, block)
    for_people(f"a new key seals, {len(files) - 1} earlier ones open")


@keys.command()
@reports_errors
def revoke(
    source: Source,
    store: Annotated[
        str | None, typer.Option("--store", metavar="URL", help="The store through which the servers are told.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every session that was made until now; needs --store.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="HEX", help="One key file of OpenSSL, by its key's name.")
    ] = None,
    json: Json = False,
) -> None:
    """Revoke every session of a fleet (--all), or one key among OpenSSL's files (--name).

    --all raises the policy epoch, signs it with the keys and publishes it in the store: all servers that share both
    resume nothing that was made before. A single key of a secret is revoked in the configuration of the servers.
    """
    if everything == (name is not None):
        fail("give either --all or --name", Status.USAGE)
    if name is not None:
        _revoke_file(source, name)
        return
    if store is None:
        fail("--all needs --store: the servers are told through it", Status.USAGE)
    with (
        contextlib.closing(ticket_keys(source)) as opened,
        contextlib.closing(open_store(store, timeout_s=_STORE_TIMEOUT_S)) as shared,
    ):
        published = PublishedEpoch(shared, opened.ring)
        epoch = published.publish(published.read() + 1)
    if json:
        write_json({"policy_epoch": epoch})
    else:
        for_people(f"policy epoch {epoch}: sessions made before are not resumed; servers see it within seconds")


def _revoke_file(source: str, name: str) -> None:
    kind, _, rest = source.partition(":")
    if kind != "files":
        raise ConfigurationError("--name is for files:PATH,PATH; the servers' `revoked` option is for keys of a secret")
    for path in map(Path, rest.split(",")):
        block = read_secret_file(path, max(BLOCK_LENGTHS))
        _checked(path, block)
        if block[:16].hex() == name.lower():
            write_secret_file(path, _new_block(len(block)))
            for_people(f"{path} has a new key; tickets under {name} do not open any more")
            return
    fail("none of the files has a key of this name")


def _new_block(length: int) -> bytes:
    block = secrets.token_bytes(length)
    OpenSSLTicketKeys(block).close()
    return block


def _checked(path: Path, block: bytes) -> None:
    try:
        OpenSSLTicketKeys(block).close()
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    """Without infinity, which JSON does not have."""
    for key in facts["keys"]:
        if key["accepted_for_s"] > 1e12:
            key["accepted_for_s"] = None
    return facts
