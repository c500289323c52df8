"""Makes the cases in this folder: one small model each, with inputs and what ONNX Runtime computes from them.

Needs the Python packages onnx 1.23, onnxruntime 1.32 and numpy. Every case becomes one .onnx file whose metadata holds
the tensors: keys `in:NAME` and `out:NAME`, values `DTYPE DIM,DIM,... HEX` in little-endian order.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).parent
RNG = np.random.default_rng(7)
CASES = {}


def f32(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def i64(values):
    return np.array(values, dtype=np.int64)


def case(name, nodes, inputs, constants, outputs, opset=21, fuse=True):
    """Constants become initializers, as the importer must know them."""
    kinds = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("int64"): TensorProto.INT64, np.dtype("int32"): TensorProto.INT32}
    info = [helper.make_tensor_value_info(k, kinds[v.dtype], v.shape) for k, v in inputs.items()]
    init = [onnx.numpy_helper.from_array(v, k) for k, v in constants.items()]
    out = [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in outputs]
    graph = helper.make_graph(nodes, name, info, out, init)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    options = ort.SessionOptions()
    if not fuse:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip(outputs, session.run(outputs, inputs)))
    tensors = {f"in:{k}": v for k, v in inputs.items()} | {f"out:{k}": v for k, v in values.items()}
    for key, v in tensors.items():
        text = f"{v.dtype.name} {','.join(map(str, v.shape))} {np.ascontiguousarray(v).tobytes().hex()}"
        model.metadata_props.add(key=key, value=text)
    onnx.save(model, HERE / f"{name}.onnx")


def ms(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, domain="com.microsoft", **attributes)


def std(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def lengths(total):
    return {"seqlens": np.array([total - 1], np.int32), "total": np.array(total, np.int32)}


def tables(rows, half):
    angle = np.outer(np.arange(rows), 0.7 ** np.arange(half)).astype(np.float32)
    return {"cos": np.cos(angle), "sin": np.sin(angle)}


# Attention: 3 new positions after 2 old ones, 4 query heads over 2 key heads, 16 wide.
QKV = {"q": f32(1, 3, 64), "k": f32(1, 3, 32), "v": f32(1, 3, 32)}
PAST = {"pk": f32(1, 2, 2, 16), "pv": f32(1, 2, 2, 16)}
GQA_IN = ["q", "k", "v", "pk", "pv", "seqlens", "total"]
GQA_OUT = ["y", "present_k", "present_v"]

case("gqa", [ms("GroupQueryAttention", GQA_IN, GQA_OUT, num_heads=4, kv_num_heads=2)], QKV | PAST, lengths(5), GQA_OUT)
case("gqa_rotary", [ms("GroupQueryAttention", GQA_IN + ["cos", "sin"], GQA_OUT, num_heads=4, kv_num_heads=2, do_rotary=1,
     scale=0.3)], QKV | PAST, lengths(5) | tables(16, 8), GQA_OUT)
case("gqa_rotary_interleaved", [ms("GroupQueryAttention", GQA_IN + ["cos", "sin"], GQA_OUT, num_heads=4, kv_num_heads=2,
     do_rotary=1, rotary_interleaved=1)], QKV | PAST, lengths(5) | tables(16, 8), GQA_OUT)
case("gqa_packed", [ms("GroupQueryAttention", ["qkv", "", "", "pk", "pv", "seqlens", "total"], GQA_OUT, num_heads=4,
     kv_num_heads=2)], {"qkv": f32(1, 3, 128)} | PAST, lengths(5), GQA_OUT)
case("gqa_bias", [ms("GroupQueryAttention", GQA_IN + ["", "", "", "bias"], GQA_OUT, num_heads=4, kv_num_heads=2)],
     QKV | PAST | {"bias": f32(1, 1, 3, 5)}, lengths(5), GQA_OUT)
case("attention_past", [std("Attention", ["q", "k", "v", "mask", "pk", "pv"], GQA_OUT, q_num_heads=4, kv_num_heads=2,
     is_causal=1, scale=0.25)], QKV | PAST | {"mask": f32(1, 1, 3, 5)}, {}, GQA_OUT, opset=23)
MHA = {"q": f32(1, 3, 32), "k": f32(1, 5, 32), "v": f32(1, 5, 32)}
case("mha", [ms("MultiHeadAttention", ["q", "k", "v", "bias", "", "rel"], ["y"], num_heads=4)],
     MHA | {"bias": f32(96), "rel": f32(1, 4, 3, 5)}, {}, ["y"])
case("mha_causal", [ms("MultiHeadAttention", ["q", "q", "q"], ["y"], num_heads=4, unidirectional=1)], {"q": f32(1, 3, 32)}, {}, ["y"])

# Rotation: 2 heads of 8, of which 8 or 4 rotate.
case("rope_positions", [ms("RotaryEmbedding", ["x", "p", "cos", "sin"], ["y"])],
     {"x": f32(1, 3, 16), "p": i64([[4, 9, 2]])}, tables(16, 4), ["y"])
case("rope_offset", [ms("RotaryEmbedding", ["x", "p", "cos", "sin"], ["y"], interleaved=1)],
     {"x": f32(1, 2, 3, 8)}, tables(16, 4) | {"p": i64([5])}, ["y"])
case("rope_partial", [ms("RotaryEmbedding", ["x", "p", "cos", "sin"], ["y"], num_heads=2, rotary_embedding_dim=4)],
     {"x": f32(1, 3, 16), "p": i64([[4, 9, 2]])}, tables(16, 2), ["y"])
case("rope_standard", [std("RotaryEmbedding", ["x", "cos", "sin", "p"], ["y"], num_heads=2, rotary_embedding_dim=4)],
     {"x": f32(1, 3, 16), "p": i64([[4, 9, 2]])}, tables(16, 2), ["y"], opset=23)
MROPE = {"x": f32(1, 3, 32), "p": i64([[[4, 9, 2]], [[1, 0, 7]], [[3, 3, 8]]])}
for layout in [0, 1]:
    case(f"mrope_{layout}", [ms("MRotaryEmbedding", ["x", "p", "cos", "sin"], ["y"], num_heads=2, rotary_embedding_dim=12,
         mrope_section=[2, 2, 2], mrope_layout=layout)], MROPE, tables(16, 6), ["y"])

# The recurrent operators: 3 new positions, 2 heads.
LINEAR = {"q": f32(1, 3, 8), "k": f32(1, 3, 8), "v": f32(1, 3, 12), "s": f32(1, 2, 4, 6), "g": -abs(f32(1, 3, 2)), "b": abs(f32(1, 3, 2))}
case("linear_attention", [ms("LinearAttention", ["q", "k", "v", "s", "g", "b"], ["y", "present"], q_num_heads=2, kv_num_heads=2)],
     LINEAR, {}, ["y", "present"])
case("linear_attention_delta", [ms("LinearAttention", ["q", "k", "v", "s", "", "b"], ["y", "present"], q_num_heads=2,
     kv_num_heads=2, update_rule="delta", scale=1.0)], {k: v for k, v in LINEAR.items() if k != "g"}, {}, ["y", "present"])
case("linear_attention_gate", [ms("LinearAttentionGate", ["a", "dt", "scale", "b"], ["y", "beta"])],
     {"a": f32(1, 3, 2), "b": f32(1, 3, 2)}, {"dt": f32(2), "scale": -abs(f32(2))}, ["y", "beta"])
CONV = {"x": f32(1, 4, 3), "past": f32(1, 4, 2)}
case("causal_conv", [ms("CausalConvWithState", ["x", "w", "b", "past"], ["y", "present"], activation="silu")],
     CONV, {"w": f32(4, 1, 3), "b": f32(4)}, ["y", "present"])
case("causal_conv_short", [ms("CausalConvWithState", ["x", "w", "", "past"], ["y", "present"])],
     {"x": f32(1, 4, 1), "past": f32(1, 4, 3)}, {"w": f32(4, 1, 4)}, ["y", "present"])

# Norms.
case("skip_rms", [ms("SkipSimplifiedLayerNormalization", ["x", "s", "w", "b"], ["y", "", "", "sum"], epsilon=1e-6)],
     {"x": f32(1, 3, 8), "s": f32(1, 3, 8)}, {"w": f32(8), "b": f32(8)}, ["y", "sum"])
case("skip_layer", [ms("SkipLayerNormalization", ["x", "s", "w", "beta", "b"], ["y", "", "", "sum"], epsilon=1e-5)],
     {"x": f32(1, 3, 8), "s": f32(1, 3, 8)}, {"w": f32(8), "beta": f32(8), "b": f32(8)}, ["y", "sum"])
for activation in ["silu", "sigmoid"]:
    case(f"gated_rms_{activation}", [ms("GatedRMSNorm", ["x", "w", "z"], ["y"], activation=activation, epsilon=1e-6)],
         {"x": f32(1, 3, 8), "z": f32(1, 3, 8)}, {"w": f32(4)}, ["y"])

# Activations and products of ONNX Runtime.
case("activations", [ms("FastGelu", ["x", "b"], ["f"]), ms("QuickGelu", ["f"], ["q"]), ms("Gelu", ["q"], ["g"]),
     ms("BiasGelu", ["g", "b"], ["y"])], {"x": f32(3, 4)}, {"b": f32(4)}, ["y"])
case("fused_matmul", [ms("FusedMatMul", ["x", "w"], ["y"], transA=1, transB=1, alpha=0.5)], {"x": f32(4, 3)}, {"w": f32(5, 4)}, ["y"])

# Loops. The gated delta rule in several spellings, for 2 sequences of 5 positions, 2 heads, keys 4 wide and values 3.
STATE = "float[2,2,4,3] S"
ELEMENTS = "float[2,2,4] q, float[2,2,4] k, float[2,2,3] v, float[2,2] g, float[2,2] b"
RESULTS = "float[2,2,4,3] T, float[2,2,3] o"
AXES = "<int64[1] m1 = {-1}, int64[1] m2 = {-2}, int64[2] both = {-1, -2}>"


def loop(name, body, operands, initial, outputs=("state", "y"), constants=None, **attributes):
    """A Scan over `operands`, in order, whose body is in ONNX's text form."""
    graph = onnx.parser.parse_graph(f"body {body}")
    node = std("Scan", [*initial, *operands], list(outputs), body=graph, num_scan_inputs=len(operands), **attributes)
    case(name, [node], initial | operands, constants or {}, outputs, opset=21)


