"""Rewrites the decoder and embedding of `models/tiny/genai015` into the spelling of the current community exports.

    python community.py <hub_folder> <out>

The community's Qwen3.5 repositories (`onnx/decoder_model_merged<suffix>.onnx`, `onnx/embed_tokens<suffix>.onnx`) come
from an exporter that is not public. It is a relative of onnxruntime-genai's builder, so that the builder's graph can be
rewritten into its form, as far as that is known from the interface and the names of its nodes:

- inputs `num_logits_to_keep`, `past_conv.i` (kernel width - 1 columns) and `past_recurrent.i`; `logits` is not the first
  output; a tail Neg, Unsqueeze, Slice(ends = INT64_MAX) in front of the head;
- the lengths of attention come from the mask's shape, the mask is a bias on GroupQueryAttention's input 10 as well,
  and the mask of the new positions is multiplied into the four projections of every delta layer;
- the rotary table is computed from the positions; no convolution bias; weights are called `gdn.*`;
- variants: none (float32); `_fp16` (f16 inside, norms in f32 between Casts, f32 embeddings and matrix states, f16
  windows, caches and logits); `_q4` and `_quantized` (MatMulNBits and GatherBlockQuantized of 4 and 8 bits, block 32,
  asymmetric, f32 scales); `_q4f16` (`_q4` inside `_fp16`, f16 scales).

Not known, and the builder's form here: how norms of q and k, the gate and the gated norm are spelled, and the element
type of `past_recurrent` in the 16-bit variants.
"""

import argparse
import json
import logging
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from hub_layout import lay_out

F32, F16, I32, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64
BLOCK = 32
SECTIONS = 3  # position axes: time, height, width
PROJECTIONS = {"in_proj_qkv": "mul_qkv", "in_proj_z": "mul_z", "in_proj_a": "mul_a", "in_proj_b": "mul_b"}


class Graph:
    """A graph whose nodes are rebuilt in order."""

    def __init__(self, model: onnx.ModelProto):
        self.model = model
        self.nodes = []

    @property
    def proto(self):
        return self.model.graph

    def node(self, op, name, inputs, outputs=None, domain="", **attributes):
        """Adds a node; gives the name of its first output."""
        outputs = outputs or [f"{name}/output_0"]
        self.nodes.append(helper.make_node(op, inputs, outputs, name, domain=domain, **attributes))
        return outputs[0]

    def ints(self, values, name):
        array = np.array(values, np.int64)
        self.proto.initializer.append(numpy_helper.from_array(array, name))
        return name

    def done(self):
        del self.proto.node[:]
        self.proto.node.extend(self.nodes)


def attribute(node, name):
    return next(helper.get_attribute_value(a) for a in node.attribute if a.name == name)


def new_name(name: str) -> str:
    """The community's name of a state, weight or node."""
    for state in ("conv", "recurrent"):
        suffix = f".{state}_state"
        if name.endswith(suffix):
            layer = name.removesuffix(suffix).rpartition(".")[2]
            return f"{'past' if name.startswith('past') else 'present'}_{state}.{layer}"
    name = name.replace("conv1d.weight", "conv1d.weight_3d").replace("neg_exp_A", "A_neg_exp")
    return name.replace("linear_attn", "gdn")


def rename(model: onnx.ModelProto) -> None:
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = new_name(value.name)
    for node in graph.node:
        node.name = new_name(node.name)
        node.input[:] = [new_name(name) for name in node.input]
        node.output[:] = [new_name(name) for name in node.output]


