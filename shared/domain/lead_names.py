"""The names that devices and standards give to the same lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LIMB: Final = ("I", "II", "III")
_AUGMENTED: Final = {"aVR": "right", "aVL": "left", "aVF": "foot"}
_CHEST: Final = (*(f"V{number}" for number in range(1, 10)), *(f"V{number}R" for number in range(2, 10)))
_MODIFIED: Final = ("MLI", "MLII", "MLIII")
# Prefixes of a lead's name in EDF and WFDB files, in prose, and in ISO/IEEE 11073-10101 (FHIR, aECG).
_PREFIXES: Final = ("", "ECG ", "EKG ", "Lead ", "ECG Lead ", "MDC_ECG_ELEC_POTL_", "MDC_ECG_LEAD_")
# Names of DICOM's context group 3001, and of devices of Romance languages.
_WORDS: Final = {
    **{f"Lead {name} (Einthoven)": name for name in _LIMB},
    **{f"{name}, augmented voltage, {side}": name for name, side in _AUGMENTED.items()},
    **{f"D{name}": name for name in _LIMB},
}


def canonical_name(name: str) -> str | None:
    """The usual name of a lead; None if the table does not have this name.

    Case and the amount of white space do not matter; a sign does: ``-aVR`` is another signal than ``aVR``.
    """
    return _CANONICAL.get(name) or _CANONICAL.get(_folded(name))


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _aliases(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        yield name, name  # as nearly all are sent: found at once
        yield from ((_folded(prefix + name), name) for prefix in _PREFIXES)


_CANONICAL: Final = {
    **dict(_aliases((*_LIMB, *_AUGMENTED, *_CHEST, *_MODIFIED))),
    **{_folded(words): name for words, name in _WORDS.items()},
}
