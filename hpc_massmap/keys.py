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


def schema_of_file(schema: type[BaseModel], title: str) -> dict[str, Any]:
    """The JSON schema of a YAML file, for editors: it may extend another, and leave out what that has."""
    whole = schema.model_json_schema()
    definitions = whole.get("$defs", {})
    listed = {name for name in definitions if _is_in_a_list(whole, name)}
    for name, its in [("", whole), *definitions.items()]:
        if name not in listed:
            its.pop("required", None)
    _tidy(whole)
    what = "another file, whose keys this one changes, or several, of which the last goes over those before"
    extends = {"extends": {"type": ["string", "array"], "items": {"type": "string"}, "description": what}}
    return {**whole, "title": title, "properties": {**extends, **whole["properties"]}}


def _is_in_a_list(value: Any, name: str) -> bool:
    if isinstance(value, dict):
        items = value.get("items")
        return items == {"$ref": f"#/$defs/{name}"} or any(_is_in_a_list(inside, name) for inside in value.values())
    return isinstance(value, list) and any(_is_in_a_list(inside, name) for inside in value)


def _tidy(value: Any) -> None:
    """Text in one line, and no format that only Python knows."""
    if isinstance(value, dict):
        if isinstance(value.get("description"), str):
            value["description"] = " ".join(value["description"].split())
        if value.get("format") == "path":
            del value["format"]
    for inside in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _tidy(inside)


def with_comments(text: str, comments: dict[str, str]) -> str:
    """YAML of mappings, with a comment behind the lines of some keys, by their whole names."""
    lines, above = [], list[tuple[int, str]]()
    for line in text.splitlines():
        indent, name = len(line) - len(line.lstrip()), line.strip().partition(":")[0]
        if line.strip().startswith("-") or ":" not in line:  # of a list, or a text that goes on
            lines.append(line)
            continue
        above = [*(one for one in above if one[0] < indent), (indent, name)]
        comment = comments.get(".".join(name for _, name in above))
        lines.append(f"{line}  # {comment}" if comment else line)
    return "\n".join(lines) + "\n"
