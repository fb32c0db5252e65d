"""What the blocking and the asyncio store for Redis and Valkey have in common: addresses, settings, and the commands'
words.

A URL is ``redis://[user[:password]@]host[:port][/db]``, with TLS ``rediss://``; ``valkey://`` and ``valkeys://`` are
the same. ``redis+cluster://host:port,host:port`` reaches a cluster through any of its nodes,
``redis+sentinel://host:port,host:port/service[/db]`` whichever server the sentinels call the service's primary, and
``redis+unix:///path/to/socket`` a server on this machine. Both first also exist with TLS (``rediss+cluster``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from resumption.errors import ConfigurationError, StoreError
from resumption.session.stores.addresses import Options, parse_address
from resumption.session.stores.entries import seconds_left
from resumption.session.stores.store import Continuity

__all__ = [
    "CHECK_EVERY_S",
    "MAY_EVICT",
    "RedisAccess",
    "continuity_of",
    "expiry_of",
    "literal",
    "mark_name",
    "retries",
    "sentinels_of",
    "trouble",
    "value_name",
]

CHECK_EVERY_S = 1.0  # seconds between two looks at whether the server may drop marks
MAY_EVICT = "the store may evict marks: set its maxmemory-policy to noeviction"

_OPTIONS: Options = {
    "timeout_s": float,
    "connect_timeout_s": float,
    "max_connections": int,
    "wait_replicas": int,
    "db": int,
    "ca_file": str,
    "certificate_file": str,
    "key_file": str,
    "sentinel_username": str,
    "sentinel_password": str,
}
_CODE = re.compile(r"[A-Z]{2,24}\b")
_SENTINEL_KEY = "resumption:alive"
_LONGEST_TIMEOUT_S = 60.0


class RedisAccess:
    """Where a store is and how to get there, checked. Immutable."""

    __slots__ = ("_address", "db", "is_tls", "kind", "nodes", "path", "service", "settings", "timeout_s", "wait")

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises `ConfigurationError` if the URL does not make sense. ``timeout_s`` is for URLs that name none."""
        self._address = address = parse_address(url, 26_379 if "+sentinel:" in url[:24] else 6379, _OPTIONS)
        scheme, _, self.kind = address.scheme.partition("+")
        options = address.options
        self.is_tls = scheme in ("rediss", "valkeys")
        self.nodes = address.nodes
        self.timeout_s = self._duration("timeout_s", timeout_s)
        self.wait = int(options.get("wait_replicas", 0))
        self.path, self.service, database = "", "", address.path.removeprefix("/")
        if self.kind == "unix":
            self.path, database = address.path, ""
        elif self.kind == "sentinel":
            self.service, _, database = database.partition("/")
        if self.kind not in ("", "cluster", "sentinel", "unix") or (self.kind == "unix" and self.is_tls):
            raise ConfigurationError(f"there is no store of the kind {address.scheme}")
        if bool(self.nodes) == (self.kind == "unix") or (self.kind == "" and len(self.nodes) != 1):
            raise ConfigurationError(f"the URL of a {address.scheme} store does not name its servers as it must")
        if (self.kind == "sentinel") != bool(self.service) or (self.kind == "unix") != (len(self.path) > 1):
            raise ConfigurationError(f"the URL of a {address.scheme} store does not say what it must behind the host")
        if database and not (database.isascii() and database.isdigit()):
            raise ConfigurationError("a Redis database is a number, or in the URL of sentinels a service and a number")
        self.db = int(database or options.get("db", 0))
        if self.kind == "cluster" and (self.db or self.wait):
            raise ConfigurationError("a cluster has one database, and no wait_replicas")
        if int(options.get("max_connections", 1)) < 1 or self.wait < 0:
            raise ConfigurationError("max_connections is 1 or more, wait_replicas 0 or more")
        if not self.is_tls and {"ca_file", "certificate_file", "key_file"} & set(options):
            raise ConfigurationError("ca_file, certificate_file and key_file belong to rediss:// URLs")
        self.settings = self._settings()

    def _duration(self, name: str, default: float) -> float:
        value = float(self._address.options.get(name, default))
        if not 0 < value <= _LONGEST_TIMEOUT_S:
            raise ConfigurationError(f"{name} must be above 0 and at most {_LONGEST_TIMEOUT_S:g} seconds")
        return value

    def _settings(self) -> dict[str, Any]:
        """Keywords that every kind of client takes. The deadline of a call is kept by the caller: a socket that is
        silent for longer only has to be given up, and making a connection may take longer than a call waits."""
        address, options = self._address, self._address.options
        settings: dict[str, Any] = {
            "username": address.username,
            "password": address.password,
            "socket_timeout": self.timeout_s,
            "socket_connect_timeout": self._duration("connect_timeout_s", max(1.0, self.timeout_s)),
            "max_connections": int(options.get("max_connections", 64)),
            "protocol": 2,  # no greeting, and no messages that nobody asked for
            "driver_info": None,
            "decode_responses": False,
        }
        if self.is_tls:
            settings |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
            for option, keyword in (
                ("ca_file", "ssl_ca_certs"),
                ("certificate_file", "ssl_certfile"),
                ("key_file", "ssl_keyfile"),
            ):
                if option in options:
                    settings[keyword] = options[option]
        return settings

    @property
    def sentinel_settings(self) -> dict[str, Any]:
        """Keywords for the connections to the sentinels, which have users of their own."""
        options = self._address.options
        settings = {name: value for name, value in self.settings.items() if name != "max_connections"}
        return {
            **settings,
            "username": options.get("sentinel_username"),
            "password": options.get("sentinel_password"),
        }

    def __repr__(self) -> str:
        where = self.path or ",".join(f"{host}:{port}" for host, port in self.nodes)
        return f"{self._address.scheme}://{where}"


