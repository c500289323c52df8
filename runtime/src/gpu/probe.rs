//! Running one kernel alone: what the tests of kernels use.
//!
//! The bindings are the bundle's: binding 0 is the uniform `Step`, then the inputs as read-only storage, then the
//! outputs as read-write storage. Around every buffer lies a poisoned guard, so that a kernel that reads past an end
//! computes NaN and one that writes past an end is reported.

use super::{Gpu, GpuError, GpuOptions};
use std::sync::OnceLock;

/// Symbols in the step uniform.
pub const STEP_SYMBOLS: usize = 16;
/// Bytes after the end of every storage buffer, poisoned, inside the bound range.
const GUARD_BYTES: usize = 256;
/// All bits set: a NaN as f32, -1 as i32.
const POISON: u8 = 0xFF;

/// A read-write buffer of a kernel: its size in bytes (a multiple of 4), and its content before the run; without one
/// it is poisoned with all bits set (NaN as f32).
pub type ProbeOutput<'a> = (usize, Option<&'a [u8]>);

/// Runs `entry` of the shader `wgsl` once over `workgroups` and returns the contents of `outputs` afterwards.
///
/// `step` holds the values of at most 16 symbols by slot. Sizes are in bytes and multiples of 4. A shader must take
/// its sizes from constants or from `step`, not from `arrayLength`, which would count the guards.
///
/// # Errors
/// [`GpuError::Validation`] when the shader or its use is not valid, [`GpuError::Probe`] for impossible arguments and
/// for a kernel that writes past the end of an output.
pub fn run_kernel(
    gpu: &Gpu,
    wgsl: &str,
    entry: &str,
    step: &[u32],
    inputs: &[&[u8]],
    outputs: &[ProbeOutput<'_>],
    workgroups: [u32; 3],
) -> Result<Vec<Vec<u8>>, GpuError> {
    check_arguments(step, inputs, outputs)?;
    let mut words = [0_u32; STEP_SYMBOLS];
    for (word, value) in words.iter_mut().zip(step) {
        *word = *value;
    }
    let uniform = gpu.scoped("probe: step uniform", || {
        filled_buffer(gpu, bytemuck::cast_slice(&words), wgpu::BufferUsages::UNIFORM)
    })?;
    let storage = gpu.scoped("probe: storage buffers", || {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let inputs = inputs.iter().map(|data| guarded(data.len(), Some(data)));
        let outputs = outputs.iter().map(|(bytes, initial)| guarded(*bytes, *initial));
        inputs.chain(outputs).map(|content| filled_buffer(gpu, &content, usage)).collect::<Vec<_>>()
    })?;
    let (pipeline, layout) = gpu.scoped("probe: pipeline", || pipeline(gpu, wgsl, entry, inputs, outputs))?;
    let staging: Vec<wgpu::Buffer> = gpu.scoped("probe: dispatch", || {
        let entries: Vec<_> = std::iter::once(&uniform)
            .chain(&storage)
            .zip(0_u32..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("probe"),
            layout: &layout,
            entries: &entries,
        });
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(workgroups[0], workgroups[1], workgroups[2]);
        }
        let staging = storage
            .iter()
            .skip(inputs.len())
            .map(|buffer| {
                let copy = gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: Some("probe staging"),
                    size: buffer.size(),
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                encoder.copy_buffer_to_buffer(buffer, 0, &copy, 0, buffer.size());
                copy
            })
            .collect();
        gpu.queue().submit([encoder.finish()]);
        staging
    })?;
    let mut results = Vec::with_capacity(outputs.len());
    for (index, (buffer, (bytes, _))) in staging.iter().zip(outputs).enumerate() {
        let mut content = gpu.read_staging(buffer, buffer.size(), "probe: read back")?;
        let guard = content.split_off(*bytes);
        if let Some(at) = guard.iter().position(|byte| *byte != POISON) {
            let message =
                format!("entry '{entry}' writes {at} bytes past the end of output {index} ({bytes} bytes)");
            return Err(GpuError::Probe { message });
        }
        results.push(content);
    }
    Ok(results)
}

