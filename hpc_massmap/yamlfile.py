"""YAML into checked classes: `extends`, `key.sub=value` overrides, and whatever is wrong in one line.

Nothing here knows which keys there are; hpc_massmap/config does.
"""

import difflib
import json
import re
from collections.abc import Iterator
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml import MarkedYAMLError

from hpc_massmap.errors import InputError, first_line

COMMAND_LINE = "command line"
DEEPEST, MOST = 50, 100_000  # levels and values of a file: aliases can make more of both than any memory holds
OF_TAGS_AND_ESCAPES = (yaml.YAMLError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
T = TypeVar("T", bound=BaseModel)


# what plain words mean, as in YAML 1.2, where 1e-4 is a number and `on` a word; a date is one so that a bad one stops
SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?[0-9][0-9_]*|[-+]?0o[0-7_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?0b[01_]+", "-+0123456789"),
    "float": (
        r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "timestamp": (r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9].*", "0123456789"),
    "merge": (r"<<", "<"),
}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain data alone, and no key twice."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping before its values are understood."""
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, Any]] = set()
        for key, _ in node.value:
            name = key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key)
            if name in seen:
                raise MarkedYAMLError(None, None, f"duplicate key {key.value!r:.40}", key.start_mark)
            seen.add(name)
        return node

    def construct_yaml_int(self, node: Any) -> int:
        """A number with 0o, 0x or 0b before it, or a decimal one, also 010."""
        text = self.construct_scalar(node).replace("_", "")
        return int(text, 0) if text.lstrip("-+")[1:2].isalpha() else int(text)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes what `_Loader` reads back."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for tag, (regexp, first) in SCALARS.items():
    for either in (_Loader, _Dumper):
        either.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{regexp})$"), list(first))


def dump_yaml(data: dict[str, Any], width: float = 80) -> str:
    """Plain data as YAML text, in the order it has."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width))


def validated(schema: type[T], data: dict[str, Any], origins: dict[str, str], source: str) -> T:
    """Check plain data against a schema; the first problem becomes one line."""
    try:
        # JSON mode is the strict mode that still reads a path from a string
        return schema.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise InputError(_first_problem(error, schema, origins, source)) from None


def _first_problem(error: ValidationError, schema: type[BaseModel], origins: dict[str, str], source: str) -> str:
    # an unknown key first: it is often why another is missing
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    location = problem["loc"]
    key = ".".join(map(str, location))
    origin = next((origins[k] for k in _ancestors(key) if k in origins), source)
    if any(where == COMMAND_LINE for k, where in origins.items() if k.startswith(f"{key}.")):
        origin = COMMAND_LINE
    if problem["type"] == "extra_forbidden":
        known = _known_keys(schema, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(known)}"
        return f"{origin}: {key}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{origin}: {key}: missing; it has no default"
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be").replace("String should", "must")
    shown = re.sub(r"//[^/@\s]*@", "//...@", json.dumps(problem["input"], default=str))  # no password of a URI
    if isinstance(problem["input"], dict) and len(shown) > 100:  # a whole section: its beginning says nothing
        shown = ""
    named = f"{key} = {shown[:100]}" if shown else key
    return f"{origin}: {named}: {message}" if key else f"{origin}: {message}"


def _ancestors(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _known_keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    fields: Any = schema
    for part in location:
        if isinstance(part, str) and part in fields.model_fields:
            annotation = fields.model_fields[part].annotation
            candidates = [annotation, *getattr(annotation, "__args__", ())]
            fields = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), fields)
    return sorted(fields.model_fields)


def parsed(text: str) -> Any:
    """YAML as plain data: mappings, lists, text, numbers, true, false and null; dates become text.

    Raises
    ------
    MarkedYAMLError
        If it is not YAML; knows the line.
    ValueError
        If it is not YAML, or has what is no plain data.
    """
    try:
        data = yaml.load(text, _Loader)
    except (MarkedYAMLError, ValueError):
        raise
    except OF_TAGS_AND_ESCAPES as error:
        raise ValueError(first_line(error)) from None
    return _plain(data, DEEPEST, count())


def _plain(value: Any, deepest: int, values: Iterator[int]) -> Any:
    if not deepest or next(values) > MOST:
        raise ValueError("too deep or too long; has it an alias to itself?")
    if isinstance(value, dict):
        return {_key(key): _plain(inside, deepest - 1, values) for key, inside in value.items()}
    if isinstance(value, list):
        return [_plain(inside, deepest - 1, values) for inside in value]
    if isinstance(value, date):
        return str(value)
    if isinstance(value, str):
        value.encode()  # not half a character
        if "\0" in value:
            raise ValueError("text with a character of code 0")
    elif not isinstance(value, int | float | None):
        raise ValueError(f"{value!r:.40} is neither text nor a number")
    return value


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{key!r:.40} is no name of a key; put it in quotes")
    return key


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; what is wrong with it in one line."""
    try:
        data = parsed(path.read_text(encoding="utf-8"))
    except IsADirectoryError:
        raise InputError(f"{path}: a folder; give a file in it") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such config file") from None
    except PermissionError:
        raise InputError(f"{path}: cannot be read; check its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; save it as UTF-8") from None
    except MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}:{line} not valid YAML: {(error.problem or error.context or '').strip()}") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid YAML: {first_line(error)}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InputError(f"{path}: must be a mapping of keys to values")
    return data


