"""Weight files in the layouts that timm knows."""

import sys
from typing import Any

from timm.models import model_entrypoint
from torch import Tensor, nn

#: Keys of a classifier or of a pretraining task; nothing here has a use for them.
IGNORED = ("head.", "head_dist.", "fc.", "fc_norm.", "classifier.", "attn_pool.", "mask_token")


def to_layout(state: dict[str, Any], whole: nn.Module, keep: set[str]) -> dict[str, Tensor]:
    """Bring weights into timm's layout.

    Args:
        state: the file's content; the weights themselves, or a dict that holds them as ``state_dict`` or
        ``model``.
        whole: a complete copy of the network (the meta device is enough).
        keep: the keys that are needed.

    Returns:
        The weights without those of a classifier or of parts that feed no map. Unknown keys are left in, for
        a strict comparison to name.
    """
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    name = whole.pretrained_cfg["architecture"]
    for place in (model_entrypoint(name).__module__, type(whole).__module__):
        convert = getattr(sys.modules[place], "checkpoint_filter_fn", None)
        if convert is not None:
            state = _converted(convert, state, whole)
            break
    classifier = whole.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    ignored = (*IGNORED, *(f"{name}." for name in names))
    known = set(whole.state_dict())
    return {
        key: tensor
        for key, tensor in state.items()
        if key in keep or not (key in known or key.startswith(ignored))
    }


def _converted(convert: Any, state: dict[str, Any], whole: nn.Module) -> dict[str, Any]:
    """What timm makes of a state dict; itself where timm stumbles over what is missing or misshaped."""
    try:
        return convert(dict(state), whole)
    except Exception:  # each model's own code; the strict comparison that follows says what is wrong
        return state