def shared_nodes(g: Graph) -> dict[str, str]:
    """Lengths, bias and mask, from the inputs alone."""
    zero, one, two = g.ints(0, "/c/0"), g.ints(1, "/c/1"), g.ints([1, 2], "/c/[1, 2]")
    first, second = g.ints([0], "/c/[0]"), g.ints([1], "/c/[1]")
    at = "/model/shared_dims/attention_mask"
    shape = g.node("Shape", f"{at}/Shape", ["attention_mask"])
    total = g.node("Gather", f"{at}/Gather_1", [shape, one], axis=0)
    at = "/model/shared_dims/root_input"
    shape = g.node("Shape", f"{at}/Shape", ["inputs_embeds"])
    batch = g.node("Gather", f"{at}/Gather_0", [shape, zero], axis=0)
    length = g.node("Gather", f"{at}/Gather_1", [shape, one], axis=0)
    unsqueezed = lambda name, value: g.node("Unsqueeze", name, [value, first])

    at = "/model/attn_mask_reformat/attn_mask_subgraph"
    last = g.node("Sub", f"{at}/Sub", [total, one])
    last = unsqueezed(f"{at}/Unsqueeze", last)
    to = g.node("Concat", f"{at}/Concat", [unsqueezed(f"{at}/Unsqueeze_1", batch), second], axis=0)
    expanded = g.node("Expand", f"{at}/Expand", [last, to])
    seqlens = g.node("Cast", f"{at}/Sub/Cast", [expanded], to=I32)
    total32 = g.node("Cast", f"{at}/Gather/Cast", [total], to=I32)

    at = "/model/gqa_attention_bias"
    mask = g.node("Cast", f"{at}/Cast", ["attention_mask"], to=F32)
    padding = g.node("Sub", f"{at}/Sub", ["/c/1.0", mask])
    scaled = g.node("Mul", f"{at}/Mul", [padding, "/c/lowest"])
    four = g.node("Unsqueeze", f"{at}/Unsqueeze", [scaled, two])
    parts = [unsqueezed(f"{at}/b", batch), second, unsqueezed(f"{at}/s", length), unsqueezed(f"{at}/t", total)]
    target = g.node("Concat", f"{at}/Target4D", parts, axis=0)
    bias = g.node("Expand", f"{at}/Expand", [four, target])

    at = "/model/gdn_mask"
    past = g.node("Sub", f"{at}/Sub", [total, length])
    starts, ends = unsqueezed(f"{at}/starts", past), unsqueezed(f"{at}/ends", total)
    now = g.node("Slice", f"{at}/Slice", ["attention_mask", starts, ends, second])
    cast = g.node("Cast", f"{at}/Cast", [now], to=F32)
    mask = g.node("Unsqueeze", f"{at}/unsqueeze", [cast, g.ints([2], "/c/[2]")])
    return {"seqlens": seqlens, "total": total32, "bias": bias, "mask": mask, "batch": batch, "length": length}


def rotary_cache(g: Graph, theta: float, cos_cache, h_mask, w_mask, shared) -> None:
    """cos and sin of the positions times the frequencies, with the axis of every slot chosen, as [B*S, R/2]."""
    half = cos_cache.shape[1]
    inv_freq = (1.0 / theta ** (np.arange(half) / half)).astype(np.float32)
    assert np.allclose(np.cos(7.0 * inv_freq), cos_cache[7], atol=1e-6), "the table is not of this theta"
    axis = np.where(h_mask, 1, np.where(w_mask, 2, 0))
    g.proto.initializer.append(numpy_helper.from_array(inv_freq.reshape(1, 1, half, 1), "model.inv_freq"))
    at = "/model/mrope_dynamic_cache"
    one = lambda name, value: g.node("Unsqueeze", f"{at}/{name}", [value, "/c/[0]"])
    parts = [g.ints([SECTIONS], "/c/[3]"), one("b", shared["batch"]), g.ints([half, 1], "/c/half")]
    to = g.node("Concat", f"{at}/to", parts, axis=0)
    expanded = g.node("Expand", f"{at}/Expand", ["model.inv_freq", to])
    positions = g.node("Unsqueeze", f"{at}/positions", ["position_ids", "/c/[2]"])
    positions = g.node("Cast", f"{at}/Cast", [positions], to=F32)
    angles = g.node("MatMul", f"{at}/MatMul", [expanded, positions])  # [3, B, R/2, S]
    angles = g.node("Transpose", f"{at}/Transpose", [angles], perm=[0, 1, 3, 2])
    slots = g.ints(axis * half + np.arange(half), "/c/slots")
    flat = g.ints([-1, SECTIONS * half], "/c/flat")
    for name, op in (("cos", "Cos"), ("sin", "Sin")):
        value = g.node(op, f"{at}/{op}", [angles])
        value = g.node("Transpose", f"{at}/{op}/Transpose", [value], perm=[1, 2, 0, 3])
        value = g.node("Reshape", f"{at}/{op}/Reshape", [value, flat])
        g.node("Gather", f"{at}/{op}/Gather", [value, slots], [f"{at}/{name}"], axis=1)