def read_with_parents(path: Path, children: tuple[Path, ...], origins: dict[str, str]) -> dict[str, Any]:
    """The mapping of a YAML file over those that it extends, of which a later one goes over an earlier.

    Parameters
    ----------
    children : the files that extend this one
    origins : filled with the file that each key is from

    Raises
    ------
    InputError
        If a file extends itself or is not such a mapping; names it.
    """
    if path.resolve() in children:
        raise InputError(f"{path}: extends itself")
    own = load_yaml(path)
    data: dict[str, Any] = {}
    for parent in parents_of(path, own.pop("extends", [])):
        found: dict[str, str] = {}
        merge(data, read_with_parents(path.parent / parent, (*children, path.resolve()), found), {}, "")
        origins.update(found)
    merge(data, own, origins, str(path))
    return data


def parents_of(path: Path, extends: Any) -> list[str]:
    """The files that one extends, by what it says of them; raises an InputError if it is neither name nor names."""
    parents = extends if isinstance(extends, list) else [extends]
    if not all(isinstance(parent, str) for parent in parents):
        raise InputError(f"{path}: extends: must be the name of a file, or a list of names")
    return parents


def merge(base: dict[str, Any], extra: dict[str, Any], origins: dict[str, str], source: str, prefix: str = "") -> None:
    """Write the keys of `extra` over those of `base`, mapping by mapping; their `source` to the end of `origins`."""
    for key, value in extra.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value, origins, source, f"{name}.")
            continue
        base[key] = value
        origins.pop(name, None)  # so that their order is that in which they were said
        origins[name] = source
        for stale in [k for k in origins if k.startswith(f"{name}.")]:
            del origins[stale]
        if isinstance(value, dict):
            merge({}, value, origins, source, f"{name}.")


def apply_override(data: dict[str, Any], origins: dict[str, str], override: str) -> None:
    """Apply one `key.sub=value` of the command line; an InputError if it is of another form."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")) or key.count(".") >= DEEPEST:
        raise InputError(f"{COMMAND_LINE}: {override}: not of the form key.sub=value")
    try:
        value = parsed(text) if text else None
    except (MarkedYAMLError, ValueError):
        raise InputError(f"{COMMAND_LINE}: {override}: the value is not valid YAML") from None
    nested: Any = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    for parent in _ancestors(key)[1:]:
        if not isinstance(_lookup(data, parent), dict | None):
            raise InputError(f"{COMMAND_LINE}: {key}: {parent} has no keys below it")
    merge(data, nested, origins, COMMAND_LINE)


def _lookup(data: Any, key: str) -> Any:
    for part in key.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data