fn check_arguments(step: &[u32], inputs: &[&[u8]], outputs: &[ProbeOutput<'_>]) -> Result<(), GpuError> {
    let fail = |message: String| Err(GpuError::Probe { message });
    if step.len() > STEP_SYMBOLS {
        return fail(format!("{} symbols, at most {STEP_SYMBOLS} fit the step uniform", step.len()));
    }
    if outputs.is_empty() {
        return fail("a kernel without output does nothing".to_owned());
    }
    for (index, size) in inputs.iter().map(|data| data.len()).enumerate() {
        if size % 4 != 0 {
            return fail(format!("input {index} has {size} bytes, which is not a multiple of 4"));
        }
    }
    for (index, (size, initial)) in outputs.iter().enumerate() {
        if size % 4 != 0 {
            return fail(format!("output {index} has {size} bytes, which is not a multiple of 4"));
        }
        if initial.is_some_and(|data| data.len() != *size) {
            return fail(format!("output {index} has {size} bytes, but its initial content has not"));
        }
    }
    Ok(())
}

/// `content` (or poison) followed by the poisoned guard, as many bytes as a `vec4` array needs.
fn guarded(bytes: usize, content: Option<&[u8]>) -> Vec<u8> {
    let size = (bytes + GUARD_BYTES).next_multiple_of(16);
    let mut data = Vec::with_capacity(size);
    if let Some(content) = content {
        data.extend_from_slice(content);
    }
    data.resize(size, POISON);
    data
}

fn filled_buffer(gpu: &Gpu, content: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("probe"),
        size: u64::try_from(content.len()).unwrap_or(u64::MAX),
        usage: usage | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue().write_buffer(&buffer, 0, content);
    buffer
}

fn pipeline(
    gpu: &Gpu,
    wgsl: &str,
    entry: &str,
    inputs: &[&[u8]],
    outputs: &[ProbeOutput<'_>],
) -> (wgpu::ComputePipeline, wgpu::BindGroupLayout) {
    let uniform = wgpu::BufferBindingType::Uniform;
    let read = inputs.iter().map(|_| wgpu::BufferBindingType::Storage { read_only: true });
    let write = outputs.iter().map(|_| wgpu::BufferBindingType::Storage { read_only: false });
    let entries: Vec<_> = std::iter::once(uniform)
        .chain(read)
        .chain(write)
        .zip(0_u32..)
        .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        })
        .collect();
    let device = gpu.device();
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("probe"),
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some("probe"),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("probe"),
        source: wgpu::ShaderSource::Wgsl(wgsl.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("probe"),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(entry),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    (pipeline, layout)
}

/// The two software adapters that every GPU test runs on, lavapipe first, opened once a process.
///
/// They keep their pipelines: SwiftShader compiles for seconds, and the bundles of a test's models share most kernels.
///
/// # Errors
/// [`GpuError::TestAdapters`] when one is missing: a test must then fail, not pass unseen.
pub fn test_gpus() -> Result<Vec<Gpu>, GpuError> {
    static GPUS: OnceLock<Result<Vec<Gpu>, GpuError>> = OnceLock::new();
    GPUS.get_or_init(|| ["llvmpipe", "SwiftShader"].into_iter().map(open_for_test).collect()).clone()
}

fn open_for_test(name: &str) -> Result<Gpu, GpuError> {
    Gpu::open(&GpuOptions::named(name)).map(Gpu::keeping_pipelines).map_err(|error| match error {
        GpuError::NoSuchAdapter { wanted, available } => {
            GpuError::TestAdapters { missing: wanted, found: available }
        }
        GpuError::NoAdapter => GpuError::TestAdapters { missing: name.to_owned(), found: Vec::new() },
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: &str = "
struct Step { s: array<vec4<u32>, 4> }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> b: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n = step.s[1].y;
    if (id.x < n) { b[id.x] = 2.0 * a[id.x] + b[id.x]; }
}
";

    fn bytes(values: &[f32]) -> &[u8] {
        bytemuck::cast_slice(values)
    }

    #[test]
    fn a_kernel_sees_step_inputs_and_initial_outputs() {
        for gpu in test_gpus().unwrap() {
            let a: Vec<f32> = (0_u8..67).map(f32::from).collect();
            let step = [0, 0, 0, 0, 0, 67];
            let out = run_kernel(
                &gpu,
                SCALE,
                "main",
                &step,
                &[bytes(&a)],
                &[(67 * 4, Some(bytes(&vec![1.0; 67])))],
                [2, 1, 1],
            )
            .unwrap();
            let got: &[f32] = bytemuck::cast_slice(&out[0]);
            assert!(got.iter().zip(&a).all(|(g, a)| *g == 2.0 * a + 1.0), "{}", gpu.adapter().name);
        }
    }

    #[test]
    fn outputs_start_as_nan() {
        for gpu in test_gpus().unwrap() {
            let out = run_kernel(&gpu, SCALE, "main", &[0; 6], &[bytes(&[1.0; 3])], &[(12, None)], [1, 1, 1])
                .unwrap();
            let got: &[f32] = bytemuck::cast_slice(&out[0]);
            assert!(got.iter().all(|v| v.is_nan()));
        }
    }

    #[test]
    fn a_write_past_the_end_is_reported() {
        // Without `+ b`, which would keep the guard's NaN a NaN.
        let overwrite = SCALE.replace("+ b[id.x]", "");
        for gpu in test_gpus().unwrap() {
            let step = [0, 0, 0, 0, 0, 4];
            let result =
                run_kernel(&gpu, &overwrite, "main", &step, &[bytes(&[1.0; 4])], &[(12, None)], [1, 1, 1]);
            assert!(matches!(result, Err(GpuError::Probe { .. })), "{result:?}");
        }
    }

    #[test]
    fn bad_shaders_and_bindings_are_errors_not_panics() {
        for gpu in test_gpus().unwrap() {
            let run = |wgsl: &str, entry: &str, inputs: &[&[u8]]| {
                run_kernel(&gpu, wgsl, entry, &[], inputs, &[(4, None)], [1, 1, 1])
            };
            assert!(matches!(run("fn main( {", "main", &[]), Err(GpuError::Validation { .. })));
            assert!(matches!(run(SCALE, "absent", &[&[0; 4]]), Err(GpuError::Validation { .. })));
            assert!(matches!(run(SCALE, "main", &[]), Err(GpuError::Validation { .. })));
            assert!(matches!(run(SCALE, "main", &[&[0; 3]]), Err(GpuError::Probe { .. })));
            assert!(run(SCALE, "main", &[&[0; 4]]).is_ok(), "the device survives the errors above");
        }
    }

    #[test]
    fn a_missing_adapter_names_the_ones_there_are() {
        let error = Gpu::open(&GpuOptions::named("no such adapter")).unwrap_err();
        assert!(error.to_string().contains("llvmpipe"), "{error}");
    }

    #[test]
    fn devices_have_default_limits_unless_more_is_asked() {
        for gpu in test_gpus().unwrap() {
            let limits = gpu.limits();
            assert_eq!(limits.max_storage_buffers_per_shader_stage, super::super::DEFAULT_STORAGE_BUFFERS);
            assert_eq!(limits.max_storage_buffer_binding_size, super::super::DEFAULT_STORAGE_BINDING_BYTES);
            assert_eq!(limits.max_buffer_size, super::super::DEFAULT_BUFFER_BYTES);
            assert_eq!(limits.max_compute_workgroup_storage_size, 16384);
            assert_eq!(limits.max_compute_invocations_per_workgroup, 256);
        }
    }
}
