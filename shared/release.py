"""Which release this code is."""

from __future__ import annotations

from typing import Final

RELEASE: Final = "0.2.0.dev0"
