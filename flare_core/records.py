"""Keep a case's result beside what it was made from, so that a rerun repeats only what is missing or has changed.

Serves the commands whose result of a case is a few numbers. What it was made from is told by content (hashes), never by
time: a clock that is wrong or a copied file changes nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flare_core.attempt import Reused, warnings_of_this_thread
from flare_core.recipe import decode, encode
from flare_core.storage import write_file

log = logging.getLogger(__name__)


def kept_result(
    record: Path, made_from: dict[str, Any], parts: Iterable[type], compute: Callable[[], Any]
) -> Any | Reused:
    """Return a case's result from its record, or compute it and write the record.

    Args:
        record: JSON file of this case; one that cannot be read, or tells of something else, is written anew.
        made_from: everything that the result depends on, as JSON data.
        parts: the dataclasses that a result consists of (`recipe.decode`).
        compute: makes the result; what it warns of is kept, too, and said again.
    Returns:
        `Reused` for a result that was there.
    """
    made_from = json.loads(json.dumps(made_from))  # as it comes back from the record
    try:
        content = json.loads(record.read_text())
        if content["made_from"] == made_from:
            result = decode(content["result"], parts)
            for line in content["warnings"]:
                log.warning("%s", line)
            return Reused(result)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no record, or not one of ours
    with warnings_of_this_thread() as said:
        result = compute()
    content = {"made_from": made_from, "result": encode(result), "warnings": list(dict.fromkeys(said))}
    write_file(record, json.dumps(content) + "\n")
    return result