def rewrite(model: onnx.ModelProto, theta: float) -> None:
    """The float32 graph of the builder in the community's form."""
    rename(model)
    graph = model.graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    gone = {name for name in arrays if name.startswith("model.rotary_emb.") or name.endswith("conv1d.bias")}
    kept = [t for t in graph.initializer if t.name not in gone]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    g = Graph(model)
    lowest = np.array(np.finfo(np.float32).min, np.float32)
    graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "/c/1.0"))
    graph.initializer.append(numpy_helper.from_array(lowest, "/c/lowest"))
    shared = shared_nodes(g)
    tables = [arrays[f"model.rotary_emb.{name}"] for name in ("cos_cache", "h_mask", "w_mask")]
    rotary_cache(g, theta, *tables, shared)

    for node in graph.node:
        projection = next((p for p in PROJECTIONS if node.name.endswith(f"/{p}/MatMul")), None)
        if "/attn_mask_reformat/" in node.name:
            continue
        if projection:
            output = node.output[0]
            node.output[0] = f"{output}/unmasked"
            g.nodes.append(node)
            name = node.name.replace(f"{projection}/MatMul", PROJECTIONS[projection])
            g.node("Mul", name, [node.output[0], shared["mask"]], [output])
        elif node.op_type == "CausalConvWithState":
            node.input[2] = ""
            g.nodes.append(node)
        elif node.op_type == "RotaryEmbedding":
            node.input[2:4] = ["/model/mrope_dynamic_cache/cos", "/model/mrope_dynamic_cache/sin"]
            g.nodes.append(node)
        elif node.op_type == "GroupQueryAttention":
            node.input[5:] = [shared["seqlens"], shared["total"], "", "", "", shared["bias"]]
            g.nodes.append(node)
        elif node.name == "/lm_head/MatMul":
            count = g.node("Neg", "/model/tail/Neg", ["num_logits_to_keep"])
            start = g.node("Unsqueeze", "/model/tail/Unsqueeze", [count, "/c/[0]"])
            end = g.ints([np.iinfo(np.int64).max], "/c/max")
            node.input[0] = g.node("Slice", "/model/tail/Slice", [node.input[0], start, end, "/c/[1]"])
            g.nodes.append(node)
        else:
            g.nodes.append(node)
    g.done()
    drop_unused(graph)

    graph.input.append(helper.make_tensor_value_info("num_logits_to_keep", I64, []))
    del graph.value_info[:]
    logits = next(output for output in graph.output if output.name == "logits")
    logits.type.tensor_type.shape.dim[1].dim_param = "num_logits_to_keep"
    outputs = [output for output in graph.output if output.name != "logits"] + [logits]
    del graph.output[:]
    graph.output.extend(outputs)
    model.producer_name = "models/scripts/community.py"


def drop_unused(graph) -> None:
    """Removes nodes and initializers that nothing reads."""
    wanted = {output.name for output in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(nodes))
    graph.initializer.extend(tensors)


# ---- 16 bits ----------------------------------------------------------------------------------------------------------

NORMS = {"SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"}
KEPT_F32 = ("norm.weight", "A_neg_exp", "dt_bias", "inv_freq")


def to_f16(model: onnx.ModelProto) -> None:
    """f16 inside; norms, decay and angles in f32 between Casts."""
    graph = model.graph
    wide_inputs = {"inputs_embeds"}
    for i, tensor in enumerate(graph.initializer):
        if tensor.data_type != F32 or any(part in tensor.name for part in KEPT_F32):
            continue
        array = numpy_helper.to_array(tensor)
        array = np.maximum(array, np.finfo(np.float16).min).astype(np.float16)
        graph.initializer[i].CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        if kind.elem_type == F32 and value.name not in wide_inputs and "recurrent" not in value.name:
            kind.elem_type = F16

    g = Graph(model)
    narrow = g.node("Cast", "/model/inputs_embeds/Cast", ["inputs_embeds"], to=F16)
    for node in graph.node:
        node.input[:] = [narrow if name == "inputs_embeds" and node.op_type != "Shape" else name for name in node.input]
        if node.op_type in NORMS:
            tensors = 2 if node.op_type.startswith("Skip") else 1
            for i in range(tensors):
                node.input[i] = g.node("Cast", f"{node.name}/Cast_{i}", [node.input[i]], to=F32)
            outputs = [name for name in node.output if name]
            node.output[:] = [f"{name}/f32" if name else "" for name in node.output]
            g.nodes.append(node)
            for output in outputs:
                g.node("Cast", f"{output}/Cast", [f"{output}/f32"], [output], to=F16)
            continue
        g.nodes.append(node)
        if node.op_type == "Cast" and attribute(node, "to") == F32:
            keeps = "a_cast" in node.name or "mrope" in node.name
            node.attribute[0].i = F32 if keeps else F16
            if "g_cast" in node.name:
                node.attribute[0].i = F16
        if node.op_type in ("Cos", "Sin"):
            output = node.output[0]
            node.output[0] = f"{output}/f32"
            g.node("Cast", f"{node.name}/Cast", [node.output[0]], [output], to=F16)
    g.done()


# ---- quantized --------------------------------------------------------------------------------------------------------


def quantized(model: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    """Every product with a weight as MatMulNBits."""
    config = DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=False, bits=bits, op_types_to_quantize=("MatMul",))
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    return quantizer.model.model


