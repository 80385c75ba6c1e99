"""Changes between two JSON Schemas of an event that would break a reader of either of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

# They describe and forbid nothing.
_ANNOTATIONS: Final = frozenset({"$schema", "$id", "$defs", "title", "description", "default", "examples"})
_IN_WORDS: Final = frozenset({"properties", "required", "additionalProperties", "items"})


def breaking_changes(old: Json, new: Json) -> list[str]:
    """What breaks those who read new events by the old schema, or old events by the new one.

    An object may gain a property that is not required. Nothing else may change but annotations.
    """
    return list(_changes(_Schema(old, old), _Schema(new, new), ""))


class _Schema:
    """A schema and the document of which it is a part."""

    def __init__(self, schema: Any, document: Json) -> None:
        self.document = document
        self.keywords: Json = (
            {} if schema is True else {"not": {}} if schema is False else _resolved(schema, document)
        )

    def part(self, schema: Any) -> _Schema:
        return _Schema(schema, self.document)


def _resolved(schema: Json, document: Json) -> Json:
    """With what it refers to, which keywords beside the reference override: they are annotations."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    target: Any = document
    for name in reference.removeprefix("#/").split("/"):
        target = target[name]
    return _resolved(target, document) | {name: value for name, value in schema.items() if name != "$ref"}


def _changes(old: _Schema, new: _Schema, path: str) -> Iterator[str]:
    yield from _changed_keywords(old, new, path)
    yield from _changed_properties(old, new, path)
    yield from _changes_of_others(old, new, path)
    if "items" in old.keywords and "items" in new.keywords:
        yield from _changes(old.part(old.keywords["items"]), new.part(new.keywords["items"]), f"{path}[]")
    elif ("items" in old.keywords) != ("items" in new.keywords):
        yield f"{path}: changed items"


def _changed_keywords(old: _Schema, new: _Schema, path: str) -> Iterator[str]:
    for name in sorted((old.keywords.keys() | new.keywords.keys()) - _ANNOTATIONS - _IN_WORDS):
        if not name.startswith("x-") and old.keywords.get(name) != new.keywords.get(name):
            yield f"{path}: changed {name}"


def _changed_properties(old: _Schema, new: _Schema, path: str) -> Iterator[str]:
    had, has = old.keywords.get("properties", {}), new.keywords.get("properties", {})
    for name, schema in had.items():
        if name in has:
            yield from _changes(old.part(schema), new.part(has[name]), f"{path}/{name}")
        else:
            yield f"{path}/{name}: removed"
    was_required, is_required = (set(of.keywords.get("required", ())) for of in (old, new))
    for name in sorted(was_required - is_required):
        yield f"{path}/{name}: no longer in each event"
    for name in sorted(is_required - was_required):
        yield f"{path}/{name}: not in events of before"


def _changes_of_others(old: _Schema, new: _Schema, path: str) -> Iterator[str]:
    """Changes of what other properties than the named ones may be."""
    before, after = (of.keywords.get("additionalProperties", True) for of in (old, new))
    if after is False and before is not False:
        yield f"{path}: other properties forbidden"
    elif isinstance(before, dict) or isinstance(after, dict):
        yield from _changes(old.part(before), new.part(after), f"{path}/*")
