#!/usr/bin/env bash
# Decoders as onnxruntime-genai's model builder writes them, with operators fused into com.microsoft ones.
#
#   make_genai.sh <hf_folder> <out> [names...]       all variants, or those named
#
# The package does not keep its dialect from release to release: models/tiny/genai is fp32_webgpu of 0.18, and the
# decoder of models/tiny/genai015 is fp32_webgpu_embeds of 0.15.2. README.md has both side by side.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
hf=$1
out=$2
shift 2
names=" $* "
mkdir -p "$out"

# build <name> <precision> <execution provider> [extra options...]
build() {
  local name=$1 precision=$2 provider=$3
  shift 3
  if [ "$names" != "  " ] && [[ "$names" != *" $name "* ]]; then
    return
  fi
  local extra=()
  if [ $# -gt 0 ]; then
    extra=(--extra_options "$@")
  fi
  echo "$name"
  python -m onnxruntime_genai.models.builder -i "$hf" -o "$out/$name" -p "$precision" -e "$provider" \
    -c "$out/cache" ${extra[@]+"${extra[@]}"}
}

build fp32_webgpu             fp32 webgpu
build fp32_webgpu_embeds      fp32 webgpu exclude_embeds=true
build fp16_webgpu_embeds      fp16 webgpu exclude_embeds=true
build int4_webgpu_embeds      int4 webgpu exclude_embeds=true
build int4_webgpu_embeds_acc1 int4 webgpu exclude_embeds=true accuracy_level=1 use_webgpu_fp32=true
