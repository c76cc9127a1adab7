"""What went wrong with a request, from libcurl's numbers to the words of the closed status list."""

import os
import re

import pycurl

from pipeline.net.answer import Answer
from pipeline.net.target import INVALID
from pipeline.net.transfers import NO_HTTP, Reply
from schemas.config import DownloadConfig
from schemas.status import ImageStatus

_NO_TLS = Answer(ImageStatus.TLS_ERROR, error="no secure connection")
_TRUNCATED = Answer(ImageStatus.TRUNCATED_BODY, error="the body ended before its announced end")
_PRIVATE = "a private, loopback or link-local address, and download.allowed_networks does not list its network"
_SILENT = Answer(ImageStatus.CONNECTION_ERROR, error="closed without an answer")

PRIVATE = Answer(ImageStatus.PRIVATE_ADDRESS, error=_PRIVATE)
_ANSWERS = {
    pycurl.E_URL_MALFORMAT: Answer(ImageStatus.BAD_ADDRESS, error=INVALID),
    pycurl.E_COULDNT_RESOLVE_HOST: Answer(ImageStatus.DNS_ERROR, error="the host name does not resolve"),
    pycurl.E_COULDNT_RESOLVE_PROXY: Answer(ImageStatus.DNS_ERROR, error="the name of the proxy does not resolve"),
    pycurl.E_PEER_FAILED_VERIFICATION: _NO_TLS,
    pycurl.E_SSL_CERTPROBLEM: _NO_TLS,
    pycurl.E_SSL_CIPHER: _NO_TLS,
    pycurl.E_SSL_CONNECT_ERROR: _NO_TLS,
    **dict.fromkeys(NO_HTTP, Answer(ImageStatus.HTTP_ERROR, error="the answer is not HTTP")),
}
# Other values are no codings, and servers send them with plain bodies: UTF-8, none, aws-chunked.
# Source: the registry of content codings of IANA, less `identity`.
_CODINGS = frozenset(
    {"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "x-compress", "x-gzip"}
    | {"zstd"}
)
_NO_AI = frozenset({"noai", "noimageai"})
_BROKEN = frozenset({pycurl.E_GOT_NOTHING, pycurl.E_PARTIAL_FILE, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR})


def answer_to(reply: Reply, config: DownloadConfig, *, late: bool) -> Answer:
    """The answer that a fault stands for. Names no host and no port, as the words of libcurl do.

    Args:
        late: the time for the whole image is used up.
    """
    if reply.refused:
        return PRIVATE
    if reply.fault == pycurl.E_FILESIZE_EXCEEDED:
        return Answer(ImageStatus.TOO_LARGE, error=f"more bytes than download.max_bytes = {config.max_bytes}")
    if reply.fault == pycurl.E_OPERATION_TIMEDOUT:
        text = f"no whole answer within download.timeout_s = {config.timeout_s:g}"
        return Answer(ImageStatus.TIMEOUT, error=text if late else "no connection within download.connect_timeout_s")
    if (known := _ANSWERS.get(reply.fault)) is not None:
        return known
    if reply.fault in _BROKEN:
        return _TRUNCATED if reply.code else _SILENT
    text = f"no connection: {os.strerror(reply.errno).lower()}" if reply.errno else "no connection"
    return Answer(ImageStatus.CONNECTION_ERROR, error=text)


def encoded(reply: Reply) -> Answer | None:
    """The answer to a body that is not sent as it is; None where it is."""
    for encoding in _words(reply, b"content-encoding"):
        if encoding in _CODINGS:
            return Answer(ImageStatus.HTTP_ERROR, error=f"the body is encoded as {encoding!r}, expected none")
    return None


def opted_out(reply: Reply) -> Answer | None:
    """The answer to an image whose owner wants it in no training set; None where nobody says so.

    A directive that names a crawler counts whomever it names: who keeps one crawler of this kind out wants no other.

    Source: the values noai and noimageai of `X-Robots-Tag`, and TDM Reservation Protocol (W3C), section 6.
    """
    if named := sorted(_NO_AI.intersection(_words(reply, b"x-robots-tag"))):
        return Answer(ImageStatus.OPTED_OUT, error=f"the server says X-Robots-Tag: {named[0]}")
    if "1" in _words(reply, b"tdm-reservation"):
        return Answer(ImageStatus.OPTED_OUT, error="the server says tdm-reservation: 1")
    return None


def _words(reply: Reply, header: bytes) -> list[str]:
    return re.split(r"[\s,;:]+", " ".join(reply.values(header)).lower())
