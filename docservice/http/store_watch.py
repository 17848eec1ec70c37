"""Whether the store of files is there, looked up now and then: a store that hangs must hold no probe up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from docservice.ingest.blob_errors import BlobError
from docservice.log import logger

if TYPE_CHECKING:
    from docservice.ingest.blobs import BlobStore

_EVERY_SECONDS = 5.0


class StoreWatch:
    """``up`` is what was seen last; True until the first look, since the start has tried the store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._log = logger("blobs")
        self.up = True
        self.stuck = False  # calls hang for good, perhaps: see BlobStore.stuck

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_SECONDS)

    async def look(self) -> None:
        """Look once; log what has changed."""
        try:
            await self._blobs.find()
        except BlobError as fault:
            if self._blobs.stuck and not self.stuck:
                self._log.error("blobs.stuck", why=str(fault))
            elif self.up:
                self._log.warning("blobs.away", why=str(fault))
            self.up, self.stuck = False, self._blobs.stuck
            return
        if not self.up:
            self._log.info("blobs.back")
        self.up, self.stuck = True, False
