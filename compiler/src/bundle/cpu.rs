//! The bundle's kernels as WebAssembly, for browsers without WebGPU.

use std::collections::BTreeMap;

use qwenc_codegen_wgsl::cpu::{CpuError, Source, module};

use crate::schedule::Assembled;

/// The module with kernel `k<i>` for pipeline i of the schedule.
///
/// # Errors
/// [`CpuError`] when a shader has something that is not translated.
pub fn kernels(assembled: &Assembled) -> Result<Vec<u8>, CpuError> {
    let shaders: BTreeMap<&str, &str> =
        assembled.shaders.iter().map(|shader| (shader.path.as_str(), shader.source.as_str())).collect();
    let sources: Vec<Source<'_>> = assembled
        .schedule
        .pipelines
        .iter()
        .map(|pipeline| Source {
            name: &pipeline.shader,
            // Every pipeline's shader is among them; an empty text is refused by name.
            wgsl: match assembled.processor.get(&pipeline.shader) {
                Some(source) => source,
                None => shaders.get(pipeline.shader.as_str()).copied().unwrap_or_default(),
            },
            entry: &pipeline.entry,
        })
        .collect();
    module(&sources)
}
