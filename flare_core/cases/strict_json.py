"""Read JSON written by people: every complaint names the file and the path to the key.

Serves `dataset.json` and label maps. Python's reader keeps the last of two equal keys and takes NaN; both are refused
here, since each silently loses what someone wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flare_core.cases.bad_input import BadInput

MAX_JSON_BYTES = 2**26


class _Object(dict):
    """A JSON object that remembers the first key that it was given twice."""

    twice: str | None = None


class _NotANumber:
    """Stands for NaN and Infinity, which JSON does not have, until their place is known."""

    def __init__(self, text: str) -> None:
        self.text = text


def read_strict_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        BadInput: not readable, no JSON object, a byte order mark, a duplicate key, NaN or Infinity; with the path to
            the key.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BadInput(path, f"expected at most {MAX_JSON_BYTES} bytes of JSON; is this the right file?")
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(path, f"expected a readable JSON file, got: {error.strerror}") from None
    if raw.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise BadInput(path, "$: found a byte order mark; save the file as UTF-8 without one")
    try:
        content = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_NotANumber)
    except UnicodeDecodeError as error:
        raise BadInput(path, f"$: expected UTF-8, found {raw[error.start]:#x} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadInput(path, f"$: no JSON ({error.msg}, line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise BadInput(path, "$: nested too deep; is this the right file?") from None
    _walk(content, "$", path)
    return expect(content, dict, "$", path)


def expect(value: Any, kind: type | tuple[type, ...], place: str, path: Path) -> Any:
    """Return `value` if it is of the kind.

    Args:
        value: a JSON value.
        kind: dict, list, str or int (bool is no int here).
        place: path to the key, such as `$.labels.liver`.
        path: the file.
    Raises:
        BadInput: otherwise.
    """
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
        expected = " or ".join(names[one] for one in kinds)
        raise BadInput(path, f"{place}: expected {expected}, found {json.dumps(value)[:60]}; correct the file")
    return value


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        found.twice = next(key for key in keys if keys.count(key) > 1)
    return found


def _walk(value: Any, place: str, path: Path) -> None:
    """Refuse what the parser noted, now that its place is known."""
    if isinstance(value, _NotANumber):
        raise BadInput(path, f"{place}: found {value.text}, which JSON does not have; give a number")
    if isinstance(value, _Object):
        if value.twice is not None:
            raise BadInput(path, f"{place}.{value.twice}: found this key twice; keep one")
        for key, inner in value.items():
            _walk(inner, f"{place}.{key}", path)
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _walk(inner, f"{place}[{index}]", path)
