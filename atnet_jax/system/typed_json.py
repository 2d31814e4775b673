"""Decoding of JSON into typed objects, with errors that name the location."""

import dataclasses
import json
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object in the bytes of a file.

    Args:
        data: Content of the file.

    Raises:
        ValueError: The data are not valid JSON, contain NaN or infinity, or are not an object.
    """
    try:
        found = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    return _checked(dict, found, "")


def _refuse(name: str) -> None:
    raise ValueError(f"it contains {name}")


def decode(kind: Any, value: Any, where: str = "") -> Any:
    """Return a JSON value converted to a type.

    Args:
        kind: A dataclass (from an object), `tuple[T, ...]` (from a list), `Mapping[str, T]`,
            `T | None`, str, int, float, bool or Any. Of a dataclass, only fields whose default is
            None may be missing: files of earlier versions lack them.
        value: A value that `parse` returned, or a part of it.
        where: Dotted name of the value, for errors.

    Raises:
        ValueError: A value has another type, or a field of a dataclass is missing.
    """
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else decode(parts[0], value, where)
    if dataclasses.is_dataclass(kind):
        fields = _checked(dict, value, where)
        below = f"{where}." if where else ""
        known = {}
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        for name, hint in typing.get_type_hints(kind).items():
            if name not in fields and defaults[name] is not None:
                raise ValueError(f"{below}{name} is missing")
            known[name] = decode(hint, fields.get(name), f"{below}{name}")
        make: Any = kind
        return make(**known)
    if origin is tuple:
        items = enumerate(_checked(list, value, where))
        return tuple(decode(parts[0], item, f"{where}[{place}]") for place, item in items)
    if origin is not None:  # A Mapping.
        fields = _checked(dict, value, where)
        return {name: decode(parts[1], item, f"{where}.{name}") for name, item in fields.items()}
    if kind is Any:
        return value
    found = _checked(kind, value, where)
    return float(found) if kind is float else found


def _checked(kind: type, value: Any, where: str) -> Any:
    # In Python a bool is an int. In JSON it is not, and 1 is as valid a float as 1.0.
    known = (int, float) if kind is float else kind
    if not isinstance(value, known) or (kind in (int, float) and isinstance(value, bool)):
        raise ValueError(
            f"{where or 'it'} must be {_JSON[kind]}, found {_JSON.get(type(value), 'null')}"
        )
    if kind is float and not abs(value) <= sys.float_info.max:
        raise ValueError(f"{where or 'it'} is too large for a number of 64 bits")
    return value


_JSON: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