def delta(positions_at=0):
    def along(x):
        return np.moveaxis(x, 0, positions_at).copy()

    operands = {"q": f32(5, 2, 2, 4), "k": f32(5, 2, 2, 4), "v": f32(5, 2, 2, 3), "g": -np.abs(f32(5, 2, 2)), "b": np.abs(f32(5, 2, 2))}
    return {f"{k}_all": along(v) for k, v in operands.items()}


INITIAL = {"initial": f32(2, 2, 4, 3)}

# Products against sums over an axis.
loop("scan_sums", f"""({STATE}, {ELEMENTS}) => ({RESULTS}) {AXES} {{
    e = Exp(g)  e4 = Unsqueeze(e, both)  kept = Mul(S, e4)
    kc = Unsqueeze(k, m1)  weighted = Mul(kept, kc)  read = ReduceSum <keepdims = 0> (weighted, m2)
    d = Sub(v, read)  b3 = Unsqueeze(b, m1)  bd = Mul(d, b3)
    row = Unsqueeze(bd, m2)  outer = Mul(kc, row)  T = Add(kept, outer)
    qc = Unsqueeze(q, m1)  seen = Mul(T, qc)  o = ReduceSum <keepdims = 0> (seen, m2)
}}""", delta(), INITIAL)

# Matrix products, positions on the second axis.
loop("scan_products", f"""({STATE}, {ELEMENTS}) => ({RESULTS}) {AXES} {{
    g4 = Unsqueeze(g, both)  e4 = Exp(g4)  kept = Mul(e4, S)
    kr = Unsqueeze(k, m2)  read = MatMul(kr, kept)  vr = Unsqueeze(v, m2)  d = Sub(vr, read)
    b4 = Unsqueeze(b, both)  bd = Mul(b4, d)  kc = Unsqueeze(k, m1)  outer = MatMul(kc, bd)  T = Add(outer, kept)
    qr = Unsqueeze(q, m2)  or = MatMul(qr, T)  o = Squeeze(or, m2)
}}""", delta(1), INITIAL, scan_input_axes=[1] * 5, scan_output_axes=[1])

