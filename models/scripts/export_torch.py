"""Exports a checkpoint with torch.onnx, with the names and shapes of the public onnx-community Qwen3.5 exports.

    python export_torch.py <hf_folder> <out> [--parts embed,decoder,vision]

    embed_tokens.onnx           input_ids -> inputs_embeds
    decoder_model_merged.onnx   prefill and decode in one graph; batch, sequence and past are dynamic
    vision_encoder.onnx         pixel_values and image_grid_thw of one image -> image_features, any grid

Pure ai.onnx, opset 23. The delta rule is torch's `scan`, which becomes one ONNX Scan per layer (the loops in
transformers fix the sequence length when they are traced).
"""

import argparse
import re
from pathlib import Path

import onnx_ir
import torch
import torch.nn.functional as F
import transformers.models.qwen3_5.modeling_qwen3_5 as qwen
from torch import nn
from torch._higher_order_ops.scan import scan
from torch.export import Dim
from transformers import Qwen3_5ForConditionalGeneration

OPSET = 23


def delta_rule(query, key, value, g, beta, state):
    """torch_recurrent_gated_delta_rule of transformers, as a scan over time."""
    repeat = value.shape[2] // key.shape[2]
    if repeat > 1:
        query, key = query.repeat_interleave(repeat, dim=2), key.repeat_interleave(repeat, dim=2)
    q, k, v, b, g = [x.transpose(0, 1).float() for x in (query, key, value, beta, g)]  # time first
    q, k = qwen.l2norm(q), qwen.l2norm(k)
    q = q * (q.shape[-1] ** -0.5)

    def step(S, x):
        q_t, k_t, v_t, b_t, g_t = x
        S = S * g_t.exp()[..., None, None]
        delta = (v_t - (S * k_t.unsqueeze(-1)).sum(-2)) * b_t.unsqueeze(-1)
        S = S + k_t.unsqueeze(-1) * delta.unsqueeze(-2)
        return S.clone(), (S * q_t.unsqueeze(-1)).sum(-2)

    state, out = scan(step, state.float(), (q, k, v, b, g), dim=0)
    return out.transpose(0, 1), state


class Decoder(nn.Module):
    """Calls the modules of transformers, states in and states out; only the cache and the delta rule's loop are ours."""

    def __init__(self, model):
        super().__init__()
        self.lm, self.head = model.model.language_model, model.lm_head

    def delta_layer(self, layer, x, conv, recurrent):
        B, T, _ = x.shape
        h = layer.in_proj_qkv(x).transpose(1, 2)
        window = torch.cat([conv, h], dim=-1)  # the state holds the last 4 columns, as in transformers' cache
        new_conv = window[:, :, -layer.conv_kernel_size :]
        h = F.silu(F.conv1d(window[:, :, 1:], layer.conv1d.weight, None, groups=layer.conv_dim)).transpose(1, 2)
        q, k, v = torch.split(h, [layer.key_dim, layer.key_dim, layer.value_dim], dim=-1)
        widths = ((q, layer.head_k_dim), (k, layer.head_k_dim), (v, layer.head_v_dim))
        q, k, v = (y.reshape(B, T, -1, width) for y, width in widths)
        beta = layer.in_proj_b(x).sigmoid()
        g = -layer.A_log.float().exp() * F.softplus(layer.in_proj_a(x).float() + layer.dt_bias)
        out, recurrent = delta_rule(q, k, v, g, beta, recurrent)
        z = layer.in_proj_z(x).reshape(B, T, -1, layer.head_v_dim)
        out = layer.norm(out.reshape(-1, layer.head_v_dim), z.reshape(-1, layer.head_v_dim)).reshape(B, T, -1)
        return layer.out_proj(out), new_conv, recurrent

    def attention_layer(self, layer, x, position_embeddings, mask, past_key, past_value):
        class Cache:  # as much of a cache as Qwen3_5Attention.forward asks for
            def update(self, key, value, _):
                self.key, self.value = torch.cat([past_key, key], 2), torch.cat([past_value, value], 2)
                return self.key, self.value

        cache = Cache()
        out, _ = layer(
            hidden_states=x, position_embeddings=position_embeddings, attention_mask=mask, past_key_values=cache
        )
        return out, cache.key, cache.value

    def forward(self, inputs_embeds, attention_mask, position_ids, past):
        x = inputs_embeds
        B, T, _ = x.shape
        total = attention_mask.shape[1]
        position_embeddings = self.lm.rotary_emb(x, position_ids)
        key_positions = torch.arange(total, device=x.device)
        query_positions = torch.arange(T, device=x.device) + (total - T)
        causal = (key_positions[None, :] <= query_positions[:, None])[None, None]
        allowed = causal & (attention_mask[:, None, None, :] > 0)
        mask = torch.where(allowed, torch.tensor(0.0), torch.tensor(torch.finfo(torch.float32).min))
        not_padding = attention_mask[:, total - T :].to(x.dtype)[:, :, None]
        present = []
        for i, layer in enumerate(self.lm.layers):
            residual, h = x, layer.input_layernorm(x)
            first, second = past[2 * i], past[2 * i + 1]
            if self.lm.config.layer_types[i] == "linear_attention":
                h, first, second = self.delta_layer(layer.linear_attn, h * not_padding, first, second)
            else:
                h, first, second = self.attention_layer(
                    layer.self_attn, h, position_embeddings, mask, first, second
                )
            present += [first, second]
            x = residual + h
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return (self.head(self.lm.norm(x)), *present)


