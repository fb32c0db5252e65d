"""Certificate messages in their compressed form: made once, sent where they are smaller, and taken in. RFC 8879."""

from __future__ import annotations

from functools import lru_cache

from resumption.config import Config
from resumption.crypto.compression import compress, decompress
from resumption.errors import BadCertificate, IllegalParameter, UnexpectedMessage
from resumption.wire import extensions
from resumption.wire.messages import Certificate, CompressedCertificate

__all__ = ["compressed_for", "expanded"]

_HEADER_LENGTH = 4  # of a handshake message: it is not compressed


def compressed_for(config: Config, body: bytes, message: bytes) -> bytes:
    """The packed Certificate ``message`` in the smallest form that the peer takes, whose compress_certificate has this
    ``body``, and that we make."""
    theirs = extensions.parse_compress_certificate(body)
    return smallest(message, tuple([number for number in config.certificate_compression if number in theirs]))


@lru_cache(64)
def smallest(message: bytes, algorithms: tuple[int, ...]) -> bytes:
    """The packed ``message``, or a CompressedCertificate by one of ``algorithms`` if that is smaller."""
    body = message[_HEADER_LENGTH:]
    best = message
    for number in algorithms:
        packed = CompressedCertificate(number, len(body), compress(number, body)).pack()
        if len(packed) < len(best):
            best = packed
    return best


def expanded(config: Config, message: CompressedCertificate) -> Certificate:
    """The Certificate in ``message``. RFC 8879, section 4.

    Raises `UnexpectedMessage` where nothing was offered, `IllegalParameter` for an algorithm that was not,
    `BadCertificate` for what is too long or does not decompress to the length that it claims, and `DecodeError` for
    what then is no Certificate.
    """
    number, length, limit = message.algorithm, message.uncompressed_length, config.max_message_length
    if not config.certificate_compression:
        raise UnexpectedMessage("a compressed certificate came, and compression was not offered")
    if number not in config.certificate_compression:
        raise IllegalParameter(f"a certificate is compressed with algorithm {number}, which was not offered")
    if not 0 < length <= limit:
        raise BadCertificate(f"a compressed certificate claims {length} bytes, at most {limit} are accepted")
    try:
        body = decompress(number, message.compressed_certificate_message, length)
    except Exception as error:  # the libraries have errors of their own
        raise BadCertificate("a compressed certificate does not decompress") from error
    if body is None:
        raise BadCertificate("a compressed certificate is not of the length that it claims")
    return Certificate.parse(body)
