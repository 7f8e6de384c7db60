"""SAM, H-SAM, HQ-SAM and HQ-H-SAM heads in numbers of the originals, in double precision."""

import pytest
import torch

from segshift.backbones import sam as sam_encoder
from segshift.contracts import Map
from segshift.heads import hqhsam, hqsam, hsam, sam
from segshift.layers.images import resize
from segshift.layers.sam import (
    Decoder,
    build_prompt_encoder,
    dense_positions,
    mask_vectors,
    masks,
    no_prompt,
)
from segshift.layers.sam_hq import HQDecoder


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def tokens_of(transformer):
    """A list that receives the tokens that a transformer puts out."""
    caught = []
    transformer.register_forward_hook(lambda module, inputs, outputs: caught.append(outputs))
    return caught


def parts(classes, decoder):
    """A prompt encoder and a decoder under the originals' names."""
    return torch.nn.ModuleDict({"prompt_encoder": build_prompt_encoder(), "mask_decoder": decoder}).double()


@pytest.mark.parametrize(("classes", "side"), [(3, 14), (3, 16), (15, 14)])
def test_sams_decoder(reference, classes, side):
    file = reference.read(f"04_sam_decoder_n{classes}_tok{side}")
    model = parts(classes, Decoder(classes))
    assert reference.fill(model, reference.sam_name, file) == set()
    assert sum(one.numel() for one in model.parameters()) == file["parameters"]
    encoder, decoder = model["prompt_encoder"], model["mask_decoder"]
    image = reference.features("embedding", (2, 256, side, side))
    transformed = tokens_of(decoder.transformer)
    decoded = decoder.decode(image, dense_positions(encoder, (side, side)), no_prompt(encoder))
    found = masks(mask_vectors(decoded.tokens, decoder.output_hypernetworks_mlps), decoded.upscaled)
    tokens, positions = transformed[0]
    quality = decoder.iou_prediction_head(tokens[:, 0])
    ours = {
        "dense_pe_14": dense_positions(encoder, (14, 14)),
        "transformer.tokens": tokens,
        "transformer.image": positions,
        "masks_multi": found[:, 1:],
        "mask_single": found[:, :1],
        "iou_multi": quality[:, 1:],
        "iou_single": quality[:, :1],
    }
    assert ours.keys() == file["outputs"].keys()
    for name, one in ours.items():
        reference.check(one, file["outputs"][name])


def test_hq_sam_with_a_mask_of_its_own(reference):
    """The paper's HQ-SAM: three masks of SAM, one HQ token with its own mask."""
    file = reference.read("05_hqsam_decoder_n3_vit768")
    model = parts(3, HQDecoder(3, 768))
    assert reference.fill(model, reference.sam_name, file) == set()
    assert sum(one.numel() for one in model.parameters()) == file["parameters"]
    encoder, decoder = model["prompt_encoder"], model["mask_decoder"]
    image = reference.features("embedding", (1, 256, 14, 14))
    early = reference.features("early", (1, 14, 14, 768)).permute(0, 3, 1, 2)
    transformed = tokens_of(decoder.transformer)
    found = decoder.decode_hq(image, early, dense_positions(encoder, (14, 14)), no_prompt(encoder))
    quality = decoder.iou_prediction_head(transformed[0][0][:, 0])
    best = 1 + quality[0, 1:].argmax()
    chosen = {"True": found.sam[:, best : best + 1], "False": found.sam[:, :1]}
    ours = {
        "hq_features": decoder.from_last(image) + decoder.from_early(early),
        "all_masks": torch.cat([found.sam, found.own], dim=1),
        "all_iou": quality,
        "multimask=True.iou": quality[:, best : best + 1],
        "multimask=False.iou": quality[:, :1],
    }
    for several in ("True", "False"):
        ours[f"multimask={several}.hq_token_only=True.masks"] = found.own
        ours[f"multimask={several}.hq_token_only=False.masks"] = chosen[several] + found.own
    assert ours.keys() == file["outputs"].keys()
    for name, one in ours.items():
        reference.check(one, file["outputs"][name])


