"""Parameters, FLOPs and memory of models that were never given weights, on the meta device.

Which part a trainable parameter belongs to: the *head*, with random layers at a backbone's exit that count as
head; the *backbone*, if it was there before the tuning; the *tuning*, if it came with it (a side network
too). What was built for one model is kept for the next, so that a grid costs its distinct parts.
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segshift import plugins
from segshift.combinations import Combination, Section
from segshift.contracts import Backbone, Map, set_mode
from segshift.layers.without_values import without_memory
from segshift.meter import FusedAttention, Kept, Meter
from segshift.model import ENGINE_KEYS, Segmenter, find_taps

Sizes = dict[str, dict[str, int]]  # part -> name of a parameter -> its size; `frozen` is a part


@dataclass(frozen=True)
class Count:
    """Trainable parameters, also by part, and frozen ones.

    ``gflops``: 10⁹ operations of the forward pass of a batch; ``activation_mb``: 10⁶ bytes that it keeps for
    the backward pass, in float32.
    """

    trainable: int
    backbone: int
    tuning: int
    head: int
    frozen: int
    gflops: float
    activation_mb: float

    @classmethod
    def of(cls, sizes: Sizes, flops: int, kept: int) -> "Count":
        """From single parameters, operations and bytes."""
        parts = {part: sum(some.values()) for part, some in sizes.items()}
        trainable = sum(parts.values()) - parts["frozen"]
        return cls(trainable=trainable, **parts, gflops=flops / 1e9, activation_mb=kept / 1e6)

    def plain(self) -> dict[str, int | float]:
        """For JSON."""
        return asdict(self)


@dataclass
class Network:
    """A tuned backbone with the ids of parameters that its tuning found there."""

    backbone: Backbone
    found: set[int]

    def copy(self) -> "Network":
        """Another one; cheaper than to build it again."""
        copies: dict[int, Any] = {}
        backbone = deepcopy(self.backbone, copies)
        return Network(backbone, {id(copies[one]) for one in self.found if one in copies})

    def sizes(self) -> Sizes:
        """Its parameters by part."""
        modules = [one for one in self.backbone.modules() if getattr(one, "of_head", False)]
        head = {id(one) for module in modules for one in module.parameters()}
        sizes: Sizes = {"backbone": {}, "tuning": {}, "head": {}, "frozen": {}}
        for name, one in self.backbone.named_parameters():
            part = "backbone" if id(one) in self.found else "tuning"
            part = "head" if id(one) in head else part
            sizes[part if one.requires_grad else "frozen"][f"backbone.{name}"] = one.numel()
        return sizes


@dataclass
class Pass:
    """One forward pass: operations, what autograd keeps, and for a backbone its maps."""

    flops: int
    kept: Kept
    maps: list[Tensor]


def own(entry: Section) -> Section:
    """A section of settings without the keys that are not the module's."""
    return {key: value for key, value in entry.items() if key not in ENGINE_KEYS}


def tuned(backbone: Section, tuning: Section) -> Network:
    """A tuned backbone with random weights, on the device of the context.

    Raises:
        SegShiftError: the two do not fit.
    """
    network = plugins.build("backbones", own(backbone))
    found = {id(one) for one in network.parameters()}
    side = {"side": plugins.build("backbones", own(tuning["side"]))} if tuning.get("side") else {}
    return Network(plugins.build("tunings", own(tuning), network, **side), found)


def _head_sizes(head: nn.Module) -> Sizes:
    sizes: Sizes = {"head": {}, "frozen": {}}
    for name, one in head.named_parameters():
        sizes["head" if one.requires_grad else "frozen"][f"head.{name}"] = one.numel()
    return sizes


def _used(network: Network, taps: Sequence[int]) -> Network:
    network.backbone.use(sorted(set(taps)))
    return network


def assemble(combination: Combination) -> tuple[Segmenter, Network]:
    """A model with random weights, on the device of the context, and its tuned backbone.

    Raises:
        SegShiftError: parts that do not fit.
    """
    network = tuned(combination.backbone, combination.tuning)
    taps = find_taps(combination.head, network.backbone)
    _used(network, taps)
    maps = [network.backbone.maps[tap] for tap in taps]
    head = plugins.build("heads", own(combination.head), maps, combination.classes)
    model = Segmenter(network.backbone, head, taps)
    if combination.adaptation:
        plugins.build("adaptations", combination.adaptation, model)
    return model, network


