"""Parameters, FLOPs and memory of models that were never given weights, on the meta device.

Which part a trainable parameter belongs to: the *head*, with random layers at a backbone's exit that count as
head; the *backbone*, if it was there before the tuning; the *tuning*, if it came with it (a side network
too). What was counted for one model is kept for the next, so that a grid costs its distinct parts.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segshift import plugins
from segshift.combinations import Combination, Section
from segshift.contracts import Backbone, Map, set_mode
from segshift.meter import FusedAttention, Kept, Meter
from segshift.model import ENGINE_KEYS, Segmenter


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

    def plain(self) -> dict[str, int | float]:
        """For JSON."""
        return asdict(self)


@dataclass
class Network:
    """A tuned backbone with the ids of parameters that its tuning found there."""

    backbone: Backbone
    found: set[int]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Its parameters by part; ``frozen`` is one of them."""
        head = {
            id(one)
            for module in self.backbone.modules()
            if getattr(module, "of_head", False)
            for one in module.parameters()
        }
        parts: dict[str, list[nn.Parameter]] = {"backbone": [], "tuning": [], "head": [], "frozen": []}
        for one in self.backbone.parameters():
            part = "backbone" if id(one) in self.found else "tuning"
            part = "head" if id(one) in head else part
            parts[part if one.requires_grad else "frozen"].append(one)
        return parts


@dataclass
class Pass:
    """One forward pass of a backbone: its maps, FLOPs, and what it keeps."""

    maps: list[Tensor]
    flops: int
    kept: Kept


@dataclass
class HeadPass:
    """One forward pass of a head: parameters, FLOPs, bytes kept, and which of its maps are among what it
    keeps."""

    trainable: int
    frozen: int
    flops: int
    bytes: int
    keeps: list[int]


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


def assemble(combination: Combination) -> tuple[Segmenter, Network]:
    """A model with random weights, on the device of the context, and its tuned backbone.

    Raises:
        SegShiftError: parts that do not fit.
    """
    network = tuned(combination.backbone, combination.tuning)
    module = plugins.load("heads", combination.head["module"])
    taps = module.taps(network.backbone)
    network.backbone.use(sorted(set(taps)))
    maps = [network.backbone.maps[tap] for tap in taps]
    head = plugins.build("heads", own(combination.head), maps, combination.classes)
    model = Segmenter(network.backbone, head, taps)
    if combination.adaptation:
        plugins.build("adaptations", combination.adaptation, model)
    return model, network


