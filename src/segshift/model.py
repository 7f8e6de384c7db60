"""A model: tuned backbone and head, built from a cell's settings, and the checkpoint that holds what it
learned."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segshift import plugins, records, weights
from segshift.contracts import Backbone, Head, check_keys, set_mode, trained_state
from segshift.errors import SegShiftError
from segshift.layers.images import resize
from segshift.layers.naming import module_name
from segshift.paths import Results
from segshift.sampling import key
from segshift.settings import digest

# Of entries, not of modules.
ENGINE_KEYS = ("weights", "init_seed", "calibrate", "crop", "side", "init", "blocks")


class Segmenter(nn.Module):
    """Slices (B, 1, H, W) in [0, 1] to logits at the slices' size.

    Args:
        backbone: a tuned backbone.
        head: built on its tapped maps.
        taps: indices of these maps.
        crop: what reads slices for it crops them to multiples of this, see ``segshift.slices.crop``.
        resize: how logits come to the slices' size: ``bilinear``, or ``area`` as in the thesis's code.
    """

    def __init__(
        self, backbone: Backbone, head: Head, taps: list[int], crop: int = 1, resize: str = "bilinear"
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.taps = backbone, head, taps
        self.crop, self.resize = crop, resize

    def train(self, mode: bool = True) -> "Segmenter":
        """Training mode, with frozen roots left in evaluation mode."""
        set_mode(self, mode)
        return self

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 1, H, W) -> one (B, C_i, h_i, w_i) per tap."""
        return self.backbone(images.expand(-1, 3, -1, -1), self.taps)

    def decode(self, maps: list[Tensor], size: tuple[int, int]) -> list[Tensor]:
        """The head's outputs as logits (B, classes, H, W), brought to ``size``; never in half precision."""
        halves = (torch.bfloat16, torch.float16)
        outputs = [one.float() if one.dtype in halves else one for one in self.head(maps)]
        return [resize(logits, size, self.resize) for logits in outputs]

    def forward(self, images: Tensor) -> list[Tensor]:
        """All outputs of the head at the images' size."""
        return self.decode(self.features(images), images.shape[-2:])

    def predict(self, outputs: list[Tensor]) -> Tensor:
        """The logits that count (B, classes, H, W)."""
        return self.head.predict(outputs)


def build(
    settings: list[dict[str, Any]], results: Results, broken: dict[str, Exception] | None = None
) -> list[Segmenter]:
    """Build the models of several cells; those with one frozen backbone share it.

    Args:
        settings: each cell's settings. Backbone, tuning and weights must be equal where there are several
            cells.
        results: where the fetched weights are.
        broken: if given, a head that cannot be built is put in here by its cell, with the reason, and left
            out of what is returned; else it is an error.
    """
    first = settings[0]
    backbone = _backbone(first["backbone"], first, "backbone", results)
    tuning = first["tuning"]
    patch = backbone.maps[backbone.last].stride if first["backbone"].get("crop") == "patch" else 1
    with seeded(first["seed"], "tuning"):
        side = _backbone(tuning["side"], first, "side", results) if tuning.get("side") else None
        if side and tuning["side"].get("crop") == "patch":
            patch = side.maps[side.last].stride
        backbone = plugins.build("tunings", _own(tuning), backbone, **({"side": side} if side else {}))
    taps: dict[str, list[int]] = {}
    for one in settings:
        with _collected(one["cell"], broken):
            taps[one["cell"]] = find_taps(one["head"], backbone)
    models: list[Segmenter] = []
    if not taps:
        return models
    backbone.use(sorted({tap for some in taps.values() for tap in some}))
    for one in settings:
        if one["cell"] in taps:
            with _collected(one["cell"], broken):
                models.append(_with_head(backbone, one, taps[one["cell"]], patch, results))
    return models


@contextmanager
def _collected(cell: str, broken: dict[str, Exception] | None) -> Iterator[None]:
    """What goes wrong is kept where somebody asked for it."""
    try:
        yield
    except Exception as error:
        if broken is None:
            raise
        broken[cell] = error


def _with_head(
    backbone: Backbone, settings: dict[str, Any], taps: list[int], patch: int, results: Results
) -> Segmenter:
    """A head of the cell's own seed, with its weights if it starts from some, on a tuned backbone."""
    entry = settings["head"]
    with seeded(settings["seed"], "head"):
        maps = [backbone.maps[tap] for tap in taps]
        head = plugins.build("heads", _own(entry), maps, len(settings["classes"]))
    if entry.get("init"):
        states = {part: read_weights(results, settings, name) for part, name in entry["init"].items() if name}
        plugins.load("heads", entry["module"]).load(head, states)
    return Segmenter(backbone, head, taps, patch, settings["backbone"].get("resize", "bilinear"))


