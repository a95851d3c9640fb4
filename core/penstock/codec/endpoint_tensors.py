"""The tensors of one endpoint: what it takes, what it returns, and how batches of them are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from penstock.codec.dialect_decoders import FilteredInput
from penstock.codec.npy_bodies import NpyAnswer
from penstock.codec.tensor_batches import JoinedTensors
from penstock.codec.tensor_results import TensorResults
from penstock.codec.tensors import Tensor
from penstock.wire import InputForm


@dataclass(frozen=True, slots=True, eq=False)
class EndpointTensors:
    """The tensors of one endpoint."""

    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """The tensors that the handler takes, by name: parameters, or fields of the class that is the whole body."""
    _results: TensorResults | None = None
    _joined: JoinedTensors | None = None

    @property
    def results(self) -> Mapping[str, Tensor]:
        """The tensors that the handler returns, by name: fields of a class, or ``output`` for a single array."""
        return {} if self._results is None else self._results.tensors

    @property
    def are_joined(self) -> bool:
        """True if the arrays of a batch are joined along their first dimension."""
        return self._joined is not None

    @property
    def npy_input(self) -> str | None:
        """The name of the input that a body in numpy's format is; None if there are several, or none."""
        return next(iter(self.inputs)) if len(self.inputs) == 1 else None

    @property
    def answers_npy(self) -> bool:
        """True if the result is one array, which can be sent in numpy's format."""
        return self._results is not None and self._results.is_one_array

    def npy_answer(self) -> NpyAnswer:
        """Return the filter that writes a result in numpy's format."""
        assert self._results is not None, "only an endpoint that answers so is asked"
        return NpyAnswer(self._results)

    def arrays_of(self, result: Any) -> dict[str, Any]:
        """Return the arrays of a result by name, without those that are None.

        Raises
        ------
        HandlerError
            If one does not fit its tensor.
        """
        return {} if self._results is None else self._results.arrays(result)

    def counted(self, decoded: Any, input_form: InputForm | None) -> InputForm | None:
        """Return the form of an input, with the share of a batch that the decoded input takes."""
        if self._joined is None:
            return input_form
        items = self._joined.items_of(decoded.value if isinstance(decoded, FilteredInput) else decoded)
        return InputForm("", items=items) if input_form is None else msgspec.structs.replace(input_form, items=items)

    def groups(self, inputs: Sequence[Any]) -> list[list[int]] | None:
        """Return which decoded inputs of a batch go to the handler together, by their places; None for all of them."""
        return None if self._joined is None else self._joined.groups(inputs)

    def taken_apart(self, returned: Any, inputs: Sequence[Any]) -> Any:
        """Return what the handler has returned for a group as a sequence with one result for each.

        Raises
        ------
        HandlerError
            If it does not fit the inputs.
        """
        return returned if self._joined is None else self._joined.taken_apart(returned, inputs)


NO_TENSORS: Final = EndpointTensors()
"""The tensors of an endpoint that has none."""
