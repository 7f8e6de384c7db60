"""Making a network of timm from its name and the constructor options that an entry gives."""

from collections.abc import Iterable
from functools import cache, partial
from inspect import Parameter, signature
from typing import Any

import timm
from torch import nn

from segshift.errors import SegShiftError, unknown
from segshift.layers.without_values import without_memory

#: Options that an entry cannot give, and why.
OWN = {
    "img_size": "is the entry's image_size",
    "dynamic_img_size": "follows from the entry's positions",
    "num_classes": "is always 0: a head follows",
    "in_chans": "is always 3: slices are repeated",
    "global_pool": "would pool the maps away",
    "patch_drop_rate": "leaves holes in the maps",
    "features_only": "gives another network",
    "pretrained": "would download weights; name them in `weights`",
    "pretrained_cfg": "would download weights; name them in `weights`",
    "checkpoint_path": "is the entry's `weights`",
    "device": "is chosen when a command runs",
    "dtype": "is float32",
}


def creator(
    backbone: str, model: str, options: dict[str, Any], image_size: int, **more: Any
) -> tuple["partial[nn.Module]", type[nn.Module]]:
    """What makes the network, with random weights and without a classifier, and the class of it.

    Args:
        backbone: name of the backbone module, for errors.
        model: timm's name.
        options: keywords of the model's constructor, from an entry.
        image_size: side of the input in pixels, for errors.
        **more: keywords that the backbone module gives by itself.

    Raises:
        SegShiftError: an option that the model does not know, that is not the entry's to give, or with which
            the network cannot be built.
    """
    if not isinstance(options, dict):
        raise SegShiftError(
            f"backbone {backbone}: options of {model} must be names with values, not {options!r}"
        )
    for name in options:
        if name in OWN:
            raise SegShiftError(f"backbone {backbone}: options of {model}: {name} {OWN[name]}")
    plain = partial(timm.create_model, model, pretrained=False, num_classes=0, **more)
    create = partial(plain, **options)
    try:
        with without_memory():
            if options:
                _check(backbone, model, options, _kind(model, **more))
            return create, type(create())
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError, AttributeError) as error:
        given = f" with options {options}" if options else ""
        raise SegShiftError(
            f"backbone {backbone}: {model} cannot be built at {image_size} px{given}: {error}"
        ) from error


def _check(backbone: str, model: str, options: Iterable[str], kind: type[nn.Module]) -> None:
    """Are these keywords of the network's class? One that takes any says itself what it does not know."""
    known = signature(kind.__init__).parameters
    if any(one.kind is Parameter.VAR_KEYWORD for one in known.values()):
        return
    names = [name for name in known if name != "self" and name not in OWN]
    for name in options:
        if name not in names:
            raise unknown(f"backbone {backbone}: options of {model}: unknown", name, names)


@cache
def _kind(model: str, **more: Any) -> type[nn.Module]:
    """The class of a model of timm; to know it, one has to be made."""
    return type(timm.create_model(model, pretrained=False, num_classes=0, **more))
