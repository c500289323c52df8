"""A vision encoder in float16, by ONNX Runtime's converter: weights, pixels, features, and what lies between.

    vision_fp16.py <vision_encoder.onnx> <vision_encoder_fp16.onnx>
"""

import pathlib
import sys

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

source, target = map(pathlib.Path, sys.argv[1:])
model = convert_float_to_float16(onnx.load(source), keep_io_types=False, disable_shape_infer=True)
target.with_name(target.name + "_data").unlink(missing_ok=True)
onnx.save_model(
    model, target, save_as_external_data=True, location=target.name + "_data", size_threshold=1024
)