def find_taps(entry: dict[str, Any], backbone: Backbone) -> list[int]:
    """The maps of a backbone that a head takes, in the head's order.

    Those that its module asks for, unless its entry names ``blocks``: counted from 0, or backwards from -1;
    of a hierarchical backbone, stages. A neck's map is of no block.

    Args:
        entry: of a head.
        backbone: a tuned one that still has all its blocks.

    Raises:
        SegShiftError: the two do not fit; a block that is not there or is named twice; too many or too few.
    """
    module = plugins.load("heads", entry["module"])
    asked = module.taps(backbone)
    if (blocks := entry.get("blocks")) is None:
        return asked
    where, there = f"head {entry['module']}: blocks {blocks}", backbone.last + 1
    for block in blocks:
        if not -there <= block < there:
            raise SegShiftError(
                f"{where}: there is no {block}; backbone {module_name(backbone)} has 0 to {there - 1}, "
                f"counted backwards -1 to -{there}"
            )
    deepest_first = len(asked) == 1 or asked[0] > asked[-1]
    chosen = sorted({block % there for block in blocks}, reverse=deepest_first)
    if len(chosen) < len(blocks):
        raise SegShiftError(f"{where}: of {there} blocks one is named twice")
    if len(chosen) != len(asked) and not getattr(module, "ANY_NUMBER", False):
        raise SegShiftError(f"{where}: on backbone {module_name(backbone)} it takes {len(asked)} of them")
    return chosen


