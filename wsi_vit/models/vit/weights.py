"""Weights of published ViT, DeiT and DINOv2 checkpoints: in, and out again, bit for bit.

transformers reads and writes the files, so that tensors' names of any of its versions do; here its
modules' tensors find their places in ours. Each does, or it is an error: queries, keys and values
lie in one matrix here and in three there, a patch's projection is a matrix or a kernel, the rest
differs by name.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wsi_vit.labels import LabelMap
from wsi_vit.models.checkpoint import (
    HEAD_PREFIX,
    is_of_a_head,
    load_network,
    names_of,
    quiet,
    read_json,
    weight_files,
)
from wsi_vit.models.sections import Pool
from wsi_vit.models.vit.forms import form_of, options_of
from wsi_vit.models.vit.transformer import VisionTransformer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_STEMS = {
    "vit": "ViT",
    "deit": "DeiT",
    "dinov2": "Dinov2",
    "dinov2_with_registers": "Dinov2WithRegisters",
}

_MASK_TOKEN = "encoder.embedding.mask_token"

_RENAMED = (
    (r"^(vit|deit|dinov2|dinov2_with_registers)\.", ""),
    (r"^encoder\.", ""),
    (r"^layers?\.", "blocks."),
    (r"\.attention\.attention\.", ".attention."),
    (r"\.attention\.(query|q_proj)\.", ".attention.qkv/0."),
    (r"\.attention\.(key|k_proj)\.", ".attention.qkv/1."),
    (r"\.attention\.(value|v_proj)\.", ".attention.qkv/2."),
    (r"\.attention\.(o_proj|output\.dense)\.", ".attention.output."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.layer_scale([12])\.lambda1$", r".scale\1.factors"),
    (r"\.(intermediate\.dense|mlp\.fc1)\.", ".mlp.hidden."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.output."),
    (r"\.mlp\.gate_proj\.", ".mlp.gated/0."),
    (r"\.mlp\.up_proj\.", ".mlp.gated/1."),
    (r"\.mlp\.weights_in\.", ".mlp.gated."),
    (r"\.mlp\.(fc2|down_proj|weights_out)\.", ".mlp.output."),
    (r"^embeddings\.patch_embeddings\.", "embedding.patches."),
    (r"^embeddings\.cls_token$", "embedding.class_token"),
    (r"^embeddings\.position_embeddings$", "embedding.positions"),
    (r"^embeddings\.", "embedding."),
    (r"^layernorm\.", "norm."),
    (r"^(embedding|blocks|norm)\b", r"encoder.\1"),
    (r"^classifier\.", "head."),
)
"""From transformers' names, of several of its versions, to ours; `/1` is the second part of one."""


def read_encoder(folder: Path, config: "PreTrainedConfig") -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's encoder by our names, in float32.

    What belongs to a head, a pooler or masked pre-training alone is left where it is.

    Raises:
        ModelError: Tensors that are missing, left over, damaged or of another shape.
    """
    from transformers import AutoModel

    extra = {"add_pooling_layer": False} if config.model_type in ("vit", "deit") else {}
    source = load_network(AutoModel, folder, config=config, may_differ=is_of_a_head, **extra)
    parts: dict[str, dict[int, Tensor]] = {}
    for name, tensor in source.state_dict().items():
        place, part = _place(name)
        parts.setdefault(place, {})[part] = tensor
    return {place: torch.cat([of[i] for i in sorted(of)]) for place, of in parts.items()}


def write_as_transformers(network: VisionTransformer, folder: Path, labels: LabelMap) -> None:
    """Write a network as transformers would: config.json and model.safetensors.

    Where the head sees what transformers' own would, it is written with it; else it is left out.
    """
    from transformers import AutoConfig

    architecture = network.encoder.architecture
    form = form_of(architecture, None)
    assert form is not None
    config = AutoConfig.for_model(form, **options_of(architecture, form), **names_of(labels))
    with quiet():
        with torch.device("meta"):  # draws no random numbers: saving changes no run
            theirs = _class_of(form, headed=_has_their_head(network))(config)
        theirs.load_state_dict(_unpacked(network, theirs), assign=True)
        theirs.save_pretrained(folder, max_shard_size="1TB")


def transformers_class(network: VisionTransformer, form: str) -> str:
    """Return the name of the class that reads what `write_as_transformers` writes."""
    return _names_of_classes(form)[_has_their_head(network)]


def read_head(folder: Path, pool: Pool, native: Pool) -> dict[str, Tensor]:
    """Return a checkpoint's head by our names; empty where it has none that sees the same.

    Args:
        folder: The checkpoint.
        pool: What our head sees.
        native: What transformers' head of this architecture sees.
    """
    from safetensors import safe_open

    ours = read_json(folder / "config.json").get("wsi_vit", {}).get("section", {})
    said = ours.get("pool", "native")
    prefix = "classifier." if pool == native else HEAD_PREFIX
    if (native if said == "native" else said) != pool:
        return {}
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            found |= {f"head.{n.removeprefix(prefix)}": file.get_tensor(n).float() for n in names}
    return found


def _has_their_head(network: VisionTransformer) -> bool:
    return network.pool == network.encoder.architecture.native_pool("native")


def _class_of(form: str, *, headed: bool) -> Callable[[Any], Any]:
    """Return what makes transformers' network of a form."""
    import transformers

    made = getattr(transformers, _names_of_classes(form)[headed])
    # These two make a pooling layer that nothing here would use.
    bare = not headed and form in ("vit", "deit")
    return partial(made, add_pooling_layer=False) if bare else made


def _names_of_classes(form: str) -> tuple[str, str]:
    """Return what transformers calls a form's encoder, and the encoder with its head."""
    stem = _STEMS[form]
    return f"{stem}Model", f"{stem}ForImageClassification"


def _unpacked(network: VisionTransformer, theirs: Any) -> dict[str, Tensor]:
    """Return our tensors by transformers' names and in its shapes; all of them, or it is a bug."""
    ours, like = network.state_dict(), theirs.state_dict()
    places = {name: _place(name) for name in like}
    counts: dict[str, int] = {}
    for place, part in places.values():
        counts[place] = max(counts.get(place, 0), part + 1)
    outside = {"head.weight", "head.bias"} if not _has_their_head(network) else set[str]()
    left = set(ours) - set(counts) - outside
    assert not left, f"no place in {type(theirs).__name__} for {sorted(left)}"
    # DINOv2 with registers always has one; it takes no part.
    ours.setdefault(_MASK_TOKEN, torch.zeros(1, network.encoder.architecture.width))
    return {
        name: ours[place].chunk(counts[place])[part].reshape(like[name].shape).contiguous()
        for name, (place, part) in places.items()
    }


def _place(name: str) -> tuple[str, int]:
    """Return our name of one of transformers' tensors, and which part of ours it is."""
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    part = re.search(r"/(\d)", name)
    return (name, 0) if part is None else (name.replace(part[0], ""), int(part[1]))
