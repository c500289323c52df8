//! Reading the types of the two files. `schedule.rs` and `manifest.rs` have what serde writes; a test compares both.

use super::*;
use crate::json::{FromJson, Json, Object, Trouble, name_from_json, struct_from_json};

struct_from_json!(Schedule { version, symbols, buffers, pipelines, entries });
struct_from_json!(Symbol { name, max } or_default { min });
struct_from_json!(Buffer { id, name, kind, bytes, init } or_default { parts });
struct_from_json!(WeightPart { shard, tensor, at, bytes });
struct_from_json!(Pipeline { shader, entry, bindings, workgroup_size } or_default { variants });
struct_from_json!(Variant { name, shader, workgroup_size } or_default { needs });
struct_from_json!(Entry { symbols, inputs, outputs, commands } or_default { constraints });
struct_from_json!(Constraint { expr, max });
struct_from_json!(TensorSlot { buffer, dtype, shape });
struct_from_json!(Dispatch { pipeline, label, bindings, workgroups });
struct_from_json!(Binding { buffer, offset, bytes });
struct_from_json!(CopyBytes { src, src_offset, dst, dst_offset, bytes });
struct_from_json!(ClearBytes { buffer, offset, bytes });

name_from_json!(BufferKind {
    "weight" => Weight, "arena" => Arena, "state" => State, "input" => Input, "output" => Output, "step" => Step,
});
name_from_json!(Init { "zero" => Zero });
name_from_json!(Feature {
    "subgroups" => Subgroups, "software" => Software, "cooperative_matrix" => CooperativeMatrix,
});
name_from_json!(BindingKind { "uniform" => Uniform, "read" => Read, "read_write" => ReadWrite });
name_from_json!(DType { "f32" => F32, "i32" => I32, "u32" => U32 });

struct_from_json!(Manifest {
    format, generator, model, licence, entries, states, requirements, features, memory, quantization, variants, files,
} or_default { weights_omitted });
struct_from_json!(ModelFacts { name, decoder, vision });
struct_from_json!(DecoderFacts { vocab_size, layers, hidden_size, max_context, prefill_chunk });
struct_from_json!(VisionFacts {
    max_patches,
    patch_values,
    feature_size,
    merge_size,
    position_side,
    max_side,
    image_token,
    vision_start,
    vision_end,
});
struct_from_json!(StateFacts { name, buffer, kind, dtype, shape });
struct_from_json!(Requirements {
    max_storage_buffers_per_stage,
    max_storage_binding_bytes,
    max_buffer_bytes,
    max_workgroup_bytes,
    max_invocations,
});
struct_from_json!(MemoryFacts { weight_bytes, arena_bytes, state_bytes, io_bytes, peak_bytes });
struct_from_json!(QuantizationFacts { recipe, weights });
struct_from_json!(WeightFacts { name, shape, format, converted });
struct_from_json!(FileFacts { path, bytes, sha256 });

name_from_json!(StateKind { "kv_cache" => KvCache, "window" => Window, "matrix" => Matrix });

impl FromJson for BufferId {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        Self(u32::read(json, trouble))
    }
}

impl FromJson for PipelineId {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        Self(u32::read(json, trouble))
    }
}

/// The only pair of an object.
fn only_pair(json: &Json) -> Option<(&str, &Json)> {
    match json.pairs() {
        Some([(name, value)]) => Some((name, value)),
        _ => None,
    }
}

impl FromJson for Command {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        Object::only(json, &["dispatch", "copy", "clear"], trouble);
        match only_pair(json) {
            Some(("dispatch", value)) => Self::Dispatch(Dispatch::read(value, trouble)),
            Some(("copy", value)) => Self::Copy(CopyBytes::read(value, trouble)),
            Some(("clear", value)) => Self::Clear(ClearBytes::read(value, trouble)),
            _ => {
                trouble.say("must be one command");
                Self::Clear(ClearBytes::read(json, trouble))
            }
        }
    }
}