class Vision(nn.Module):
    """The vision tower for one image, with positions and interpolation computed in the graph from the grid."""

    class OneSegment:
        """Stands in for cu_seqlens: one image is one segment of whatever length pixel_values has."""

        def __init__(self, length):
            self.length = length

        def __getitem__(self, _):
            return self

        def __sub__(self, _):
            return self

        def tolist(self):
            return [self.length]

    def __init__(self, model):
        super().__init__()
        config = model.config.vision_config
        self.v = model.model.visual
        self.merge = config.spatial_merge_size
        self.side = int(config.num_position_embeddings**0.5)

    def axis(self, position, size):
        """Lower and upper index into the position table along one axis, and the weight of the upper one."""
        exact = position.float() * (self.side - 1) / (size - 1).float()
        lower = exact.floor()
        upper = torch.clamp(lower + 1, max=self.side - 1)
        return lower.long(), upper.long(), exact - lower

    def forward(self, pixel_values, image_grid_thw):
        n, merge, side = pixel_values.shape[0], self.merge, self.side
        H, W = image_grid_thw[0, 1], image_grid_thw[0, 2]
        i = torch.arange(n) % (H * W)
        block = i // (merge * merge)
        inside = i % (merge * merge)
        blocks_wide = W // merge
        y = (block // blocks_wide) * merge + inside // merge
        x = (block % blocks_wide) * merge + inside % merge
        positions = torch.stack([y, x], 1)
        y0, y1, dy = self.axis(y, H)
        x0, x1, dx = self.axis(x, W)
        indices = torch.stack([y0 * side + x0, y0 * side + x1, y1 * side + x0, y1 * side + x1], 1)
        weights = torch.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx], 1)
        return self.v(
            pixel_values,
            grid_thw=image_grid_thw,
            position_ids=positions,
            interp_indices=indices,
            interp_weights=weights,
            cu_seqlens=self.OneSegment(n),
            max_seqlen=n,
        ).pooler_output


def rename_dims(graph):
    """torch calls dynamic axes s10, s22, ...: give them their usual names, taken from the graph's inputs."""
    axes = {
        ("inputs_embeds", 0): "batch_size",
        ("inputs_embeds", 1): "sequence_length",
        ("attention_mask", 1): "total_sequence_length",
        ("pixel_values", 0): "num_patches",
    }
    names = {}
    for value in graph.inputs:
        for axis, dim in enumerate(value.shape):
            name = axes.get((value.name, axis))
            if value.name.startswith("past_key_values") and axis == 2:
                name = "past_sequence_length"
            if name and isinstance(dim, onnx_ir.SymbolicDim):
                names[str(dim.value)] = name

    def rename(value):
        if value is None or value.shape is None:
            return
        dims = [
            re.sub(r"\bs\d+\b", lambda found: names.get(found[0], found[0]), str(dim.value))
            if isinstance(dim, onnx_ir.SymbolicDim) and dim.value
            else dim
            for dim in value.shape
        ]
        if value.is_graph_output() and len(dims) == 4 and value.name.startswith("present."):
            dims[2] = "total_sequence_length"
        value.shape = onnx_ir.Shape(dims)

    for value in (*graph.inputs, *graph.outputs):
        rename(value)
    for node in graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                rename(value)


