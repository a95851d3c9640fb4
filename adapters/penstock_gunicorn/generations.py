"""The generations of the HTTP processes: one serves, the next one gets ready, and the earlier ones finish their work.

There is no I/O here. The arbiter passes on what happens, and asks what to do; each transition is a method.

==========  ================================================================================
state       means
==========  ================================================================================
starting    its processes load the new code, and its pools get ready; they do not listen yet
serving     it has the listening socket; the very first one has it from its start
retired     another one serves, and it finishes what it has admitted
failed      it could not start; the one that serves goes on
==========  ================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

STARTING: Final = "starting"
SERVING: Final = "serving"
RETIRED: Final = "retired"
FAILED: Final = "failed"

GenerationState: TypeAlias = Literal["starting", "serving", "retired", "failed"]

UNKNOWN_REASON: Final = "one of its processes ended before it was ready; the log may say more"


@dataclass(eq=False)
class Generation:
    """The HTTP processes that were started together, from one version of the code, with all that they start.

    Parameters
    ----------
    number:
        Counted from 1.
    began:
        The instant of its start.
    state:
        See the module.
    members:
        Its living processes, and whether each is ready.
    reason:
        Why it failed; "" if it did not.
    """

    number: int
    began: float
    state: GenerationState = STARTING
    members: dict[int, bool] = field(default_factory=dict)
    reason: str = ""

    def is_ready(self, size: int) -> bool:
        """Return whether it has this number of processes, and all are ready."""
        return len(self.members) >= size and all(self.members.values())


class Generations:
    """All generations of one master.

    Parameters
    ----------
    now:
        The present instant.

    Attributes
    ----------
    serving:
        The generation that has the listening socket.
    coming:
        The one that is being started to succeed it; None outside a reload.
    """

    def __init__(self, now: float) -> None:
        self.serving = Generation(1, now, SERVING)
        self.coming: Generation | None = None
        self._leaving: list[Generation] = []
        self._is_reload_wanted = False

    def want_reload(self) -> None:
        """Ask for a reload: at once, or when the present one has ended."""
        self._is_reload_wanted = True

    def begin_reload(self, now: float) -> Generation | None:
        """Return a new generation to start, if a reload is wanted and none is under way."""
        if not self._is_reload_wanted or self.coming is not None:
            return None
        self._is_reload_wanted = False
        self.coming = Generation(self.serving.number + 1, now)
        return self.coming

    def started(self, generation: Generation, pid: int) -> None:
        """Count a process as a member."""
        generation.members[pid] = False

    def became_ready(self, pid: int) -> None:
        """Note that a process could serve, or does."""
        for generation in self._living():
            if pid in generation.members:
                generation.members[pid] = True

    def finish_reload(self, size_of: Callable[[Generation], int]) -> Generation | None:
        """Have the coming generation serve if all the processes it should have are ready; return the one to retire."""
        coming, retiring = self.coming, self.serving
        if coming is None or not coming.is_ready(size_of(coming)):
            return None
        coming.state, retiring.state = SERVING, RETIRED
        self.serving, self.coming = coming, None
        self._leaving.append(retiring)
        return retiring

    def dismiss(self, size: int) -> list[int]:
        """Return the processes, the oldest first, that the serving generation has beyond this number."""
        members = self.serving.members
        surplus = list(members)[: max(len(members) - size, 0)]
        for pid in surplus:
            del members[pid]
        return surplus

    def failed(self, pid: int, reason: str) -> None:
        """Note why a process is about to end."""
        for generation in self._living():
            if pid in generation.members:
                generation.reason = reason

    def ended(self, pid: int) -> Generation | None:
        """Note that a process has ended; return its generation, or None if it has none any more.

        A generation that is starting has then failed. The processes that are left of it are to be stopped.
        """
        for generation in [*self._living(), *self._leaving]:
            if generation.members.pop(pid, None) is not None:
                if generation.state == STARTING:
                    self.give_up()
                if not generation.members and generation in self._leaving:
                    self._leaving.remove(generation)
                return generation
        return None

    def give_up(self, reason: str = "") -> None:
        """Note that the coming generation has failed, for this reason unless one is known already."""
        coming = self.coming
        assert coming is not None, "a reload is under way"
        coming.state, coming.reason = FAILED, coming.reason or reason or UNKNOWN_REASON
        self.coming = None
        if coming.members:
            self._leaving.append(coming)

    def _living(self) -> list[Generation]:
        return [self.serving] if self.coming is None else [self.serving, self.coming]
