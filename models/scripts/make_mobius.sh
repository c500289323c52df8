#!/usr/bin/env bash
# Decoder, vision encoder and embedding as mobius-onnx writes them.
#
#   make_mobius.sh <hf_folder> <out> [names...]      all variants, or those named
#
# f32_webgpu uses contrib operators that the model also carries as functions (this is models/tiny/mobius);
# f32_standard is pure ai.onnx, opset 24.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
hf=$1
out=$2
shift 2
names=" $* "
mkdir -p "$out"

# build <name> [options of `mobius build`...]
build() {
  local name=$1
  shift
  if [ "$names" != "  " ] && [[ "$names" != *" $name "* ]]; then
    return
  fi
  echo "$name"
  mobius build --config "$hf" "$out/$name" "$@"
}

build f32_webgpu   --dtype f32 --ep webgpu --runtime ort-genai
build f32_standard --dtype f32 --ep onnx-standard
