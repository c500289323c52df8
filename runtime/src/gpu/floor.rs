//! What a device can do at best: the two numbers that bound how fast a bundle decodes.

use std::time::{Duration, Instant};

use super::{Gpu, GpuError};

/// Adds one to a word: each dispatch waits for the one before.
const STEP: &str = "\
@group(0) @binding(0) var<storage, read_write> word: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lid: u32) {
    word[lid] += 1u;
}
";
/// Reads everything; the sum is stored so that nothing is left out.
const READ: &str = "\
@group(0) @binding(0) var<storage, read_write> sums: array<u32>;
@group(0) @binding(1) var<storage, read> data: array<vec4<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    var sum = vec4<u32>();
    for (var i = id.x; i < arrayLength(&data); i += groups.x * 256u) {
        sum ^= data[i];
    }
    // Never so, but nobody knows.
    if ((sum.x ^ sum.y ^ sum.z ^ sum.w) == 0x9e3779b9u) {
        sums[0] = 1u;
    }
}
";
/// Dispatches of the shorter chain; the longer has four times as many.
const CHAIN: u32 = 500;
/// Bytes read by one dispatch: more than caches hold, no more than every device binds.
const BYTES: u64 = 128 << 20;
/// Dispatches of the shorter row of reads; the longer has four times as many.
const READS: u32 = 4;
/// Measurements of which the shortest counts.
const RUNS: u32 = 7;

/// What a device can do at best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Seconds of a dispatch that waits for the one before.
    pub dispatch_seconds: f64,
    /// Bytes read in a second, from one buffer of 128 MiB.
    pub bytes_per_second: f64,
}

impl Floor {
    /// Measures, in some tenths of a second on a GPU.
    ///
    /// # Errors
    /// [`GpuError`] when the device fails.
    pub fn measure(gpu: &Gpu) -> Result<Self, GpuError> {
        let words = buffer(gpu, 256)?;
        let step = Row::new(gpu, STEP, &[&words], 1)?;
        let dispatch_seconds = step.each(gpu, CHAIN)?;
        let data = buffer(gpu, BYTES)?;
        let read = Row::new(gpu, READ, &[&words, &data], 2048)?;
        let seconds = read.each(gpu, READS)?;
        #[expect(clippy::cast_precision_loss, reason = "exact")]
        let bytes_per_second = BYTES as f64 / seconds;
        Ok(Self { dispatch_seconds, bytes_per_second })
    }

    /// The least seconds of so many dependent dispatches that read so many bytes.
    #[must_use]
    pub fn seconds(&self, dispatches: u64, bytes: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rough bound")]
        let (dispatches, bytes) = (dispatches as f64, bytes as f64);
        dispatches * self.dispatch_seconds + bytes / self.bytes_per_second
    }
}

/// A kernel that is run over and over.
struct Row {
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    workgroups: u32,
}

impl Row {
    fn new(gpu: &Gpu, wgsl: &str, buffers: &[&wgpu::Buffer], workgroups: u32) -> Result<Self, GpuError> {
        let device = gpu.device();
        gpu.scoped("the floor's kernel", || {
            let source = wgpu::ShaderSource::Wgsl(wgsl.into());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let entries: Vec<_> = buffers
                .iter()
                .zip(0..)
                .map(|(buffer, binding)| wgpu::BindGroupEntry {
                    binding,
                    resource: buffer.as_entire_binding(),
                })
                .collect();
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &entries,
            });
            Self { pipeline, group, workgroups }
        })
    }

    /// Seconds of one dispatch in a row of them: what a row of four times `count` takes longer than one of `count`, so that
    /// submitting and waiting do not count.
    fn each(&self, gpu: &Gpu, count: u32) -> Result<f64, GpuError> {
        let longer = count.saturating_mul(4);
        let mut shortest = [Duration::MAX; 2];
        for _ in 0..RUNS {
            for (shortest, count) in shortest.iter_mut().zip([count, longer]) {
                *shortest = (*shortest).min(self.run(gpu, count)?);
            }
        }
        let [short, long] = shortest;
        Ok(long.saturating_sub(short).as_secs_f64() / f64::from(longer - count))
    }

    fn run(&self, gpu: &Gpu, count: u32) -> Result<Duration, GpuError> {
        gpu.wait("the floor")?;
        let start = Instant::now();
        gpu.scoped("the floor", || {
            let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &self.group, &[]);
            for _ in 0..count {
                pass.dispatch_workgroups(self.workgroups, 1, 1);
            }
            drop(pass);
            gpu.queue().submit([encoder.finish()]);
        })?;
        gpu.wait("the floor")?;
        Ok(start.elapsed())
    }
}

fn buffer(gpu: &Gpu, bytes: u64) -> Result<wgpu::Buffer, GpuError> {
    gpu.scoped("the floor's buffer", || {
        gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("floor"),
            size: bytes,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    })
}