def embedding(weight: np.ndarray, bits: int | None, scale_type=np.float32) -> onnx.ModelProto:
    """`input_ids` -> `inputs_embeds` (f32): plain (`bits` None, f32 or f16 by `scale_type`) or in blocks of 32."""
    if bits is None:
        inputs = [numpy_helper.from_array(weight.astype(scale_type), "model.embed_tokens.weight")]
        gather = helper.make_node("Gather", [inputs[0].name, "input_ids"], ["embeds"], "/model/embed_tokens/Gather", axis=0)
    else:
        rows, columns = weight.shape
        blocks = weight.reshape(rows, columns // BLOCK, BLOCK)
        low, high = np.minimum(blocks.min(-1), 0), np.maximum(blocks.max(-1), 0)
        scale = ((high - low) / (2**bits - 1)).astype(scale_type)
        zero = np.round(-low / scale.astype(np.float32)).astype(np.uint8)
        codes = np.round(blocks / scale.astype(np.float32)[..., None]) + zero[..., None]
        codes = np.clip(codes, 0, 2**bits - 1).astype(np.uint8).reshape(rows, columns)
        if bits == 4:
            codes = codes[:, ::2] | codes[:, 1::2] << 4
            zero = zero[:, ::2] | zero[:, 1::2] << 4
        name = "model_embed_tokens_weight"
        parts = {"quant": codes, "scales": scale, "zp": zero}
        inputs = [numpy_helper.from_array(part, f"{name}_{suffix}") for suffix, part in parts.items()]
        names = [inputs[0].name, "input_ids", inputs[1].name, inputs[2].name]
        gather = helper.make_node(
            "GatherBlockQuantized", names, ["embeds"], "/model/embed_tokens/Gather_Quant", domain="com.microsoft",
            bits=bits, block_size=BLOCK, gather_axis=0, quantize_axis=1,
        )  # fmt: skip
    nodes = [gather]
    if scale_type == np.float16:
        nodes.append(helper.make_node("Cast", ["embeds"], ["inputs_embeds"], "/model/embed_tokens/Cast", to=F32))
    else:
        gather.output[0] = "inputs_embeds"
    shape = ["batch_size", "sequence_length"]
    graph = helper.make_graph(
        nodes, "embed_tokens",
        [helper.make_tensor_value_info("input_ids", I64, shape)],
        [helper.make_tensor_value_info("inputs_embeds", F32, [*shape, weight.shape[1]])],
        inputs,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="models/scripts/community.py")


def lay_out_in_shards(model: onnx.ModelProto, target: Path, bytes_each: int) -> None:
    """As `lay_out`, with external data in `<target>_data`, `<target>_data_1`, ..., as files above 2 GB have it."""
    at = 0
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= 1024:
            index = at // bytes_each
            location = f"{target.name}_data" + (f"_{index}" if index else "")
            target.with_name(location).unlink(missing_ok=True)
            set_external_data(tensor, location)
            at += len(tensor.raw_data)
    onnx.save_model(model, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    logging.disable(logging.INFO)  # the quantizer names every node
    folder = args.out / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    for file in args.source.iterdir():
        if file.suffix in (".json", ".jinja") and file.name != "preprocessor_config.json":
            shutil.copyfile(file, args.out / file.name)

    config = json.loads((args.source / "config.json").read_text())
    theta = config["text_config"]["rope_parameters"]["rope_theta"]

    def decoder() -> onnx.ModelProto:
        model = onnx.load(args.source / "onnx/decoder_model_merged.onnx")
        rewrite(model, theta)
        return model

    def f16() -> onnx.ModelProto:
        model = decoder()
        to_f16(model)
        return model

    table = onnx.load(args.source / "onnx/embed_tokens.onnx").graph.initializer[0]
    weight = numpy_helper.to_array(table)
    variants = {
        "": (decoder(), embedding(weight, None)),
        "_fp16": (f16(), embedding(weight, None, np.float16)),
        "_q4": (quantized(decoder(), 4), embedding(weight, 4)),
        "_q4f16": (quantized(f16(), 4), embedding(weight, 4, np.float16)),
        "_quantized": (quantized(decoder(), 8), embedding(weight, 8)),
    }
    for suffix, (model, embed) in variants.items():
        for name, part in (("decoder_model_merged", model), ("embed_tokens", embed)):
            target = folder / f"{name}{suffix}.onnx"
            if (name, suffix) == ("decoder_model_merged", "_fp16"):
                lay_out_in_shards(part, target, 1 << 18)
            else:
                lay_out(part, target)
        print(folder / f"decoder_model_merged{suffix}.onnx")


if __name__ == "__main__":
    main()
