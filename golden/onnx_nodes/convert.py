"""ONNX's own backend node tests, as compact files that `compiler/tests/onnx_nodes.rs` reads.

    python golden/onnx_nodes/convert.py        # onnx==1.23.2, numpy

Writes, beside this script, one safetensors file for every family of operators (`FAMILIES`), and `skipped.txt`, which
says for every operator and case that is not in them why. Running it again gives the same bytes.

What is changed about a test, and what is not:

- The numbers are ONNX's. Tensors of equal content are stored once a file.
- Operands that say sizes, axes or indices (`CONSTANT_OPERANDS`) become constants of the model, as they are in the graphs
  that exporters write. qwenc evaluates them while compiling, and refuses those that are computed from data.
- A model that declares an operator set below 13, or the file version that belonged to it, is raised to 13, when every
  operator in it has the same definition in both, or one that later versions only widened (`WIDENED`).
- Names of intermediate values become short, because the tests with expanded functions are mostly names.

The format: tensors are named by numbers. The metadata entry `cases` is a JSON list of
`{name, op, domain, opset, model, inputs: {name: tensor}, outputs: {name: tensor}}`; `model` is a tensor of bytes.
`inputs` and `outputs` are null for a case with an element type that the format lacks: such a case must be refused.
"""

import hashlib
import json
import pathlib
import warnings
from functools import partial

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

warnings.filterwarnings("ignore")
HERE = pathlib.Path(__file__).parent
MINIMUM_OPSET = 13
MINIMUM_IR = 8
# Beyond this many bytes of model and data a case says nothing that a smaller one does not.
LARGEST_CASE = 90_000

FAMILIES = {
    "arithmetic": "Abs Add Ceil Div Exp Floor Log Max Mean Min Mod Mul Neg Pow Reciprocal Round Sign Sqrt Sub Sum Erf",
    "logic": "And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Equal Greater GreaterOrEqual If IsInf IsNaN Less "
    "LessOrEqual Not Or Where Xor",
    "trigonometry": "Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan Tanh",
    "activation": "Celu Clip Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink "
    "Sigmoid Softmax Softplus Softsign SwiGLU Swish ThresholdedRelu",
    "cast": "Cast CastLike",
    "reduction": "ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSum ReduceSumSquare",
    "layout": "CenterCropPad Concat DepthToSpace Dropout Expand Flatten Identity Pad Reshape Slice SpaceToDepth Split "
    "Squeeze Tile Transpose Unsqueeze",
    "generate": "BlackmanWindow Constant ConstantOfShape EyeLike HammingWindow HannWindow OneHot Range Shape Size Trilu",
    "indexing": "Compress Gather GatherElements GatherND ScatterElements ScatterND",
    "product": "Einsum Gemm MatMul",
    "image": "AveragePool Conv ConvTranspose GlobalAveragePool GlobalMaxPool LRN LpPool MaxPool Resize",
    "norm": "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization LpNormalization "
    "MeanVarianceNormalization RMSNormalization",
    "attention": "Attention RotaryEmbedding",
    "recurrent": "CausalConvWithState LinearAttention Scan",
    "quantize": "DequantizeLinear DynamicQuantizeLinear QuantizeLinear",
}