class Counter:
    """Counts models.

    Args:
        batch: number of slices of which FLOPs and memory are counted.
    """

    def __init__(self, batch: int = 1) -> None:
        self.batch = batch
        self.meter = Meter()
        self._kept: dict[Any, Any] = {}  # what was built or run, by what decides it

    def count(self, combination: Combination) -> Count:
        """Count a model.

        Raises:
            SegShiftError: parts that do not fit.
        """
        done, decoded = self.passes(combination)
        kept = done.kept.bytes + decoded.kept.bytes
        for ours, theirs in zip(done.maps, decoded.maps, strict=True):
            if ours in done.kept and theirs in decoded.kept:
                kept -= theirs.untyped_storage().nbytes()  # one map, kept by both
        return Count.of(self.sizes(combination), done.flops + decoded.flops, kept)

    def passes(self, combination: Combination) -> tuple[Pass, Pass]:
        """The forward passes of a model's tuned backbone and of its head.

        Raises:
            SegShiftError: parts that do not fit.
        """
        model, _ = self.build(combination)
        backbone, head, taps = model.backbone, model.head, model.taps
        done = self._once(("pass", id(backbone), tuple(taps)), lambda: self._forward(backbone, taps))
        learned = tuple(one.requires_grad for one in done.maps)
        maps = [backbone.maps[tap] for tap in taps]
        return done, self._once(("pass", id(head), learned), lambda: self._decode(head, maps, learned))

    def count_backbone(self, entry: Section) -> Count:
        """Count a backbone alone, with all its maps, as it is trained whole."""
        with without_memory():
            network = tuned(entry, {"module": "full"})
        done = self._forward(network.backbone, range(len(network.backbone.maps)))
        return Count.of(network.sizes(), done.flops, done.kept.bytes)

    def sizes(self, combination: Combination) -> Sizes:
        """A model's parameters, by part and name.

        Raises:
            SegShiftError: parts that do not fit.
        """
        model, network = self.build(combination)
        head = self._once(("sizes", id(model.head)), lambda: _head_sizes(model.head))
        sizes = self._once(("sizes", id(network.backbone)), network.sizes)
        return {part: some | head.get(part, {}) for part, some in sizes.items()}

    def build(self, combination: Combination) -> tuple[Segmenter, Network]:
        """A model on the meta device, and its tuned backbone; both are shared with others.

        Raises:
            SegShiftError: parts that do not fit.
        """
        backbone, tuning, head, classes, adaptation = combination
        with without_memory():
            if adaptation:  # it changes what learns
                key = ("adapted", _key(*combination[:3], adaptation), classes)
                return self._once(key, lambda: assemble(combination))
            pair = _key(backbone, tuning)
            # Taps are asked of a backbone that still has all its blocks.
            whole = self._once(("whole", pair), lambda: tuned(backbone, tuning))
            asked = ("taps", pair, _key(head), repr(head.get("blocks")))
            taps = self._once(asked, lambda: find_taps(head, whole.backbone))
            network = self._once(("network", pair, tuple(taps)), lambda: _used(whole.copy(), taps))
            maps = [network.backbone.maps[tap] for tap in taps]
            key = ("head", _key(head), tuple(maps), classes)
            built = self._once(key, lambda: plugins.build("heads", own(head), maps, classes))
        return Segmenter(network.backbone, built, taps), network

    def _forward(self, backbone: Backbone, taps: Sequence[int]) -> Pass:
        size = (self.batch, 3, backbone.image_size, backbone.image_size)
        flops, kept, maps = self._run(backbone, torch.empty(size, device="meta"), taps)
        return Pass(flops, kept, maps)

    def _decode(self, head: nn.Module, maps: list[Map], learned: Sequence[bool]) -> Pass:
        inputs = [
            torch.empty(self.batch, one.channels, *one.grid, device="meta", requires_grad=asks)
            for one, asks in zip(maps, learned, strict=True)
        ]
        flops, kept, _ = self._run(head, inputs)
        return Pass(flops, kept, inputs)

    def _run(self, part: nn.Module, *inputs: Any) -> tuple[int, Kept, Any]:
        """In training mode, for that is what keeps things."""
        set_mode(part, True)
        kept = Kept([*part.parameters(), *part.buffers()])
        before = self.meter.flops
        with torch.device("meta"), torch.enable_grad(), self.meter, FusedAttention():
            found = kept.run(part, *inputs)
        return self.meter.flops - before, kept, found

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def _key(*entries: Section) -> str:
    """Equal for entries that make the same module; which weights are loaded later does not matter."""
    return json.dumps([_bare(entry) for entry in entries], sort_keys=True)


def _bare(entry: Section) -> Section:
    side = {"side": _bare(entry["side"])} if entry.get("side") else {}
    return own(entry) | side
