"""The keys of a schema by their whole names, as `train.epochs`: for a shell that completes them, and for help."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def keys_of(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that has a value of its own; those of sections that may be left out, too, none within lists."""
    for name, field in schema.model_fields.items():
        section = section_of(field)
        if section is None:
            yield f"{prefix}{name}", field
        else:
            yield from keys_of(section, f"{prefix}{name}.")


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The schema of a key that is a section, also of one that may be none."""
    kinds = [
        field.annotation,
        *(get_args(field.annotation) if get_origin(field.annotation) not in (list, dict) else ()),
    ]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def completions(schema: type[BaseModel], begun: str) -> list[str]:
    """What a word `key.sub=value` can go on as: whole keys, and the values of a key that has only some."""
    key, equals, _ = begun.partition("=")
    if not equals:
        return [f"{name}=" for name, _ in keys_of(schema) if name.startswith(key)]
    fields = [field for name, field in keys_of(schema) if name == key]
    return [f"{key}={value}" for field in fields for value in _words(field.annotation)]


def _words(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    return [word for kind in get_args(annotation) for word in _words(kind)]


def differences(one: Any, other: Any, key: str = "") -> dict[str, tuple[Any, Any]]:
    """The keys, by whole names, whose values two configs do not share; those that only one of them has are left out."""
    if isinstance(one, dict) and isinstance(other, dict):
        both = [name for name in one if name in other]
        return {k: pair for n in both for k, pair in differences(one[n], other[n], f"{key}.{n}".lstrip(".")).items()}
    return {} if one == other else {key: (one, other)}
