"""Say how much memory a network needs for one window, before it is asked for.

Serves the planner. The forward pass is followed on torch's meta device, where tensors have sizes and no content; what
lives at the same time is added up. The number is kept in the user's cache folder, so that it costs torch's import once.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import weakref
from collections import Counter
from typing import Any

from flare_core.paths import user_cache
from flare_core.recipe import encode
from flare_core.storage import write_file

FORMAT = 1
"""Of the kept numbers."""


def window_bytes(architecture: Any, channels: int, window: tuple[int, ...]) -> int:
    """Return the float32 bytes that live at the peak of a forward pass over one window, weights left out.

    Args:
        architecture: what builds the network.
        channels: of its scores.
        window: voxels along X, Y, Z.
    """
    what = {"format": FORMAT, "network": encode(architecture), "channels": channels, "window": window}
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]
    kept = user_cache() / "footprints" / f"{key}.json"
    try:
        return int(json.loads(kept.read_text())["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        found = _followed(architecture, channels, window) if "torch" in sys.modules else _followed_elsewhere(what)
    try:
        write_file(kept, json.dumps(what | {"bytes": found}))
    except OSError:
        pass  # it is computed again next time
    return found


def _followed_elsewhere(what: dict[str, Any]) -> int:
    """Return the number from another process: torch would stay in this one's memory, which is to be planned."""
    command = [sys.executable, "-m", "flare_core.inference.footprint"]
    done = subprocess.run(command, input=json.dumps(what), text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the memory of a network could not be followed: {done.stderr.strip().splitlines()[-1:]}")
    return int(done.stdout)


def _followed(architecture: Any, channels: int, window: tuple[int, ...]) -> int:
    """Run the network on the meta device and return the most bytes that lived at once."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Living(TorchDispatchMode):
        """Adds up the storages of all tensors that an operation returned and that still exist."""

        def __init__(self) -> None:
            super().__init__()
            self.users: Counter = Counter()
            self.now = self.most = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    self._enter(tensor, storage._cdata, storage.nbytes())
            return result

        def _enter(self, tensor: torch.Tensor, storage: int, size: int) -> None:
            self.now += size if not self.users[storage] else 0
            self.most = max(self.most, self.now)
            self.users[storage] += 1
            weakref.finalize(tensor, self._leave, storage, size)

        def _leave(self, storage: int, size: int) -> None:
            self.users[storage] -= 1
            self.now -= size if not self.users[storage] else 0

    with torch.device("meta"):
        module = architecture.build(channels).eval()
        image = torch.zeros(1, 1, *window)
        with torch.no_grad(), Living() as living:
            module(image)
    return living.most


if __name__ == "__main__":
    from flare_core.inference.stored_network import PARTS
    from flare_core.recipe import decode

    asked = json.load(sys.stdin)
    print(_followed(decode(asked["network"], PARTS), asked["channels"], tuple(asked["window"])))