# Multiplied out, with the step size on the key and a scale in the body.
loop("scan_multiplied_out", f"""({STATE}, {ELEMENTS}) => ({RESULTS})
    <int64[1] m1 = {{-1}}, int64[1] m2 = {{-2}}, int64[2] both = {{-1, -2}}, float half = {{0.5}}> {{
    e = Exp(g)  e3 = Unsqueeze(e, m1)  e4 = Unsqueeze(e, both)  b3 = Unsqueeze(b, m1)  kb = Mul(b3, k)
    kbc = Unsqueeze(kb, m1)  vr = Unsqueeze(v, m2)  written = Mul(kbc, vr)
    kr = Unsqueeze(k, m2)  read = MatMul(kr, S)  taken = Mul(kbc, read)  decayed = Mul(taken, e4)
    difference = Sub(written, decayed)  kept = Mul(S, e4)  T = Add(difference, kept)
    qh = Mul(q, half)  qr = Unsqueeze(qh, m2)  or = MatMul(qr, T)  o = Squeeze(or, m2)
}}""", delta(), INITIAL)

# Norms and gates inside the loop, with parameters from around it.
loop("scan_inside", f"""({STATE}, {ELEMENTS}) => ({RESULTS})
    <int64[1] m1 = {{-1}}, int64[1] m2 = {{-2}}, int64[2] both = {{-1, -2}}, float eps = {{0.001}}> {{
    k2 = Mul(k, k)  ks = ReduceSum(k2, m1)  ke = Add(ks, eps)  kn = Sqrt(ke)  ku = Div(k, kn)
    q2 = ReduceSumSquare(q, m1)  qe = Add(q2, eps)  qn = Sqrt(qe)  qi = Reciprocal(qn)  qu = Mul(qi, q)
    gb = Add(g, dt)  sp = Softplus(gb)  na = Neg(A)  log = Mul(na, sp)  e = Exp(log)  e4 = Unsqueeze(e, both)
    beta = Sigmoid(b)  b4 = Unsqueeze(beta, both)
    kept = Mul(S, e4)  kr = Unsqueeze(ku, m2)  read = MatMul(kr, kept)  vr = Unsqueeze(v, m2)  d = Sub(vr, read)
    bd = Mul(d, b4)  kc = Transpose <perm = [0, 1, 3, 2]> (kr)  outer = MatMul(kc, bd)  T = Add(kept, outer)
    qr = Unsqueeze(qu, m2)  or = MatMul(qr, T)  o = Squeeze(or, m2)
}}""", delta(), INITIAL, constants={"A": np.array([0.3, 1.2], np.float32), "dt": np.array([0.1, -0.4], np.float32)})