def head_of(module, side, **more):
    maps = [Map(768, 224 // side, (side, side))] * 2
    return module.build(maps, 3, **more).double().eval()


def inputs_of(reference, side):
    return [reference.features(name, (2, 768, side, side)) for name in ("last", "early")]


@pytest.mark.parametrize(
    ("module", "file", "side"),
    [
        (sam, "08_sam_mask_dec_n3_tok256", 16),
        (hqsam, "08_hq_sam_mask_dec_n3_tok196", 14),
        (hqsam, "08_hq_sam_mask_dec_n3_tok256", 16),
    ],
)
def test_one_stage(reference, module, file, side):
    file = reference.read(file)
    head = head_of(module, side)
    assert reference.fill(head, reference.sam_name, file) == set()
    maps = inputs_of(reference, side)
    transformed = tokens_of(head.mask_decoder.transformer)
    outputs = head(maps)
    quality = head.mask_decoder.iou_prediction_head(transformed[0][0][:, 0])
    ours = {
        "neck": head.neck(maps[0]),
        "stage1.masks": head.predict(outputs),
        "stage1.iou": quality[:, 1:] if module is sam else quality,
        "eval": head.predict(outputs),
        "train": outputs[-1],
    }
    assert ours.keys() == file["outputs"].keys()
    for name, one in ours.items():
        reference.check(one, file["outputs"][name])


@pytest.mark.parametrize(("module", "kind"), [(hsam, "hsam"), (hqhsam, "hq_hsam")])
@pytest.mark.parametrize("side", [14, 16])
def test_two_stages(reference, module, kind, side):
    """Everything by the original variant; neck and stage 1 by the default too, whose masks differ."""
    file = reference.read(f"08_{kind}_mask_dec_n3_tok{side * side}")
    head, default = head_of(module, side, original=True), head_of(module, side)
    assert reference.fill(head, reference.sam_name, file) == set()
    default.load_state_dict(head.state_dict())
    assert sum(one.numel() for one in head.parameters()) == file["parameters"]
    maps = inputs_of(reference, side)
    transformed = tokens_of(head.mask_decoder.transformer), tokens_of(head.second_stage.transformer)
    image, positions, dense = head.embed(maps[0])
    first = head.first(image, positions, dense, maps)
    outputs = head(maps)
    decoder, second = head.mask_decoder, head.second_stage
    ours = {
        "neck": image,
        "stage1.masks": first.masks,
        "stage1.iou": decoder.iou_prediction_head(transformed[0][0][0][:, 0]),
        "stage1.msk_feat": first.similarity,
        "stage1.up_embed": first.upscaled,
        "stage2.masks": second(image, positions, dense, first),
        "stage2.iou": second.iou_prediction_head(transformed[1][0][0][:, 0]),
        "eval": head.predict(outputs),
        "train.0": outputs[0],
        "train.1": outputs[1],
    }
    assert ours.keys() == file["outputs"].keys()
    for name, one in ours.items():
        reference.check(one, file["outputs"][name])
    embedded = default.embed(maps[0])
    by_default = default.first(*embedded, maps)
    for mine, theirs in zip((embedded[0], *by_default), (image, *first), strict=True):
        assert torch.equal(mine, theirs)
    assert (default(maps)[1] - outputs[1]).abs().max() > 0.01


def test_encoder_and_hqhsam_give_the_original_segmentors_numbers(reference):
    file = reference.read("11_segmentor_sam_base_hqhsam_n3")
    backbone = sam_encoder.build(image_size=224, resize="area")
    taps = hqhsam.taps(backbone)
    assert taps == [11, 2]
    backbone.use(taps)
    reference.fill(backbone.net, lambda name: f"image_encoder.{name}")
    backbone.double().eval()
    # There in units of 255 and rounded to float32.
    backbone.prepare.mean = torch.tensor([123.675, 116.28, 103.53]).double().view(3, 1, 1) / 255
    backbone.prepare.deviation = torch.tensor([58.395, 57.12, 57.375]).double().view(3, 1, 1) / 255
    head = hqhsam.build([backbone.maps[tap] for tap in taps], 3, original=True).double().eval()
    reference.fill(head, reference.sam_name)
    assert sum(one.numel() for part in (backbone, head) for one in part.parameters()) == file["parameters"]
    images = (127.5 + 85 * reference.image((1, 3, 256, 256))).float().double()
    outputs = file["outputs"]
    reference.check(backbone.prepare(images / 255), outputs["network_input"])
    maps = backbone(images / 255, taps)
    for index, one in enumerate(maps):
        reference.check(one, outputs[f"features.{index}"])
    stages = head(maps)
    reference.check(head.predict(stages), outputs["head_eval"])
    reference.check(resize(head.predict(stages), (256, 256)), outputs["logits_eval"])
    for index, one in enumerate(stages):
        reference.check(resize(one, (256, 256)), outputs[f"logits_train.{index}"])