@dataclass
class Counter:
    """Counts models; ``batch`` is the number of slices of which FLOPs and memory are counted."""

    batch: int = 1
    meter: Meter = field(default_factory=Meter)
    _taps: dict[Any, list[int]] = field(default_factory=dict)
    _whole: dict[Any, Network] = field(default_factory=dict)
    _networks: dict[Any, tuple[Network, Pass]] = field(default_factory=dict)
    _heads: dict[Any, HeadPass] = field(default_factory=dict)

    def count(self, combination: Combination) -> Count:
        """Count a model.

        Raises:
            SegShiftError: parts that do not fit.
        """
        with torch.device("meta"), torch.enable_grad():
            if combination.adaptation:
                model, network = assemble(combination)
                done, head = self._forward(network, model.taps), self._decode(model)
            else:
                taps = self._tapped(combination)
                network, done = self._network(combination, taps)
                head = self._head(combination, taps, network, done)
        parts = {name: _total(some) for name, some in network.parts().items()}
        kept = done.kept.bytes + head.bytes
        kept += sum(_bytes(done.maps[at]) for at in head.keeps if done.maps[at] not in done.kept)
        learning = parts["backbone"] + parts["tuning"] + parts["head"]
        return Count(
            trainable=learning + head.trainable,
            backbone=parts["backbone"],
            tuning=parts["tuning"],
            head=parts["head"] + head.trainable,
            frozen=parts["frozen"] + head.frozen,
            gflops=(done.flops + head.flops) / 1e9,
            activation_mb=kept / 1e6,
        )

    def count_backbone(self, entry: Section) -> Count:
        """Count a backbone alone, with all its maps, as it is trained whole."""
        with torch.device("meta"), torch.enable_grad():
            network = tuned(entry, {"module": "full"})
            done = self._forward(network, list(range(len(network.backbone.maps))))
        parts = {name: _total(some) for name, some in network.parts().items()}
        learning = parts["backbone"] + parts["head"]
        sizes = (learning, parts["backbone"], 0, parts["head"], parts["frozen"])
        return Count(*sizes, done.flops / 1e9, done.kept.bytes / 1e6)

    def _tapped(self, combination: Combination) -> list[int]:
        """The head's taps, asked of a backbone that still has all its blocks."""
        pair = _key(combination.backbone, combination.tuning)
        key = (pair, _key(combination.head))
        if key not in self._taps:
            if pair not in self._whole:
                self._whole[pair] = self._tuned(combination)
            module = plugins.load("heads", combination.head["module"])
            self._taps[key] = module.taps(self._whole[pair].backbone)
        return self._taps[key]

    def _tuned(self, combination: Combination) -> Network:
        with self.meter:  # drawing weights that nobody sees is slow without it
            return tuned(combination.backbone, combination.tuning)

    def _network(self, combination: Combination, taps: list[int]) -> tuple[Network, Pass]:
        key = (_key(combination.backbone, combination.tuning), tuple(taps))
        if key not in self._networks:
            network = self._tuned(combination)
            network.backbone.use(sorted(set(taps)))
            self._networks[key] = network, self._forward(network, taps)
        return self._networks[key]

    def _forward(self, network: Network, taps: Sequence[int]) -> Pass:
        backbone = network.backbone
        set_mode(backbone, True)
        images = torch.empty(self.batch, 3, backbone.image_size, backbone.image_size)
        kept = Kept([*backbone.parameters(), *backbone.buffers()])
        before = self.meter.flops
        with self.meter, FusedAttention():
            maps = kept.run(backbone, images, taps)
        return Pass(maps, self.meter.flops - before, kept)

    def _head(self, combination: Combination, taps: list[int], network: Network, done: Pass) -> HeadPass:
        maps = [network.backbone.maps[tap] for tap in taps]
        learned = tuple(one.requires_grad for one in done.maps)
        key = (_key(combination.head), tuple(maps), combination.classes, learned)
        if key not in self._heads:
            with self.meter:
                head = plugins.build("heads", own(combination.head), maps, combination.classes)
            self._heads[key] = self._run(head, maps, learned)
        return self._heads[key]

    def _decode(self, model: Segmenter) -> HeadPass:
        maps = [model.backbone.maps[tap] for tap in model.taps]
        learned = any(one.requires_grad for one in model.backbone.parameters())
        return self._run(model.head, maps, (learned,) * len(maps))

    def _run(self, head: nn.Module, maps: list[Map], learned: Sequence[bool]) -> HeadPass:
        set_mode(head, True)
        inputs = [
            torch.empty(self.batch, one.channels, *one.grid, requires_grad=asks)
            for one, asks in zip(maps, learned, strict=True)
        ]
        kept = Kept([*head.parameters(), *head.buffers()])
        before = self.meter.flops
        with self.meter, FusedAttention():
            kept.run(head, inputs)
        keeps = [at for at, one in enumerate(inputs) if one in kept]
        for one in inputs:
            kept.forget(one)
        frozen = _total(one for one in head.parameters() if not one.requires_grad)
        trainable = _total(head.parameters()) - frozen
        return HeadPass(trainable, frozen, self.meter.flops - before, kept.bytes, keeps)


def _total(parameters: Iterable[Tensor]) -> int:
    return sum(one.numel() for one in parameters)


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


def _key(*entries: Section) -> str:
    """Equal for entries that make the same module; which weights are loaded later does not matter."""
    return json.dumps([_bare(entry) for entry in entries], sort_keys=True)


def _bare(entry: Section) -> Section:
    side = {"side": _bare(entry["side"])} if entry.get("side") else {}
    return own(entry) | side
