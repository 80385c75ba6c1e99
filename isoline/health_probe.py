"""A cheap readiness probe, for little more than the start of an interpreter.

Each container of a deployment probes every few seconds, for ever. So this imports only Python's modules for
sockets and URLs: the command line takes a second of CPU to import, and `http.client` as much as all of this.
"""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8080/health/ready"

_PORTS = {"http": 80, "https": 443}
_RESPONSE_WITHIN_S = 5.0
# The reasons for a 503 are some hundred bytes.
_MAX_RESPONSE_BYTES = 64 * 1024


def probe(url: str = DEFAULT_URL) -> tuple[bool, str]:
    """Whether the service at a URL answers with success, and the body, or the reason why there is none.

    Redirects are not followed. It takes at most 5 s.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}".encode("ascii")
    except ValueError:
        parts, port, target = urlsplit(""), None, b""
    if parts.scheme not in _PORTS or not parts.hostname or b" " in target:
        return False, f"expected a URL like {DEFAULT_URL}, found {url}"
    host, port = parts.hostname, _PORTS[parts.scheme] if port is None else port
    try:
        head, _, body = _response(host, port, target, is_tls=parts.scheme == "https").partition(b"\r\n\r\n")
    except (OSError, UnicodeError) as error:
        return False, f"no answer from {host}:{port}: {error}"
    protocol, status, *_ = [*head.split(b"\r\n")[0].split(b" ", 2), b""]
    if not protocol.startswith(b"HTTP/"):
        return False, f"no HTTP from {host}:{port}"
    words = body.decode(errors="replace") or f"{status.decode(errors='replace')} from {host}:{port}"
    return status[:1] == b"2", words


def _response(host: str, port: int, target: bytes, *, is_tls: bool) -> bytes:
    """Head and body of the response, by HTTP/1.0: the body ends with the connection and has no chunks.

    Raises:
        OSError: There was no response in time.
    """
    deadline = time.monotonic() + _RESPONSE_WITHIN_S
    connection = socket.create_connection((host, port), _RESPONSE_WITHIN_S)
    if is_tls:
        import ssl  # noqa: PLC0415 - only a probe through a TLS proxy pays for it

        connection = ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    with connection:
        shown = f"[{host}]" if ":" in host else host
        connection.sendall(b"GET %b HTTP/1.0\r\nHost: %b:%d\r\n\r\n" % (target, shown.encode("idna"), port))
        response = b""
        while len(response) < _MAX_RESPONSE_BYTES:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            piece = connection.recv(_MAX_RESPONSE_BYTES)
            if not piece:
                break
            response += piece
        return response
