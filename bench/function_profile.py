"""Where the instructions of a kind are executed: by package and by function, also beside an earlier profile."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

from instruction_kinds import KindCount

_ROOTS = tuple(f"{Path(__file__).parent.parent / name}/" for name in ("core", "adapters", "plugins"))
# Instructions and calls of one request, by function.
Profile = dict[str, tuple[float, float]]


def file_of(code: CodeType) -> str:
    """Return the file of a function, from its package on."""
    name = code.co_filename
    for root in _ROOTS:
        if name.startswith(root):
            return name.removeprefix(root)
    return name.rpartition("site-packages/")[2]


def part_of(function: str) -> str:
    """Return the package, and within the core the sub-package or module."""
    file = function.partition(":")[0]
    if file.startswith("/"):
        return "standard library"
    return "/".join(file.split("/")[: 2 if file.startswith("penstock/") else 1])


def profile_of(count: KindCount) -> Profile:
    """Return the instructions and calls by function."""
    instructions: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for key, number in count.tally.instructions.items():
        code = count.codes[key]
        name = f"{file_of(code)}:{code.co_qualname}"
        instructions[name] += number
        calls[name] += count.tally.calls[key]
    return {name: (number / count.requests, calls[name] / count.requests) for name, number in instructions.items()}


def write_profiles(path: Path, counts: dict[str, KindCount]) -> None:
    """Keep the profiles of all kinds, to be compared with later."""
    path.write_text(json.dumps({kind: profile_of(count) for kind, count in counts.items()}))


def read_profiles(path: Path) -> dict[str, Profile]:
    """Return profiles that were kept."""
    kept: dict[str, Profile] = json.loads(path.read_text())
    return kept


def by_part(profile: Profile) -> str:
    """Return one line with the instructions of each part, the heaviest first."""
    parts: Counter[str] = Counter()
    for name, (instructions, _) in profile.items():
        parts[part_of(name)] += instructions  # type: ignore[assignment] # a Counter of floats works
    return ", ".join(f"{part} {number:,.0f}" for part, number in parts.most_common())


def by_function(profile: Profile, most: int) -> Iterator[str]:
    """Yield a table of the heaviest functions, with the calls of each per request and a running sum."""
    total = sum(instructions for instructions, _ in profile.values())
    yield f"{'instructions':>12} {'calls':>6} {'each':>6} {'sum':>6}  function"
    up_to_here = 0.0
    for name, (instructions, calls) in sorted(profile.items(), key=lambda item: -item[1][0])[:most]:
        up_to_here += instructions
        each = instructions / calls if calls else instructions
        yield f"{instructions:12,.1f} {calls:6.1f} {each:6.0f} {up_to_here / total:6.0%}  {name}"


def changes(before: Profile, now: Profile, most: int) -> Iterator[str]:
    """Yield a table of the functions whose instructions have changed most."""
    nothing = (0.0, 0.0)
    moved = {name: now.get(name, nothing)[0] - before.get(name, nothing)[0] for name in {*before, *now}}
    yield f"{'before':>10} {'now':>10} {'change':>10}  function"
    for name, change in sorted(moved.items(), key=lambda item: -abs(item[1]))[:most]:
        if abs(change) >= 0.5:
            yield f"{before.get(name, nothing)[0]:10,.1f} {now.get(name, nothing)[0]:10,.1f} {change:+10,.1f}  {name}"


def show_profiles(counts: dict[str, KindCount], before: dict[str, Profile] | None, most: int) -> None:
    """Print the profile of each kind; beside those of ``before``, only what has changed."""
    for kind, count in counts.items():
        profile = profile_of(count)
        print(f"\n## {kind}: {count.instructions:,} instructions\n\n{by_part(profile)}\n")
        for line in by_function(profile, most) if before is None else changes(before.get(kind, {}), profile, most):
            print(line)
