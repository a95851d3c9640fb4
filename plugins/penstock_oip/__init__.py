"""The Open Inference Protocol, version 2: its clients can use an app's endpoints with tensors as models.

``Infer`` is for ``endpoint(dialects=[...])``, and ``Tensor`` for the annotations of its handler.
"""

from penstock import Tensor
from penstock_oip.infer_offers import Infer
from penstock_oip.plugin import OipPlugin

__all__ = [
    "Infer",
    "OipPlugin",
    "Tensor",
]
