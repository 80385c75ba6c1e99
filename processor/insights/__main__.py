"""``python -m processor.insights``: write the catalogue from the insights, after one was added or changed."""

from __future__ import annotations

from processor.insights import INSIGHTS
from shared.domain.catalogue import CATALOGUE_FILE, catalogue_of

CATALOGUE_FILE.write_text(catalogue_of(INSIGHTS).encoded())