# The state the other way round, without batch and without a step size.
loop("scan_transposed", f"""(float[2,3,4] S, float[2,4] q, float[2,4] k, float[2,3] v, float[2] g) => (float[2,3,4] T, float[2,3] o)
    {AXES} {{
    g3 = Unsqueeze(g, both)  e3 = Exp(g3)  kept = Mul(S, e3)
    kc = Unsqueeze(k, m1)  read = MatMul(kept, kc)  vc = Unsqueeze(v, m1)  d = Sub(vc, read)
    kr = Unsqueeze(k, m2)  outer = Mul(d, kr)  T = Add(kept, outer)
    qc = Unsqueeze(q, m1)  oc = MatMul(T, qc)  o = Squeeze(oc, m1)
}}""", {"q_all": f32(5, 2, 4), "k_all": f32(5, 2, 4) / 2, "v_all": f32(5, 2, 3), "g_all": -np.abs(f32(5, 2))}, {"initial": f32(2, 3, 4)})

# No delta rule: two states, an operand and an output that run backwards.
loop("scan_other", """(float[3] sum, float[3] last, float[3] x, float[3] y) => (float[3] sum2, float[3] x2, float[3] a, float[3] c) {
    t = Tanh(sum)  sum2 = Add(t, x)  x2 = Identity(x)  a = Mul(sum2, y)  c = Sub(last, y)
}""", {"x_all": f32(4, 3), "y_all": f32(4, 3)}, {"sum0": f32(3), "last0": f32(3)}, outputs=("sum", "last", "a", "c"),
     scan_input_directions=[0, 1], scan_output_directions=[1, 0], scan_output_axes=[0, 1])


# ---- quantized weights ----------------------------------------------------------------------------------------------


def packed(codes, bits):
    """Small codes along the last axis into bytes, low bits first, each row to whole bytes."""
    per = 8 // bits
    pad = -codes.shape[-1] % per
    codes = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, pad)]).astype(np.uint8)
    groups = codes.reshape(*codes.shape[:-1], -1, per)
    return np.bitwise_or.reduce(groups << (np.arange(per, dtype=np.uint8) * bits), axis=-1).astype(np.uint8)