def drop_stack_traces(graph):
    """They are half of the file, and name folders of the machine that exported it."""
    for node in graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


def export(module, args, dynamic_shapes, inputs, outputs, path):
    with torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            args,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    rename_dims(program.model.graph)
    drop_stack_traces(program.model.graph)
    program.save(path, external_data=True)
    print(path)


def export_embedding(model, out):
    dims = ({0: Dim("batch_size"), 1: Dim("sequence_length")},)
    ids = torch.zeros(2, 5, dtype=torch.long)
    export(
        model.get_input_embeddings(), (ids,), dims, ["input_ids"], ["inputs_embeds"], out / "embed_tokens.onnx"
    )


def export_decoder(model, out):
    text = model.config.text_config
    B, T, P = 2, 5, 3
    past, past_dims, inputs, outputs = [], [], [], []
    for i, kind in enumerate(text.layer_types):
        if kind == "linear_attention":
            keys = text.linear_num_key_heads * text.linear_key_head_dim
            values = text.linear_num_value_heads * text.linear_value_head_dim
            past.append(torch.randn(B, 2 * keys + values, text.linear_conv_kernel_dim))
            past.append(
                torch.randn(
                    B, text.linear_num_value_heads, text.linear_key_head_dim, text.linear_value_head_dim
                )
            )
            past_dims += [{0: Dim.AUTO}] * 2
            inputs += [f"past_conv.{i}", f"past_recurrent.{i}"]
            outputs += [f"present_conv.{i}", f"present_recurrent.{i}"]
        else:
            past += [torch.randn(B, text.num_key_value_heads, P, text.head_dim) for _ in range(2)]
            past_dims += [{0: Dim.AUTO, 2: Dim.AUTO}] * 2
            inputs += [f"past_key_values.{i}.key", f"past_key_values.{i}.value"]
            outputs += [f"present.{i}.key", f"present.{i}.value"]
    args = (
        torch.randn(B, T, text.hidden_size),
        torch.ones(B, P + T, dtype=torch.long),
        torch.arange(T).view(1, 1, -1).expand(3, B, -1).contiguous() + P,
        past,
    )
    both = {0: Dim.AUTO, 1: Dim.AUTO}
    dims = (both, both, {1: Dim.AUTO, 2: Dim.AUTO}, past_dims)
    export(
        Decoder(model),
        args,
        dims,
        ["inputs_embeds", "attention_mask", "position_ids", *inputs],
        ["logits", *outputs],
        out / "decoder_model_merged.onnx",
    )


def export_vision(model, out):
    config = model.config.vision_config
    grid = torch.tensor([[1, 4, 6]])
    pixels = torch.randn(24, 3 * config.temporal_patch_size * config.patch_size**2)
    vision = Vision(model)
    with torch.no_grad():
        reference = model.model.visual(pixels, grid_thw=grid).pooler_output
        print("vision: wrapper against transformers", float((vision(pixels, grid) - reference).abs().max()))
    inputs = ["pixel_values", "image_grid_thw"]
    dims = ({0: Dim.DYNAMIC}, {})
    export(vision, (pixels, grid), dims, inputs, ["image_features"], out / "vision_encoder.onnx")


PARTS = {"embed": export_embedding, "decoder": export_decoder, "vision": export_vision}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    model = Qwen3_5ForConditionalGeneration.from_pretrained(
        args.folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    for part in args.parts.split(","):
        PARTS[part](model, args.out)


if __name__ == "__main__":
    main()
