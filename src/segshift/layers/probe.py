"""What reaches the parts of a backbone, found by one pass that computes nothing."""

import torch
from torch import Size, nn
from torch.func import functional_call

from segshift.contracts import Backbone
from segshift.meter import Meter

METER = Meter()  # it remembers what an operation gives: many blocks cost as much as one


def inputs_of(backbone: Backbone, parts: dict[str, nn.Module]) -> dict[str, Size]:
    """Shapes of the first inputs of some parts, for one image.

    A copy of the backbone's tensors on the meta device takes part, so this costs neither memory nor much
    time, whatever the backbone's size and device.

    Args:
        backbone: with all its maps.
        parts: by name.

    Returns:
        Shapes by name; a part that is never called as a module is missing.
    """
    seen: dict[str, Size] = {}

    def note(name: str, inputs: tuple) -> None:  # a hook that returns something would replace the inputs
        seen.setdefault(name, inputs[0].shape)

    handles = [
        part.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs))
        for name, part in parts.items()
    ]
    tensors = {
        name: one.detach().to("meta")
        for name, one in (*backbone.named_parameters(), *backbone.named_buffers())
    }
    images = torch.empty(1, 3, backbone.image_size, backbone.image_size, device="meta")
    try:
        with torch.no_grad(), torch.device("meta"), METER:
            functional_call(backbone, tensors, (images, list(range(len(backbone.maps)))))
    finally:
        for handle in handles:
            handle.remove()
    return seen