def retries(kind: type[Any]) -> Any:
    """How clients try again: not at all. A write whose answer was lost may have been carried out, and its value taken:
    repeated, it would bring a spent session back. Connections that were closed while idle are noticed before use."""
    return kind(NoBackoff(), 0)


def value_name(key: str) -> str:
    """Under which name a value lies."""
    return f"v:{key}"


def literal(prefix: str) -> str:
    """``prefix`` for a pattern of SCAN, where some characters mean others."""
    return re.sub(r"([\\*?\[\]^-])", r"\\\1", prefix)


def mark_name(key: str) -> str:
    """Under which name a mark lies."""
    return f"m:{key}"


def expiry_of(expires_at: float, now: float) -> tuple[str | int, ...] | None:
    """The server's share of an entry's end, as options of SET: never before the moment. None if it has passed."""
    left = seconds_left(expires_at, now)
    if left is None:
        return ()
    return ("PX", int(left * 1000) + 1) if left else None


def sentinels_of(client: Any, kind: str) -> list[tuple[Any, str]]:
    """The primaries, each with the name of a key that it keeps, which shows whether it was emptied.

    None stands for the only server. In a cluster each keeps one of the first many, by its slots.
    """
    if kind != "cluster":
        return [(None, _SENTINEL_KEY)]
    nodes = list(client.get_primaries())
    found: dict[Any, str] = {}
    for number in range(max(2, len(nodes)) * 64):
        name = f"{_SENTINEL_KEY}:{number}"
        found.setdefault(client.get_node_from_key(name).name, name)
    return [(node, found[node.name]) for node in nodes if node.name in found]


def continuity_of(infos: Iterable[Mapping[str, Any]], signs: Iterable[object]) -> Continuity:
    """What INFO and the signs of life of all primaries say together."""
    infos, signs = list(infos), list(signs)
    names = [str(info["run_id"]) for info in infos]
    said = [sign for sign in signs if isinstance(sign, bytes)]
    if not infos or len(said) < len(infos):
        raise StoreError("the store does not say whether it is still the one it was")
    identity = hashlib.sha256("|".join(sorted(names)).encode() + b"|" + b"|".join(sorted(said))).hexdigest()
    return Continuity(
        identity=identity,
        evicted=sum(int(info["evicted_keys"]) for info in infos),
        keeps_marks=_keeps_marks(infos),
        since=max(float(sign.partition(b" ")[2]) for sign in said),
    )


def _keeps_marks(infos: Iterable[Mapping[str, Any]]) -> bool:
    """Whether no server drops entries to make room, as INFO tells it."""
    return all(not int(info["maxmemory"]) or info["maxmemory_policy"] == "noeviction" for info in infos)


def trouble(error: Exception) -> StoreError:
    """An error of the library as one of ours: its kind, and the server's code if it has one, but no contents."""
    code = _CODE.match(str(error)) if isinstance(error, ResponseError) else None
    said = f" ({code.group()})" if code is not None else ""
    return StoreError(f"the session store failed: {type(error).__name__}{said}")
