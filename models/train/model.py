"""nano's configuration, and the forward pass for training.

The parameters are those of transformers' `Qwen3_5ForConditionalGeneration`, so that what is trained is what every exporter
takes. Only the way through them is written anew here, for many equal pictures at once and with shapes that never change, as CUDA
graphs want it; `python model.py` compares the two on a CPU.
"""

import math

import torch
import torch.nn.functional as F
from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from tokenizer import VOCABULARY

CHUNK = 64


def config(ids: dict[str, int], end: int) -> Qwen3_5Config:
    """`ids` are those of image_token_id, video_token_id, vision_start_token_id and vision_end_token_id."""
    text = dict(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=384, num_hidden_layers=8,
        layer_types=(["linear_attention"] * 3 + ["full_attention"]) * 2, full_attention_interval=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, attn_output_gate=True, attention_bias=False,
        linear_num_key_heads=4, linear_num_value_heads=4, linear_key_head_dim=32, linear_value_head_dim=64,
        linear_conv_kernel_dim=4, max_position_embeddings=2048, hidden_act="silu", rms_norm_eps=1e-6,
        tie_word_embeddings=True, eos_token_id=end, bos_token_id=None, pad_token_id=None,
        rope_parameters=dict(
            rope_type="default", rope_theta=100000.0, partial_rotary_factor=0.5, mrope_interleaved=True,
            mrope_section=[6, 5, 5],
        ),
    )  # fmt: skip
    vision = dict(
        depth=5, hidden_size=128, intermediate_size=512, num_heads=4, out_hidden_size=192, num_position_embeddings=256,
        patch_size=16, spatial_merge_size=2, temporal_patch_size=2, in_channels=3, hidden_act="gelu_pytorch_tanh",
        deepstack_visual_indexes=[],
    )  # fmt: skip
    return Qwen3_5Config(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        architectures=["Qwen3_5ForConditionalGeneration"],
        dtype="float32",
        **ids,
    )


def create(made: Qwen3_5Config, seed: int) -> Qwen3_5ForConditionalGeneration:
    """A model with fresh weights."""
    torch.manual_seed(seed)
    model = Qwen3_5ForConditionalGeneration(made).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2 and "norm" not in name and "conv1d" not in name:
                fan = parameter[0].numel()
                scale = 0.02 if "embed" in name and "patch" not in name else 0.8 / math.sqrt(fan)
                if name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight", "attn.proj.weight")):
                    scale *= 0.4
                parameter.normal_(0.0, scale)
    model.tie_weights()
    return model


class Tables:
    """What the vision tower needs of a grid of patches: taps into the learned positions, and angles."""

    def __init__(self, model: Qwen3_5ForConditionalGeneration):
        self.visual = model.model.visual
        self.made: dict[tuple[int, int], tuple[torch.Tensor, ...]] = {}

    def __call__(self, rows: int, columns: int) -> tuple[torch.Tensor, ...]:
        """Indices [N, 4], weights [N, 4], cos and sin [N, head] on the CPU."""
        if (rows, columns) not in self.made:
            grid = torch.tensor([[1, rows, columns]])
            taps, weights = get_vision_interpolation_indices_and_weights(
                grid, self.visual.num_grid_per_side, mode="bilinear", align_corners=True, spatial_merge_size=2
            )
            rope = self.visual.rotary_pos_emb
            inverse = 1.0 / (
                rope.config.rope_parameters["rope_theta"]
                ** (torch.arange(0, 16, 2, dtype=torch.float) / 16)
            )
            angles = get_vision_position_ids(grid, 2)[..., None].float() * inverse
            cos, sin = (rope.recomposition_frequencies(part) for part in (angles.cos(), angles.sin()))
            self.made[rows, columns] = (taps, weights.float(), cos, sin)
        return self.made[rows, columns]


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin


def patches(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes [P, H, W, 3] to values in -1..1 of patches in merged order [P, N, 3 * 16 * 16]."""
    count, height, width, _ = pixels.shape
    x = pixels.float() / 127.5 - 1.0
    x = x.view(count, height // 32, 2, 16, width // 32, 2, 16, 3)
    return x.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(count, height * width // 256, 768)


def see(model, pixels: torch.Tensor, tables: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Bytes of equal pictures [P, H, W, 3] to features [P * N / 4, hidden]."""
    visual = model.model.visual
    taps, weights, cos, sin = tables
    proj = visual.patch_embed.proj
    # Both frames of a picture are the same one.
    x = F.linear(patches(pixels), proj.weight.sum(2).flatten(1), proj.bias)
    x = x + (visual.pos_embed.weight[taps] * weights[..., None]).sum(1)
    for block in visual.blocks:
        attn = block.attn
        qkv = attn.qkv(block.norm1(x)).view(*x.shape[:2], 3, attn.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = _rotate(q, cos, sin).to(v.dtype), _rotate(k, cos, sin).to(v.dtype)
        out = F.scaled_dot_product_attention(q, k, v)
        x = x + attn.proj(out.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    return visual.merger(x.flatten(0, 1))


def delta_rule(q, k, v, g, beta):
    """The gated delta rule in chunks; f32 [B, H, T, D], g and beta [B, H, T]; T a multiple of CHUNK."""
    b, h, t, _ = q.shape
    n = t // CHUNK
    q, k, v = (x.reshape(b, h, n, CHUNK, -1) for x in (q, k, v))
    g, beta = g.reshape(b, h, n, CHUNK), beta.reshape(b, h, n, CHUNK, 1)
    total = g.cumsum(-1)
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~lower, float("-inf")).exp()
    kb = k * beta
    # The inverse of the unit lower triangular system by doubling: (1 - A)^-1 = (1 + A)(1 + A^2)(1 + A^4)...
    a = -((kb @ k.transpose(-1, -2)) * decay).tril(-1)
    eye = torch.eye(CHUNK, device=q.device)
    inverse, power = eye + a, a
    for _ in range(int(math.log2(CHUNK)) - 1):
        power = power @ power
        inverse = inverse + inverse @ power
    values = inverse @ (v * beta)
    keys = inverse @ (kb * total.exp()[..., None])
    inside = (q @ k.transpose(-1, -2)) * decay
    q = q * total.exp()[..., None]
    k = (k * (total[..., -1:] - total).exp()[..., None]).transpose(-1, -2)
    last = total[..., -1].exp()[..., None, None]
    state, out = None, []
    for i in range(n):
        fresh = values[:, :, i] if state is None else values[:, :, i] - keys[:, :, i] @ state
        seen = inside[:, :, i] @ fresh
        out.append(seen if state is None else seen + q[:, :, i] @ state)
        added = k[:, :, i] @ fresh
        state = added if state is None else state * last[:, :, i] + added
    return torch.stack(out, 2).reshape(b, h, t, -1)


def _delta(layer, x):
    b, t, _ = x.shape
    mixed = layer.in_proj_qkv(x).transpose(1, 2)
    mixed = F.silu(F.conv1d(F.pad(mixed, (3, 0)), layer.conv1d.weight.to(mixed.dtype), groups=layer.conv_dim)).transpose(1, 2)
    q, k, v = mixed.split([layer.key_dim, layer.key_dim, layer.value_dim], -1)
    q, k, v = (y.reshape(b, t, layer.num_v_heads, -1).transpose(1, 2).float() for y in (q, k, v))
    q, k = (y * torch.rsqrt((y * y).sum(-1, keepdim=True) + 1e-6) for y in (q, k))
    beta = layer.in_proj_b(x).float().sigmoid().transpose(1, 2)
    g = (-layer.A_log.exp() * F.softplus(layer.in_proj_a(x).float() + layer.dt_bias)).transpose(1, 2)
    with torch.autocast(x.device.type, enabled=False):
        out = delta_rule(q * layer.head_k_dim**-0.5, k, v, g, beta).transpose(1, 2)
    z = layer.in_proj_z(x).view(b, t, layer.num_v_heads, -1)
    out = out * torch.rsqrt(out.pow(2).mean(-1, keepdim=True) + 1e-6) * layer.norm.weight * F.silu(z.float())
    return layer.out_proj(out.flatten(2))


def _attention(layer, x, cos, sin):
    b, t, _ = x.shape
    q, gate = layer.q_proj(x).view(b, t, -1, 2 * layer.head_dim).chunk(2, -1)
    q, k = layer.q_norm(q).transpose(1, 2), layer.k_norm(layer.k_proj(x).view(b, t, -1, layer.head_dim)).transpose(1, 2)
    v = layer.v_proj(x).view(b, t, -1, layer.head_dim).transpose(1, 2)
    width = cos.shape[-1]
    q, k = (
        torch.cat((_rotate(y[..., :width], cos, sin).to(v.dtype), y[..., width:].to(v.dtype)), -1) for y in (q, k)
    )
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return layer.o_proj(out.transpose(1, 2).flatten(2) * torch.sigmoid(gate.flatten(2)))


def logits(model, ids, positions, rows=None, features=None):
    """Scores [B, T, vocabulary]. ids [B, T]; positions [3, B, T]; `rows` [B, T] is the row of `features` that takes a token's
    place, or -1. T is a multiple of CHUNK."""
    text = model.model.language_model
    x = text.embed_tokens(ids)
    if features is not None:
        x = torch.where((rows >= 0)[..., None], features[rows.clamp(min=0)].to(x.dtype), x)
    rope = text.rotary_emb
    angles = positions[..., None].float() * rope.inv_freq
    cos, sin = (rope.recomposition_frequencies(part)[:, None] for part in (angles.cos(), angles.sin()))
    for layer in text.layers:
        y = layer.input_layernorm(x)
        x = x + (_delta(layer.linear_attn, y) if hasattr(layer, "linear_attn") else _attention(layer.self_attn, y, cos, sin))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return F.linear(text.norm(x), text.embed_tokens.weight)


def _check() -> None:
    """Both ways through the same weights give the same logits."""
    ids = dict(image_token_id=5, video_token_id=6, vision_start_token_id=3, vision_end_token_id=4)
    model = create(config(ids, 2), 1).eval()
    generator = torch.Generator().manual_seed(3)
    height, width = 128, 192
    pixels = torch.randint(0, 256, (1, height, width, 3), generator=generator, dtype=torch.uint8)
    tokens = torch.randint(10, 1000, (1, 192), generator=generator)
    count = height * width // 1024
    tokens[0, 7] = 3
    tokens[0, 8 : 8 + count] = 5
    tokens[0, 8 + count] = 4
    grid = torch.tensor([[1, height // 16, width // 16]])
    is_image = (tokens == 5).int()
    positions, _ = model.model.get_rope_index(tokens, mm_token_type_ids=is_image, image_grid_thw=grid)
    values = patches(pixels)[0].view(-1, 3, 1, 16, 16).expand(-1, 3, 2, 16, 16).reshape(-1, 1536)
    with torch.no_grad():
        theirs = model(input_ids=tokens, pixel_values=values, image_grid_thw=grid, mm_token_type_ids=is_image).logits
        rows = torch.where(is_image > 0, is_image.cumsum(1) - 1, -1)
        ours = logits(model, tokens, positions, rows, see(model, pixels, Tables(model)(height // 16, width // 16)))
    difference = (theirs - ours).abs().max().item()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters; logits differ by {difference:.1e} of {theirs.abs().max():.2f}")
    if difference > 1e-3:
        raise SystemExit("the forward pass for training is not that of transformers")


if __name__ == "__main__":
    _check()