def _own(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry without the keys that the engine takes."""
    return {key: value for key, value in entry.items() if key not in ENGINE_KEYS}


def _backbone(entry: dict[str, Any], settings: dict[str, Any], part: str, results: Results) -> Backbone:
    """A backbone with its weights, or a random one: of the cell's seed, or of the entry's own (a random
    twin)."""
    seed = entry.get("init_seed")
    with seeded(settings["seed"] if seed is None else seed, part):
        backbone = plugins.build("backbones", _own(entry))
    if name := entry.get("weights"):
        plugins.load("backbones", entry["module"]).load(backbone, read_weights(results, settings, name))
    return backbone


def pretrained(entry: dict[str, Any], digests: dict[str, str | None], results: Results) -> Backbone:
    """A backbone alone, as its weights left it, untrained.

    Args:
        entry: of backbones.yaml.
        digests: the sha256 of its weights file by name, as its entry in weights.yaml says.
        results: where the fetched weights are.
    """
    return _backbone(entry, {"seed": 0, "weights": digests}, "backbone", results)


def read_weights(results: Results, settings: dict[str, Any], name: str) -> dict[str, Tensor]:
    """The state dict of a fetched weights file.

    Raises:
        SegShiftError: it is not there, or not the one that the settings name (it may be older than
            a change of its entry); names the command that brings it.
    """
    file = results.weights(name)
    if not file.exists():
        raise SegShiftError(f"{file} is not there; first: segshift fetch {name}")
    expected = records.files(results, settings["weights"]).get(name)
    if expected is None:
        raise SegShiftError(
            f"{file} has no recorded sha256, nor has its entry; once more: segshift fetch {name}"
        )
    if (found := weights.sha256(file)) != expected:
        said = "its entry says" if settings["weights"][name] else "what was fetched first had"
        raise SegShiftError(
            f"{file} has sha256 {found}, {said} {expected}; once that is right: segshift fetch {name}"
        )
    return weights.read(file)


@contextmanager
def seeded(seed: int, part: str) -> Iterator[None]:
    """Everything drawn inside is a function of (seed, part), and nothing outside is disturbed."""
    with torch.random.fork_rng():
        torch.manual_seed(key(seed, part))
        yield


def keeps_everything(settings: dict[str, Any]) -> bool:
    """True if the backbone's weights stand in no file, so that the checkpoint must hold them all."""
    return settings["backbone"].get("weights") is None


def kept(model: Segmenter, settings: dict[str, Any]) -> dict[str, Tensor]:
    """What a cell's checkpoint holds, by name: the model's own tensors.

    What learned; of the head, what is frozen too, for it may stand in no file (a prompt encoder that starts
    from none). Taken before an adaptation freezes parts of it.
    """
    head = trained_state(model.head, everything=True)
    return trained_state(model, keeps_everything(settings)) | {
        f"head.{name}": one for name, one in head.items()
    }


def autocast(training: dict[str, Any], device: torch.device) -> Callable[[], AbstractContextManager]:
    """Makes the context in which a model is passed through in training: ``precision`` of its settings.

    Weights, gradients, optimizer and losses stay in float32; a finished model is scored in float32.
    """
    if training.get("precision", "float32") == "float32":
        return nullcontext
    return partial(torch.autocast, device.type, torch.bfloat16)


@torch.no_grad()
def calibrate(backbone: Backbone, taps: list[int], batches: Iterable[Tensor]) -> None:
    """Take batch-norm statistics of a random network from data: the mean over all batches, in their order.

    Without it a random network is unfairly weak: its features have no fixed scale.
    """
    set_mode(backbone, False)  # what drops at random while it learns must not disturb the statistics
    norms = [part for part in backbone.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.training = True
    for images in batches:
        backbone(images.expand(-1, 3, -1, -1), taps)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.training = False


# ---- checkpoints -------------------------------------------------------------------------------------------


def save(content: dict[str, Any], file: Path) -> None:
    """Write a checkpoint by rename; equal content gives equal bytes."""
    buffer = io.BytesIO()  # a file's own name would get into the archive
    torch.save(content, buffer)
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_bytes(buffer.getvalue())
    except OSError as error:  # a full disk: Python does not say which file it was
        raise OSError(error.errno, error.strerror, str(part)) from error
    part.replace(file)


def read_any_checkpoint(file: Path) -> dict[str, Any]:
    """Whatever a checkpoint holds.

    Raises:
        SegShiftError: it is missing, or no checkpoint of ours.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SegShiftError(f"{file} is not there; train the cell first") from None
    except Exception as error:  # torch raises many kinds for a broken file
        raise SegShiftError(
            f"{file} is no readable checkpoint: {' '.join(str(error).split())[:200]}"
        ) from None
    if not isinstance(content, dict) or "cell" not in content:
        raise SegShiftError(f"{file} is no checkpoint of SegShift")
    return content


def read_checkpoint(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint of a cell.

    Raises:
        SegShiftError: it is missing, no checkpoint, of another cell, or of other settings.
    """
    content = read_any_checkpoint(file)
    if content["cell"] != settings["cell"]:
        raise SegShiftError(f"{file} belongs to the cell {content['cell']}, not to {settings['cell']}")
    if content["settings"] != digest(settings):
        raise SegShiftError(
            f"{file} was trained with other settings than {settings['cell']} has now; train it again"
        )
    return content


def weights_digest(weights: dict[str, Tensor]) -> str:
    """Digest of weights by name and content (16 hex digits)."""
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(name.encode())
        total.update(weights[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


def check_data(content: dict[str, Any], dataset: str, sha256: str) -> None:
    """Is a dataset still what the model of this checkpoint learned from?

    Raises:
        SegShiftError: it was prepared from other raw data since; names the cell and what to do.
    """
    if (trained := content["data"].get(dataset)) not in (None, sha256):
        raise SegShiftError(
            f"{content['cell']} was trained on other data of {dataset} ({trained[:8]}) than is prepared now "
            f"({sha256[:8]}); train it again (segshift rerun {content['cell']}), or bring the old data back"
        )


def check_files(content: dict[str, Any], settings: dict[str, Any], results: Results) -> None:
    """Are the weights files still those that the model of this checkpoint was built from?

    Raises:
        SegShiftError: one was recorded anew since; names the cell and what to do.
    """
    for name, now in records.files(results, settings["weights"]).items():
        if (trained := content.get("files", {}).get(name)) not in (None, now):
            raise SegShiftError(
                f"{content['cell']} was trained with other weights {name} ({trained[:8]}) than are fetched "
                f"now ({now[:8] if now else 'none'}); train it again (segshift rerun {content['cell']}), or "
                "bring the old file back"
            )


def load_state(model: Segmenter, state: dict[str, Tensor], settings: dict[str, Any], file: Path) -> None:
    """Put a checkpoint's weights into a freshly built model; strict.

    Raises:
        SegShiftError: listing every missing, unexpected and misshaped key.
    """
    own = kept(model, settings)
    try:
        check_keys(own, state)
    except ValueError as error:
        raise SegShiftError(f"{file} does not fit {settings['cell']}: {error}") from None
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])
