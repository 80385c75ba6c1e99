"""Certificates: one that no authority has signed, and those of an authority of a test's own."""

from __future__ import annotations

import ssl
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def untrusted_certificate(folder: Path) -> ssl.SSLContext:
    """A server's TLS with a self-signed certificate for localhost, made in the folder."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
        *("-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


class CertificateAuthority:
    """An authority of a test's own, in a folder of its own.

    Attributes:
        certificate: The file by which a client trusts it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.certificate = folder / "ca.pem"
        self._folder = folder
        self._key = folder / "ca.key"
        _openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=A test's own CA"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # which Python 3.13 asks for
            *("-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def sign(self, host: str) -> tuple[Path, Path]:
        """A certificate for a server of this name, and its key, as files that every user may read."""
        certificate, key, request = (self._folder / f"{host}.{kind}" for kind in ("pem", "key", "csr"))
        extensions = self._folder / f"{host}.ext"
        extensions.write_text(f"subjectAltName=DNS:{host}\nauthorityKeyIdentifier=keyid\n")
        _openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={host}"),
            *("-keyout", str(key), "-out", str(request)),
        )
        _openssl(
            *("x509", "-req", "-days", "1", "-in", str(request), "-out", str(certificate)),
            *("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial"),
            *("-extfile", str(extensions)),
        )
        key.chmod(0o644)
        return certificate, key


def _openssl(*arguments: str) -> None:
    subprocess.run(  # noqa: S603
        ["openssl", *arguments],  # noqa: S607
        check=True,
        capture_output=True,
        timeout=60,
    )