def matmul_nbits(name, n, k, bits, block, zeros=None, bias=False):
    blocks = -(-k // block)
    codes = RNG.integers(0, 1 << bits, (n, blocks, block))
    constants = {"w": packed(codes, bits), "s": (f32(n, blocks) * 0.1).astype(np.float32)}
    inputs = ["x", "w", "s"]
    if zeros == "packed":
        constants["z"] = packed(RNG.integers(0, 1 << bits, (n, blocks)), bits)
        inputs.append("z")
    elif zeros == "float":
        constants["z"] = (f32(n, blocks) * 3 + (1 << bits) / 2).astype(np.float32)
        inputs.append("z")
    if bias:
        constants["b"] = f32(n)
        inputs = (inputs + ["", ""])[: 5 if zeros is None else 4] + ([""] if zeros else []) + ["b"]
    attributes = {"K": k, "N": n, "bits": bits, "block_size": block}
    case(name, [ms("MatMulNBits", inputs, ["y"], **attributes)], {"x": f32(1, 3, k)}, constants, ["y"])


matmul_nbits("nbits_4_symmetric", 5, 64, 4, 32)
matmul_nbits("nbits_4_zeros", 7, 80, 4, 16, "packed")
matmul_nbits("nbits_4_float_zeros", 3, 96, 4, 32, "float")
matmul_nbits("nbits_4_odd_k", 4, 45, 4, 16, "packed")
matmul_nbits("nbits_4_bias", 6, 64, 4, 64, bias=True)
matmul_nbits("nbits_8_symmetric", 5, 64, 8, 32)
matmul_nbits("nbits_8_zeros", 4, 300, 8, 256, "packed")
matmul_nbits("nbits_2_symmetric", 5, 64, 2, 32)
matmul_nbits("nbits_2_zeros", 5, 160, 2, 32, "packed")


def gather_quantized(name, bits, zeros, ids, rows=9, k=64, block=32):
    codes = RNG.integers(0, 1 << bits, (rows, k))
    constants = {"w": packed(codes, bits), "s": f32(rows, k // block)}
    inputs = ["w", "ids", "s"]
    if zeros:
        constants["z"] = packed(RNG.integers(0, 1 << bits, (rows, k // block)), bits)
        inputs.append("z")
    attributes = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    case(name, [ms("GatherBlockQuantized", inputs, ["y"], **attributes)], {"ids": i64(ids)}, constants, ["y"])


gather_quantized("gather_bytes_4", 4, False, [[1, 8, 0, -1]])
gather_quantized("gather_bytes_4_zeros", 4, True, [[3], [5]])
gather_quantized("gather_bytes_8_zeros", 8, True, [2, 2, 7])
int4 = helper.tensor_dtype_to_np_dtype(TensorProto.INT4)
uint4 = helper.tensor_dtype_to_np_dtype(TensorProto.UINT4)
table = {"w": RNG.integers(-8, 8, (6, 32)).astype(int4), "s": f32(6, 2), "z": RNG.integers(-8, 8, (6, 2)).astype(int4)}
node = ms("GatherBlockQuantized", ["w", "ids", "s", "z"], ["y"], block_size=16, gather_axis=0, quantize_axis=1)
case("gather_int4", [node], {"ids": i64([5, 0, 2])}, table, ["y"])
table = {"w": RNG.integers(0, 16, (32, 6)).astype(uint4), "s": f32(2, 6)}
node = ms("GatherBlockQuantized", ["w", "ids", "s"], ["y"], block_size=16, gather_axis=1, quantize_axis=0)
case("gather_uint4_columns", [node], {"ids": i64([[5, 0], [1, 1]])}, table, ["y"])


def qdq(name, codes, scales, zeros, **attributes):
    """A product with a dequantized matrix, as quantizers write it between operators. Fused, ONNX Runtime would compute it
    with 8-bit activations."""
    constants = {"w": codes, "s": np.float32(0.02) * scales} | ({"z": zeros} if zeros is not None else {})
    names = ["w", "s"] + (["z"] if zeros is not None else [])
    nodes = [std("DequantizeLinear", names, ["d"], **attributes), std("MatMul", ["x", "d"], ["y"])]
    case(name, nodes, {"x": f32(2, codes.shape[0])}, constants, ["y"], fuse=False)


qdq("qdq_int4_blocks", RNG.integers(-8, 8, (64, 5)).astype(int4), f32(2, 5), None, axis=0, block_size=32)
qdq("qdq_uint4_blocks", RNG.integers(0, 16, (48, 3)).astype(uint4), f32(3, 3), RNG.integers(0, 16, (3, 3)).astype(uint4), axis=0, block_size=16)
qdq("qdq_int8_columns", RNG.integers(-128, 128, (40, 4)).astype(np.int8), f32(4), RNG.integers(-9, 9, 4).astype(np.int8), axis=1)
qdq("qdq_uint8_tensor", RNG.integers(0, 256, (40, 4)).astype(np.uint8), np.float32(0.5), np.uint8(128))
qdq("qdq_int8_rows", RNG.integers(-128, 128, (12, 4)).astype(np.int8), f32(12), None, axis=0)
node = std("QuantizeLinear", ["x", "s", "z"], ["q"])
back = std("DequantizeLinear", ["q", "s", "z"], ["y"])
case("quantize_and_back", [node, back], {"x": f32(3, 7) * 3}, {"s": np.float32(0.02), "z": np.uint8(100)}, ["y"])
