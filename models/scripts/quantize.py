"""4-bit weights for a hub folder's decoder and embedding, by ONNX Runtime's quantizer: symmetric, blocks of 32.

    quantize.py <hub_folder> <out_folder>

Writes `decoder_model_merged_q4.onnx` (MatMulNBits) and `embed_tokens_q4.onnx` (GatherBlockQuantized) with external data, and
copies the files beside `onnx/`.
"""

import pathlib
import shutil
import sys

import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer


def quantize(source: pathlib.Path, target: pathlib.Path, operator: str) -> None:
    axes = (("MatMul", 0), ("Gather", 1))
    config = DefaultWeightOnlyQuantConfig(
        block_size=32, is_symmetric=True, bits=4, op_types_to_quantize=(operator,), quant_axes=axes
    )
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    data = target.name + "_data"
    target.with_name(data).unlink(missing_ok=True)
    onnx.save_model(
        quantizer.model.model, target, save_as_external_data=True, location=data, size_threshold=1024
    )


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    hub, out = map(pathlib.Path, sys.argv[1:])
    (out / "onnx").mkdir(parents=True, exist_ok=True)
    for file in hub.iterdir():
        if file.is_file():
            shutil.copy(file, out)
    quantize(hub / "onnx/decoder_model_merged.onnx", out / "onnx/decoder_model_merged_q4.onnx", "MatMul")
    quantize(hub / "onnx/embed_tokens.onnx", out / "onnx/embed_tokens_q4.onnx", "Gather")


main()
