"""The certificate of the gRPC port, read again for each connection: a renewed one needs no restart."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The files, in PEM: ``client_authority`` is whose clients alone are served, None for anybody."""

    certificate: Path
    key: Path
    client_authority: Path | None
    log: FilteringBoundLogger

    def credentials(self) -> Any:
        """The server's credentials.

        Raises:
            OSError: where a file cannot be read or used now. Later the last ones stay in force.
        """
        return grpc.dynamic_ssl_server_credentials(
            self._read(), self._fetch, require_client_authentication=self.client_authority is not None
        )

    def _read(self) -> Any:
        self._check()
        authority = self.client_authority.read_bytes() if self.client_authority else None
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)

    def _check(self) -> None:
        """Refuse what gRPC would refuse without a word of why, such as a key of another certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key, password="")
        if self.client_authority is not None:
            context.load_verify_locations(self.client_authority)

    def _fetch(self) -> Any:
        try:
            return self._read()
        except (OSError, ValueError) as fault:
            self.log.warning("keda.certificate_unreadable", why=str(fault))
            return None