# Operators without an importer, and why they have none.
DATA_DEPENDENT = "the shape of the result depends on data, which a schedule made ahead of time cannot express"
STRINGS = "works on text"
CONTAINERS = "sequences and optionals are no tensors"
TRAINING = "for training"
RANDOM = "random numbers"
LOOPS = "runs a subgraph a number of times"
SORTING = "needs a kernel that sorts"
SCATTER = "needs a kernel that writes to computed places"
SIGNAL = "signal processing; no model that qwenc is made for uses it"
VISION = "detection and warping; no model that qwenc is made for uses it"
CELLS = "recurrent cells of fixed kinds; no model that qwenc is made for uses them"
INTEGER = "products of integers with integer accumulation; quantized weights are dequantized instead"
TREES = "classical machine learning, domain ai.onnx.ml"
NOT_IMPORTED = {
    "AffineGrid": VISION, "ArrayFeatureExtractor": TREES, "Bernoulli": RANDOM, "Binarizer": TREES,
    "BitCast": "reinterprets bytes, which devices hold in other widths", "Col2Im": SCATTER,
    "ConvInteger": INTEGER, "CumProd": "no kernel for running products", "DFT": SIGNAL, "DeformConv": VISION,
    "Det": "no kernel for determinants", "FlexAttention": "runs a subgraph on every score; domain ai.onnx.preview",
    "GRU": CELLS, "GridSample": VISION, "ImageDecoder": "reads image files", "LSTM": CELLS, "LabelEncoder": TREES,
    "Loop": LOOPS, "MatMulInteger": INTEGER, "MaxUnpool": SCATTER, "MelWeightMatrix": SIGNAL,
    "NegativeLogLikelihoodLoss": TRAINING, "NonMaxSuppression": DATA_DEPENDENT, "NonZero": DATA_DEPENDENT,
    "OptionalGetElement": CONTAINERS, "OptionalHasElement": CONTAINERS, "QLinearConv": INTEGER, "QLinearMatMul": INTEGER,
    "RNN": CELLS, "RegexFullMatch": STRINGS, "ReverseSequence": "every row has a length of its own, which is data",
    "RoiAlign": VISION, "STFT": SIGNAL, "Scatter": SCATTER,
    "SequenceInsert": CONTAINERS, "SequenceLength": CONTAINERS, "SequenceMap": CONTAINERS,
    "SoftmaxCrossEntropyLoss": TRAINING, "SplitToSequence": CONTAINERS, "StringConcat": STRINGS,
    "StringNormalizer": STRINGS, "StringSplit": STRINGS, "TensorScatter": SCATTER, "TfIdfVectorizer": STRINGS,
    "TopK": SORTING, "TreeEnsemble": TREES, "Unique": DATA_DEPENDENT,
    "Upsample": "removed from ONNX with operator set 10; Resize replaces it",
    "Adagrad": TRAINING, "Adam": TRAINING, "Momentum": TRAINING,
}

# Operands by position that are shapes, axes, counts or switches.
CONSTANT_OPERANDS = {
    "Attention": [6], "CenterCropPad": [1], "Compress": [1], "ConstantOfShape": [0], "CumSum": [1], "Dropout": [1, 2], "Expand": [1],
    "If": [0], "OneHot": [1], "Pad": [1, 2, 3], "Range": [0, 1, 2], "Reshape": [1], "Resize": [1, 2, 3],
    "ScatterElements": [1], "ScatterND": [1],
    "Slice": [1, 2, 3, 4], "Split": [1], "Squeeze": [1], "Tile": [1], "Trilu": [1], "Unsqueeze": [1],
    "BlackmanWindow": [0], "HammingWindow": [0], "HannWindow": [0],
    **{f"Reduce{kind}": [1] for kind in "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare".split()},
}  # fmt: skip

# Operators of which later versions take more types and otherwise mean the same, by the first version of which this holds.
WIDENED = {"Add": 7, "Constant": 11, "Identity": 1, "If": 11, "Scan": 9}

