"""Describe a system as data and as text: what `flare systems` prints and notebook 03 shows."""

from __future__ import annotations

from functools import cache
from typing import Any

from flare_core.recipe import System, encode


def count_parameters(system: System, stage_name: str) -> int:
    """Return the number of weights of a stage's network."""
    stage = system.stage(stage_name)
    return count_weights(stage.network, stage.scheme.channels)


def count_weights(network: Any, channels: int) -> int:
    """Return the number of weights of a network with so many outputs (built and dropped; nothing is trained)."""
    import torch

    with torch.device("meta"):
        module = network.build(channels)
    return sum(parameter.numel() for parameter in module.parameters())


@cache
def begins_as_he(network: Any) -> bool:
    """Say whether an untrained network's convolutions are drawn by He's normal initialization: variance 2 / inputs.

    The network is built, and the first weights of every convolution are held against that normal distribution. One
    without any does not begin so.
    """
    import torch
    from scipy.stats import kstest

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = [weight.detach() for weight in network.build(2).parameters() if weight.ndim == 5]
    scaled = [weight.flatten()[:10_000] * (weight[0].numel() / 2) ** 0.5 for weight in weights]
    return bool(scaled) and all(kstest(values.numpy(), "norm").pvalue > 1e-4 for values in scaled)


def describe(system: System, profile: str) -> dict[str, Any]:
    """Return everything about a system at a profile as JSON data.

    Returns:
        `key`, `title`, `reference`, `profile`, `networks` (role, stage, channels, parameters, trained folds), `stages`,
        `inference`, `limits`, `departures`, `overrides` (none for `paper`) and `ablations` (name to `trains`, whether
        it needs a training, and its `overrides`).
    """
    shrunk = system.at(profile)
    networks = [
        {
            "role": stage.purpose,
            "stage": stage.name,
            "channels": stage.scheme.channels,
            "parameters": count_parameters(shrunk, stage.name),
            "trained_folds": list(stage.trained_folds),
        }
        for stage in shrunk.stages
    ]
    return {
        "key": system.key,
        "title": system.title,
        "reference": system.reference,
        "profile": profile,
        "networks": networks,
        "stages": encode(shrunk.stages),
        "inference": encode(shrunk.inference),
        "limits": encode(system.limits),
        "departures": encode(system.departures),
        "overrides": encode(system.profiles.get(profile, ())),
        "ablations": {
            name: {"trains": system.trains(name), "overrides": encode(overrides)}
            for name, overrides in system.ablations.items()
        },
    }


def describe_as_text(system: System, profile: str) -> str:
    """Return the same for people: networks, hyper-parameters, what the profile changes, departures."""
    data = describe(system, profile)
    lines = [f"{data['key']} ({profile}): {data['title']}", f"  {data['reference']}", "  networks"]
    for network in data["networks"]:
        count = f"{network['parameters'] / 1e6:.2f} M"
        lines.append(f"    {network['stage']:<10} {count:>9}  {network['channels']} channels  {network['role']}")
    for stage in data["stages"]:
        lines.append(f"  {stage['name']}")
        lines += [f"    {path} = {value}" for path, value in _flat(stage) if path not in ("name", "purpose")]
    lines.append("  inference")
    lines += [f"    {path} = {value}" for path, value in _flat(data["inference"])]
    if data["overrides"]:
        lines.append(f"  what {profile} changes")
        lines += [f"    {item['where']}: {item['reason']}" for item in data["overrides"]]
    lines.append("  ablations")
    for name, ablation in data["ablations"].items():
        lines.append(f"    {name} ({'trained' if ablation['trains'] else 'the same networks'})")
        lines += [f"      {item['where']}: {item['reason']}" for item in ablation["overrides"]]
    lines.append("  departures")
    lines += [f"    {item['topic']}: {item['ours']} (other: {item['other']})" for item in data["departures"]]
    return "\n".join(lines)


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return (dotted path, plain value) for every leaf of encoded data; a part shows its type once."""
    if isinstance(value, dict):
        rows = [(path, value["type"])] if path and "type" in value else []
        for key, item in value.items():
            if key != "type":
                rows += _flat(item, f"{path}.{key}" if path else key)
        return rows
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [row for i, item in enumerate(value) for row in _flat(item, f"{path}.{i}")]
    return [(path, value)]
