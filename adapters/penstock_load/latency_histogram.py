"""A histogram of durations with a known error, small enough to be kept whole in a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

BUCKET_BITS = 7
"""Each power of two has this many bits of buckets: 128."""
LARGEST_ERROR = 0.5 / (1 << BUCKET_BITS)
"""The largest relative error of a quantile: half a bucket, 0.4 %."""
_NANOSECONDS = 1e9


class LatencyHistogram:
    """Durations counted in log-linear buckets: 128 of equal width for each power of two of nanoseconds.

    Histograms merge without loss, and two of the same durations are equal, in whichever order these were added. The
    shortest, the longest and the mean duration are exact, to the nanosecond.
    """

    __slots__ = ("_counts", "_total", "longest", "number", "shortest")

    def __init__(self) -> None:
        self.number = 0
        self.shortest = float("nan")
        self.longest = float("nan")
        self._total = 0
        self._counts: Counter[int] = Counter()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyHistogram) and self.as_document() == other.as_document()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def add(self, seconds: float) -> None:
        """Count a duration; a negative one counts as 0."""
        value = max(0, round(seconds * _NANOSECONDS))
        shift = max(0, value.bit_length() - BUCKET_BITS - 1)
        self._counts[(shift << BUCKET_BITS) + (value >> shift)] += 1
        self._total += value
        self.number += 1
        exact = value / _NANOSECONDS
        if not exact >= self.shortest:  # it is not a number at first
            self.shortest = exact
        if not exact <= self.longest:
            self.longest = exact

    def merge(self, other: LatencyHistogram) -> None:
        """Add all durations of another histogram."""
        if not other.number:
            return
        self._counts += other._counts
        self._total += other._total
        if not self.shortest <= other.shortest:
            self.shortest = other.shortest
        if not self.longest >= other.longest:
            self.longest = other.longest
        self.number += other.number

    @property
    def mean(self) -> float:
        """The mean duration in seconds; not a number without any."""
        return self._total / self.number / _NANOSECONDS if self.number else float("nan")

    def quantile(self, share: float) -> float:
        """Return the duration that this share of all does not exceed, in seconds; not a number without any.

        Parameters
        ----------
        share:
            Between 0 and 1: 0.5 is the median. At 1 it is the longest duration, exactly.
        """
        rank = min(self.number, int(share * self.number) + 1)
        if rank == self.number:
            return self.longest
        passed = 0
        for middle, count in self.buckets():
            passed += count
            if passed >= rank:
                return min(max(middle, self.shortest), self.longest)
        return self.longest

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield the middle of each bucket that is not empty, in seconds, and its count; the shortest first."""
        for index, count in sorted(self._counts.items()):
            shift = max(0, (index >> BUCKET_BITS) - 1)
            lowest = (index - (shift << BUCKET_BITS)) << shift
            yield (lowest + ((1 << shift) - 1) / 2) / _NANOSECONDS, count

    def as_document(self) -> dict[str, Any]:
        """Return everything, ready for JSON: the buckets as pairs of index and count, times in nanoseconds."""
        return {
            "bits": BUCKET_BITS,
            "total_ns": self._total,
            "shortest_ns": round(self.shortest * _NANOSECONDS) if self.number else None,
            "longest_ns": round(self.longest * _NANOSECONDS) if self.number else None,
            "counts": sorted(self._counts.items()),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> LatencyHistogram:
        """Return the histogram of which ``as_document`` returned this.

        Raises
        ------
        ValueError
            If its buckets are not of this kind.
        """
        if document["bits"] != BUCKET_BITS:
            raise ValueError(f"a histogram with {document['bits']} bits cannot be read")
        found = cls()
        found._counts.update({int(index): int(count) for index, count in document["counts"]})
        found.number = found._counts.total()
        if found.number:
            found._total = document["total_ns"]
            found.shortest = document["shortest_ns"] / _NANOSECONDS
            found.longest = document["longest_ns"] / _NANOSECONDS
        return found
