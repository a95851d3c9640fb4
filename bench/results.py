"""Read the results of a case: medians over its rounds, tables, and words where there is no number."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from contenders import CONTENDERS
from harness import FAILED

NONE = "-"


class Column(NamedTuple):
    """A column of a table: its heading, the key of its figure, and the format of a number."""

    heading: str
    key: str
    form: str = "{:,.0f}"


class Result:
    """The results of one case.

    Parameters
    ----------
    data:
        The case's part of the results file.
    titles:
        Titles of contenders that only this case has, by name.
    """

    def __init__(self, data: dict[str, Any], titles: dict[str, str] | None = None) -> None:
        self.data = data
        self._titles = {name: each.title for name, each in CONTENDERS.items()} | (titles or {})

    @property
    def names(self) -> list[str]:
        """The contenders of the run, in its order."""
        return list(self.data["figures"])

    def title(self, name: str) -> str:
        """Return a contender's name in tables."""
        return self._titles[name]

    def numbers(self, name: str, key: str, parameter: Any = "") -> list[float]:
        """Return a figure of each round that has it."""
        rounds = self.data["figures"].get(name, {}).get(str(parameter), [])
        found = [each.get(key) for each in rounds]
        return [value for value in found if isinstance(value, int | float) and not math.isnan(value)]

    def words(self, name: str, key: str, parameter: Any = "") -> str | None:
        """Return the most frequent words that a contender's rounds have in place of a figure."""
        rounds = self.data["figures"].get(name, {}).get(str(parameter), [])
        found = [each.get(key, each.get(FAILED)) for each in rounds]
        words = Counter(value for value in found if isinstance(value, str))
        return words.most_common(1)[0][0] if words else None

    def median(self, name: str, key: str, parameter: Any = "") -> float | None:
        """Return the median over the rounds; None if words are more frequent, or if there is nothing."""
        numbers = self.numbers(name, key, parameter)
        rounds = self.data["figures"].get(name, {}).get(str(parameter), [])
        return statistics.median(numbers) if numbers and 2 * len(numbers) > len(rounds) else None

    def ratio(self, key: str, name: str, other: str, parameter: Any = "") -> float | None:
        """Return one contender's median as a multiple of another's."""
        ours, theirs = self.median(name, key, parameter), self.median(other, key, parameter)
        return ours / theirs if ours is not None and theirs else None

    def cell(self, name: str, column: Column, parameter: Any = "") -> str:
        """Return a figure as text."""
        number = self.median(name, column.key, parameter)
        if number is not None:
            return column.form.format(number)
        return self.words(name, column.key, parameter) or NONE

    def spread(self, key: str, parameter: Any = "") -> float:
        """Return the largest distance of a round from its contender's median, as a share of the median."""
        far = [0.0]
        for name in self.names:
            middle = self.median(name, key, parameter)
            if middle:
                far += [abs(value - middle) / middle for value in self.numbers(name, key, parameter)]
        return max(far)

    def table(self, columns: Sequence[Column], parameter: Any = "", first: str = "server") -> list[str]:
        """Return a table with a row for each contender."""
        lines = [f"| {first} | {' | '.join(column.heading for column in columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name in self.names:
            rounds = self.data["figures"][name].get(str(parameter), [])
            if all(FAILED in each for each in rounds):
                cells = [self.words(name, FAILED, parameter) or NONE, *[""] * (len(columns) - 1)]
            else:
                cells = [self.cell(name, column, parameter) for column in columns]
            lines.append(f"| {self.title(name)} | {' | '.join(cells)} |")
        return lines

    def across(self, column: Column, parameters: Sequence[Any], form: str = "{}") -> list[str]:
        """Return a table of one figure, with a column for each parameter."""
        headings = [form.format(parameter) for parameter in parameters]
        lines = [f"| {column.heading} | {' | '.join(headings)} |", "|---" * (len(parameters) + 1) + "|"]
        for name in self.names:
            cells = [self.cell(name, column, parameter) for parameter in parameters]
            lines.append(f"| {self.title(name)} | {' | '.join(cells)} |")
        return lines

    def footnote(self) -> str:
        """Return when and how it was measured."""
        data = self.data
        rounds = f"{data['rounds']} rounds" if data["rounds"] > 1 else "1 round"
        return (
            f"*{data['when']}: {rounds}, {data['seconds']} s per measurement, {data['took']} s in all, commit "
            f"{data['commit'] or 'unknown'}, load average {data['busy']} at the start. `{data['command']}`*"
        )


def times(ratio: float | None) -> str:
    """Return a ratio as text."""
    return f"{ratio:.2f} times" if ratio is not None else "an unknown multiple of"
