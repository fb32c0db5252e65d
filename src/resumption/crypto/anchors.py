"""Trust anchors: where root certificates come from, and the one parsed copy of each set that a process keeps.

What it does: finds and reads roots from files, directories, bytes, certificate objects and the system's own places, and
hands out an immutable `Anchors`, the same object for the same sources as long as the files behind them are unchanged.
What it leaves to others: deciding with them (`trust`).

Roots are parsed one by one and those that cannot be read are skipped, as every TLS library does: system bundles hold
certificates older than the rules. Parsing waits until the first verification, so importing and configuring cost
nothing; a file that is missing or holds no certificate is nevertheless reported when it is named.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store

from resumption.crypto.certificates import der_from, read_source
from resumption.errors import ConfigurationError

__all__ = ["Anchors", "TrustSource", "anchors_from", "name_key", "system_locations"]

TrustSource: TypeAlias = "str | os.PathLike[str] | bytes | x509.Certificate | Iterable[TrustSource] | None"

# Where systems keep their roots, the first that exists is used. Files: Debian, Fedora and RHEL, SUSE, RHEL's extracted
# bundle, Alpine and macOS and the BSDs, FreeBSD's package, Homebrew. Directories: OpenSSL's own, Fedora, Android.
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/opt/homebrew/etc/openssl@3/cert.pem",
    "/usr/local/etc/openssl@3/cert.pem",
)
_SYSTEM_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/system/etc/security/cacerts")

_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_PLAIN_SUFFIXES = (".pem", ".crt", ".cer")
_REMEMBERED_SETS = 32  # distinct sets of anchors kept parsed


class Anchors:
    """An immutable set of trusted certificates, parsed on first use. Compare by ``digest``; safe to share."""

    def __init__(self, read: Callable[[], Iterable[bytes]]) -> None:
        """``read`` returns DER encodings, duplicates and rubbish included. It is called once, on first use."""
        self._read = read
        self._lock = threading.Lock()
        self._certificates: tuple[x509.Certificate, ...] | None = None

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The certificates that could be read, each once, in the order in which they were found."""
        if self._certificates is None:
            with self._lock:
                if self._certificates is None:
                    self._certificates = _parse_all(self._read())
                    del self._read
        return self._certificates

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the sorted SHA-256 digests of the certificates: equal sets have equal digests."""
        encoded = map(self.encoding_of, self.certificates)
        return hashlib.sha256(b"".join(sorted(hashlib.sha256(der).digest() for der in encoded))).digest()

    @cached_property
    def builder(self) -> PolicyBuilder | None:
        """A policy builder with these anchors as its store; None when there are none (a store cannot be empty)."""
        return PolicyBuilder().store(Store(list(self.certificates))) if self.certificates else None

    @cached_property
    def _encodings(self) -> dict[int, bytes]:
        """By object identity: the verifier hands our own objects back, and encoding one anew costs 5 us."""
        return {id(c): c.public_bytes(serialization.Encoding.DER) for c in self.certificates}

    def encoding_of(self, certificate: x509.Certificate) -> bytes:
        """The DER encoding of ``certificate``, which need not be an anchor."""
        return self._encodings.get(id(certificate)) or certificate.public_bytes(serialization.Encoding.DER)

    @cached_property
    def _by_subject(self) -> dict[bytes, list[x509.Certificate]]:
        index: dict[bytes, list[x509.Certificate]] = {}
        for certificate in self.certificates:
            index.setdefault(name_key(certificate, "subject"), []).append(certificate)
        return index

    def issuers_of(self, certificate: x509.Certificate) -> list[x509.Certificate]:
        """The anchors that have the name of the issuer of ``certificate``."""
        return list(self._by_subject.get(name_key(certificate, "issuer"), ()))

    def __contains__(self, certificate: x509.Certificate) -> bool:
        return certificate in self.certificates

    @property
    def count(self) -> int:
        """How many certificates are trusted."""
        return len(self.certificates)


def name_key(certificate: x509.Certificate, which: Literal["subject", "issuer"]) -> bytes:
    """The DER encoding of one of the names in ``certificate``; empty if it cannot be read. For comparing names."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of attributes longer than the standard allows
            name: x509.Name = getattr(certificate, which)
        return name.public_bytes()
    except Exception:
        return b""


def anchors_from(sources: Iterable[TrustSource]) -> Anchors:
    """The anchors of all ``sources`` together; None among them stands for the system's.

    Raises `ConfigurationError` for a source that is missing, unreadable, or holds no certificate. An empty directory or
    list is accepted: then nothing is trusted.
    """
    parts = [part for source in sources for part in _parts_of(source)]
    identity = tuple(part.identity for part in parts)
    with _remembered_lock:
        anchors = _remembered.get(identity)
        if anchors is not None:
            _remembered.move_to_end(identity)
            return anchors
    reads = [part.read if part.lazy else _already(part.read()) for part in parts]
    anchors = Anchors(lambda: [der for read in reads for der in read()])
    with _remembered_lock:
        anchors = _remembered.setdefault(identity, anchors)
        if len(_remembered) > _REMEMBERED_SETS:
            _remembered.popitem(last=False)
    return anchors