impl FromJson for Expr {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        match (json, only_pair(json)) {
            (Json::Int(value), _) => Self::Const(i64::try_from(*value).unwrap_or_else(|_| {
                trouble.say("the integer does not fit 64 bits");
                0
            })),
            (Json::Text(name), _) => Self::Symbol(name.clone()),
            (_, Some(("add", value))) => Self::Add(Vec::read(value, trouble)),
            (_, Some(("mul", value))) => Self::Mul(Vec::read(value, trouble)),
            (_, Some(("min", value))) => Self::Min(Vec::read(value, trouble)),
            (_, Some(("max", value))) => Self::Max(Vec::read(value, trouble)),
            (_, Some(("floor_div", value))) => Self::FloorDiv(Box::new(FromJson::read(value, trouble))),
            (_, Some(("ceil_div", value))) => Self::CeilDiv(Box::new(FromJson::read(value, trouble))),
            (_, Some(("mod", value))) => Self::Mod(Box::new(FromJson::read(value, trouble))),
            _ => {
                trouble.say("must be an integer, the name of a symbol, or an object with one operator");
                Self::Const(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde::de::DeserializeOwned;

    use super::*;

    /// Every change of one value or key: what serde's derived code takes, this takes, and the same. But for lists in place of
    /// objects, which serde takes for the fields in their order.
    fn agree<T: FromJson + DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str) {
        let whole: serde_json::Value = serde_json::from_str(text).unwrap();
        let check = |value: &serde_json::Value| {
            let text = value.to_string();
            let theirs = serde_json::from_str::<T>(&text).ok();
            assert_eq!(T::from_json(&Json::parse(&text).unwrap()).ok(), theirs, "{text}");
            theirs.is_some()
        };
        assert!(check(&whole), "{text}");
        let mut pointers = vec![String::new()];
        let mut at = 0;
        while let Some(pointer) = pointers.get(at).cloned() {
            at += 1;
            match whole.pointer(&pointer).unwrap() {
                serde_json::Value::Object(map) => {
                    pointers.extend(map.keys().map(|key| format!("{pointer}/{key}")))
                }
                serde_json::Value::Array(list) => {
                    pointers.extend((0..list.len()).map(|at| format!("{pointer}/{at}")))
                }
                _ => {}
            }
        }
        for pointer in pointers {
            for other in [
                "null",
                "-1",
                "0",
                "1.5",
                "4294967296",
                "18446744073709551615",
                "\"read\"",
                "true",
                "[]",
                "{}",
                "[1]",
                "[1,2,3,4,5,6,7]",
                "{\"add\":[1]}",
                "{\"mod\":[1,2]}",
                "{\"clear\":{}}",
            ] {
                let mut changed = whole.clone();
                *changed.pointer_mut(&pointer).unwrap() = serde_json::from_str(other).unwrap();
                check(&changed);
            }
            if let Some(map) = whole.pointer(&pointer).unwrap().as_object() {
                for key in map.keys() {
                    let mut changed = whole.clone();
                    changed.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().remove(key);
                    check(&changed);
                }
                let mut changed = whole.clone();
                changed.pointer_mut(&pointer).unwrap()["another"] = 1.into();
                check(&changed);
            }
        }
    }

    #[test]
    fn types_are_read_as_serde_reads_them() {
        agree::<Schedule>(
            r#"{"version":1,"symbols":[{"name":"a","max":7,"min":1},{"name":"b","max":7}],
            "buffers":[{"id":0,"name":"w","kind":"weight","bytes":8,"parts":[{"shard":"s","tensor":"t","at":0,"bytes":8}]},
            {"id":1,"name":"s","kind":"state","bytes":8,"init":"zero"},{"id":2,"name":"o","kind":"output","bytes":4}],
            "pipelines":[{"shader":"x","entry":"main","bindings":["uniform","read","read_write"],"workgroup_size":[1,2,3]}],
            "entries":{"m":{"symbols":["a"],"constraints":[{"expr":{"add":["a",{"floor_div":["b",3]}]},"max":9}],
            "inputs":{"x":{"buffer":2,"dtype":"i32","shape":["a",1]}},"outputs":{"y":{"buffer":2,"dtype":"f32","shape":[]}},
            "commands":[{"dispatch":{"pipeline":0,"label":"l","bindings":[{"buffer":1,"offset":0,"bytes":4}],"workgroups":[1,"a",1]}},
            {"copy":{"src":0,"src_offset":0,"dst":1,"dst_offset":{"mul":[4,"a"]},"bytes":4}},{"clear":{"buffer":1,"offset":0,"bytes":8}}]}}}"#,
        );
        agree::<Manifest>(
            r#"{"format":1,"generator":"g","model":{"name":"m","decoder":{"vocab_size":1,"layers":2,"hidden_size":3,
            "max_context":4,"prefill_chunk":5},"vision":{"max_patches":1,"patch_values":2,"feature_size":3,"merge_size":4,
            "position_side":5,"max_side":6,"image_token":7,"vision_start":8,"vision_end":9}},"licence":"MIT","entries":["e"],
            "states":[{"name":"s","buffer":0,"kind":"kv_cache","dtype":"f32","shape":[1,2]}],"requirements":{
            "max_storage_buffers_per_stage":1,"max_storage_binding_bytes":2,"max_buffer_bytes":3,"max_workgroup_bytes":4,
            "max_invocations":5},"features":["f"],"memory":{"weight_bytes":1,"arena_bytes":2,"state_bytes":3,"io_bytes":4,
            "peak_bytes":10},"quantization":{"recipe":"keep","weights":[{"name":"w","shape":[1,2],"format":"f32",
            "converted":false}]},"variants":["v"],"weights_omitted":true,"files":[{"path":"p","bytes":1,"sha256":"x"}]}"#,
        );
    }
}