# Element types that safetensors can hold, by NumPy's name: its own name, and bytes.
STORABLE = {
    "float64": ("F64", 8), "int64": ("I64", 8), "uint64": ("U64", 8), "float32": ("F32", 4), "int32": ("I32", 4),
    "uint32": ("U32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2), "int16": ("I16", 2), "uint16": ("U16", 2),
    "int8": ("I8", 1), "uint8": ("U8", 1), "bool": ("BOOL", 1),
}  # fmt: skip
# Types narrower than a byte, and those that hold their values in the files.
WIDENED_TO = {"int4": np.int8, "int2": np.int8, "uint4": np.uint8, "uint2": np.uint8}
FAMILY_OF = {op: family for family, ops in FAMILIES.items() for op in ops.split()}


class Skip(Exception):
    """Why a case is not converted."""


def graphs(graph):
    """A graph and all that are in the attributes of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def shorten(model):
    """Gives intermediate values short names, and drops what no reader needs."""
    model.ClearField("doc_string")
    model.producer_name = ""
    kept = {value.name for value in [*model.graph.input, *model.graph.output]}
    names = {name: name for name in ["", *kept]}

    def short(name):
        if name not in names:
            number = len(names)
            while f"t{number}" in kept:
                number += 1000
            names[name] = f"t{number}"
        return names[name]

    for graph in graphs(model.graph):
        graph.ClearField("value_info")
        graph.ClearField("doc_string")
        graph.name = "g"
        for value in [*graph.input, *graph.output]:
            value.name = short(value.name)
        for tensor in graph.initializer:
            tensor.name = short(tensor.name)
        for node in graph.node:
            node.ClearField("name")
            node.ClearField("doc_string")
            node.input[:] = [short(name) for name in node.input]
            node.output[:] = [short(name) for name in node.output]
            for attribute in node.attribute:
                attribute.ClearField("doc_string")
                if attribute.HasField("t"):
                    attribute.t.ClearField("name")


def raise_opset(model):
    """Declares operator set 13 for models of older ones, where nothing about their operators has changed."""
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx") or opset.version >= MINIMUM_OPSET:
            continue
        for graph in graphs(model.graph):
            for node in graph.node:
                versions = [
                    onnx.defs.get_schema(node.op_type, version, node.domain).since_version
                    for version in (opset.version, MINIMUM_OPSET)
                ]
                if versions[0] != versions[1] and opset.version < WIDENED.get(node.op_type, MINIMUM_OPSET):
                    raise Skip(f"operator set {opset.version}, where {node.op_type} is defined differently")
        opset.version = MINIMUM_OPSET
    model.ir_version = max(model.ir_version, MINIMUM_IR)


def bind_constants(model, op, values):
    """Makes constants of the operands that are one in every exported graph."""
    given = dict(values)
    for position in CONSTANT_OPERANDS.get(op, []):
        names = [value.name for value in model.graph.input]
        # The inputs of a node test are its operator's operands in order; absent ones have no input, so they are counted
        # in the node where there is just that one.
        node = model.graph.node[0]
        if len(model.graph.node) == 1 and node.op_type == op:
            name = node.input[position] if position < len(node.input) else ""
        else:
            name = names[position] if position < len(names) else ""
        if name not in given:
            continue
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(given.pop(name)), name))
    kept = [value for value in model.graph.input if value.name in given]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return given


def operator_of(case, bases):
    """The operator that a case is about; a case with the function expanded is about its base case's."""
    name = case.name.split("_expanded")[0]
    node = bases.get(name, case).model.graph.node[0]
    return node.domain, node.op_type


class Family:
    """The content of one file."""

    def __init__(self):
        self.cases, self.tensors, self.numbers = [], [], {}

    def store(self, array):
        array = array.astype(WIDENED_TO.get(array.dtype.name, array.dtype))
        data = np.ascontiguousarray(array).tobytes()
        key = (array.dtype.name, array.shape, hashlib.sha256(data).hexdigest())
        if key not in self.numbers:
            self.numbers[key] = str(len(self.numbers))
            self.tensors.append((array.dtype.name, list(array.shape), self.numbers[key], data))
        return self.numbers[key]

    def add(self, case, domain, op, model, inputs, outputs):
        opset = next(o.version for o in model.opset_import if o.domain == domain)
        record = {"name": case.name.removeprefix("test_"), "op": op, "domain": domain, "opset": opset}
        record["model"] = self.store(np.frombuffer(model.SerializeToString(deterministic=True), np.uint8))
        storable = all(value.dtype.name in {*STORABLE, *WIDENED_TO} for value in [*inputs.values(), *outputs.values()])
        for key, values in (("inputs", inputs), ("outputs", outputs)):
            record[key] = {name: self.store(value) for name, value in values.items()} if storable else None
        self.cases.append(record)

    def write(self, path):
        """A safetensors file, with the widest types first, so that all are aligned."""
        dump = partial(json.dumps, separators=(",", ":"))
        header = {"__metadata__": {"cases": dump(self.cases), "source": f"onnx {onnx.__version__}"}}
        content = bytearray()
        for dtype, shape, number, data in sorted(self.tensors, key=lambda tensor: -STORABLE[tensor[0]][1]):
            header[number] = {"dtype": STORABLE[dtype][0], "shape": shape}
            header[number]["data_offsets"] = [len(content), len(content) + len(data)]
            content += data
        text = dump(header).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def convert(case, domain, op):
    """The model of a case with its inputs and outputs by name."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs, outputs = case.data_sets[0]
    for values, what in ((inputs, "operand"), (outputs, "result")):
        if any(isinstance(value, list) or value is None for value in values):
            raise Skip(f"an {what} is a sequence or an optional" if what == "operand" else "a result is a sequence")
    plain = [
        [numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else np.asarray(v) for v in values]
        for values in (inputs, outputs)
    ]
    if any(value.dtype.name in ("object", "str") or value.dtype.kind in "US" for values in plain for value in values):
        raise Skip("text")
    given = dict(zip([value.name for value in model.graph.input], plain[0], strict=True))
    expected = dict(zip([value.name for value in model.graph.output], plain[1], strict=True))
    raise_opset(model)
    given = bind_constants(model, op, given)
    shorten(model)
    size = model.ByteSize() + sum(value.nbytes for value in [*given.values(), *expected.values()])
    if size > LARGEST_CASE:
        raise Skip(f"{size} bytes, more than {LARGEST_CASE}")
    return model, given, expected


def main():
    from onnx.backend.test.case.node import collect_testcases

    # Some generators draw from NumPy's global state without a seed.
    np.random.seed(0)
    cases = sorted(collect_testcases(None), key=lambda case: case.name)
    bases = {case.name: case for case in cases}
    families = {family: Family() for family in FAMILIES}
    refused = Family()
    skipped_cases, skipped_operators = [], {}
    for case in cases:
        domain, op = operator_of(case, bases)
        if op in NOT_IMPORTED:
            skipped_operators.setdefault((domain, op), []).append(case)
            continue
        try:
            model, inputs, outputs = convert(case, domain, op)
        except Skip as reason:
            skipped_cases.append(f"{case.name.removeprefix('test_')} | {op} | {reason}")
            continue
        families[FAMILY_OF[op]].add(case, domain, op, model, inputs, outputs)
    for (domain, op), found in skipped_operators.items():
        # One model of each shows that it is refused as it should be.
        for case in sorted(found, key=lambda case: case.model.ByteSize()):
            try:
                model = convert(case, domain, op)[0]
            except Skip:
                continue
            if any(node.op_type == op for node in model.graph.node):
                refused.add(case, domain, op, model, {}, {})
                break
    for family, content in families.items():
        content.write(HERE / f"{family}.safetensors")
    refused.write(HERE / "refused.safetensors")
    lines = [f"# Written by convert.py from onnx {onnx.__version__}: what of ONNX's node tests is not in the files here."]
    lines += ["", "# operator | domain | cases | why it has no importer"]
    for (domain, op), found in sorted(skipped_operators.items(), key=lambda entry: entry[0][::-1]):
        lines.append(f"{op} | {domain or 'ai.onnx'} | {len(found)} | {NOT_IMPORTED[op]}")
    lines += ["", "# case | operator | why it is left out", *sorted(skipped_cases)]
    (HERE / "skipped.txt").write_text("\n".join(lines) + "\n")
    stored = {family: sum(1 for _ in content.cases) for family, content in families.items()}
    total = sum(path.stat().st_size for path in HERE.glob("*.safetensors"))
    print(stored, sum(stored.values()), "cases,", total, "bytes,", len(skipped_cases), "cases skipped")


if __name__ == "__main__":
    main()