_remembered: OrderedDict[tuple[object, ...], Anchors] = OrderedDict()
_remembered_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Part:
    """One place that anchors come from: what identifies its present content, and how to read it.

    A ``lazy`` one is read at the first verification only: the system's bundle, which is large and known to be good.
    """

    identity: object
    read: Callable[[], list[bytes]]
    lazy: bool = False


def _already(encoded: list[bytes]) -> Callable[[], list[bytes]]:
    return lambda: encoded


def _parts_of(source: TrustSource) -> list[_Part]:
    if source is None:
        parts = [part for location in system_locations() for part in _parts_of(location)]
        return [replace(part, lazy=True) for part in parts]
    if isinstance(source, x509.Certificate):
        return [_from_bytes([source.public_bytes(serialization.Encoding.DER)])]
    if isinstance(source, bytes | bytearray) or (isinstance(source, str) and "-----BEGIN" in source):
        return [_from_bytes(_wanted(der_from(read_source(source, "trust")), "the given bytes"))]
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return [_from_directory(path) if path.is_dir() else _from_file(path)]
    if isinstance(source, Iterable):
        return [part for single in source for part in _parts_of(single)]
    raise ConfigurationError(
        f"a trust source is a file, a directory, bytes, certificates or None, not {type(source).__name__}"
    )


def _from_bytes(encoded: list[bytes]) -> _Part:
    return _Part(hashlib.sha256(b"".join(hashlib.sha256(der).digest() for der in encoded)).digest(), lambda: encoded)


def _from_file(path: Path) -> _Part:
    identity = _identity_of(path)
    if identity is None:
        raise ConfigurationError(f"cannot read the trust file {path}: no such file")
    return _Part(identity, lambda: _wanted(der_from(read_source(path, "trust")), str(path)))


def _from_directory(directory: Path) -> _Part:
    """OpenSSL's hashed names (``1a2b3c4d.0``), and ``.pem``, ``.crt`` and ``.cer`` files; each real file once."""
    files: dict[object, str] = {}
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise ConfigurationError(f"cannot read the trust directory {directory}: {error.strerror}") from error
    for name in names:
        if _HASHED_NAME.fullmatch(name) or name.lower().endswith(_PLAIN_SUFFIXES):
            path = os.path.join(directory, name)
            identity = _identity_of(path)
            if identity is not None:
                files.setdefault(identity, path)
    return _Part((str(directory), *files), lambda: [der for path in files.values() for der in _read_leniently(path)])


def _read_leniently(path: str) -> list[bytes]:
    """A file of a directory is only one of many: unreadable ones are passed over."""
    try:
        return der_from(read_source(path, "trust"))
    except ConfigurationError:
        return []


def _identity_of(path: str | Path) -> tuple[int, int, int, int] | None:
    """What changes when the content of the file changes; None when there is no such file."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size


def _wanted(encoded: list[bytes], where: str) -> list[bytes]:
    if not encoded:
        raise ConfigurationError(f"there is no certificate in {where}: give roots as PEM or DER")
    return encoded


def _parse_all(encoded: Iterable[bytes]) -> tuple[x509.Certificate, ...]:
    with warnings.catch_warnings():
        # Old roots carry serial numbers and encodings that `cryptography` warns of, once each: no user can act on it.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        roots = [_parse_root(der) for der in dict.fromkeys(encoded)]
    return tuple(root for root in roots if root is not None)


def _parse_root(der: bytes) -> x509.Certificate | None:
    """A root, or None for one that cannot be read or whose extensions cannot: it could vouch for nobody."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return certificate if certificate.extensions is not None else None
    except Exception:
        return None


def system_locations() -> list[Path]:
    """The files and directories of the system's trusted roots.

    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` (a list) as OpenSSL knows them, else the first of the usual files, else of
    the usual directories, else the file of the ``certifi`` package. Raises `ConfigurationError` if there is nothing, or
    if the environment names what does not exist.
    """
    chosen = _from_environment()
    if chosen:
        return chosen
    for name in _SYSTEM_FILES:
        if os.path.isfile(name):
            return [Path(name)]
    for name in _SYSTEM_DIRECTORIES:
        if os.path.isdir(name):
            return [Path(name)]
    try:
        return [Path(importlib.import_module("certifi").where())]
    except ImportError:
        pass
    raise ConfigurationError(
        "this system has no trusted root certificates that can be found: install its ca-certificates package, or "
        "`pip install certifi`, or set SSL_CERT_FILE, or name the roots to trust"
    )


def _from_environment() -> list[Path]:
    found = []
    file = os.environ.get("SSL_CERT_FILE", "")
    if file:
        found.append(Path(file))
    found += [Path(name) for name in os.environ.get("SSL_CERT_DIR", "").split(os.pathsep) if name]
    for path in found:
        if not path.exists():
            raise ConfigurationError(f"SSL_CERT_FILE or SSL_CERT_DIR names {path}, which does not exist")
    return found
