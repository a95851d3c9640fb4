"""Water through a pipe."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pipe:
    """A round pipe; lengths in metres."""

    diameter: float

    def flow(self, speed: float) -> float:
        """Return the flow in cubic metres per second."""
        return 3.14159 * (self.diameter / 2) ** 2 * speed


if __name__ == "__main__":
    print(Pipe(diameter=1.2).flow(speed=4.0))
