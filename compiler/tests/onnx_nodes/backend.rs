//! A GPU that compiles every shader once. The tests have few kernels and many graphs, and drivers that run without a
//! GPU spend most of a test compiling.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use qwenc_runtime::engine::{Backend, BufferRole, DeviceLimits, Recorder};
use qwenc_runtime::format::Pipeline;
use qwenc_runtime::gpu::Gpu;

type NativeBuffer = <Gpu as Backend>::Buffer;
type NativePipeline = <Gpu as Backend>::Pipeline;
type NativeBindGroup = <Gpu as Backend>::BindGroup;
type NativeError = <Gpu as Backend>::Error;

/// By adapter, text and bindings.
type Pipelines = Mutex<HashMap<(String, String, String), Arc<NativePipeline>>>;

static PIPELINES: LazyLock<Pipelines> = LazyLock::new(Mutex::default);

/// A GPU whose pipelines live as long as the process.
#[derive(Debug)]
pub struct Shared {
    gpu: Gpu,
}

impl Shared {
    pub fn new(gpu: Gpu) -> Self {
        Self { gpu }
    }
}

/// Commands, to be recorded for the real GPU when all are there.
#[derive(Debug, Default)]
pub struct Commands(Vec<Command>);

#[derive(Debug)]
enum Command {
    Dispatch(Arc<NativePipeline>, NativeBindGroup, [u32; 3]),
    Copy(NativeBuffer, u64, NativeBuffer, u64, u64),
    Clear(NativeBuffer, u64, u64),
}

impl Recorder<Shared> for Commands {
    fn dispatch(
        &mut self,
        pipeline: &Arc<NativePipeline>,
        bind_group: &NativeBindGroup,
        workgroups: [u32; 3],
    ) {
        self.0.push(Command::Dispatch(pipeline.clone(), bind_group.clone(), workgroups));
    }

    fn copy(&mut self, src: &NativeBuffer, src_offset: u64, dst: &NativeBuffer, dst_offset: u64, bytes: u64) {
        self.0.push(Command::Copy(src.clone(), src_offset, dst.clone(), dst_offset, bytes));
    }

    fn clear(&mut self, buffer: &NativeBuffer, offset: u64, bytes: u64) {
        self.0.push(Command::Clear(buffer.clone(), offset, bytes));
    }
}

impl Backend for Shared {
    type Error = NativeError;
    type Buffer = NativeBuffer;
    type Pipeline = Arc<NativePipeline>;
    type BindGroup = NativeBindGroup;
    type Recorder = Commands;

    fn name(&self) -> String {
        self.gpu.name()
    }

    fn limits(&self) -> DeviceLimits {
        Backend::limits(&self.gpu)
    }

    fn create_buffer(&self, name: &str, bytes: u64, role: BufferRole) -> Result<NativeBuffer, NativeError> {
        self.gpu.create_buffer(name, bytes, role)
    }

    fn create_pipeline(&self, wgsl: &str, pipeline: &Pipeline) -> Result<Arc<NativePipeline>, NativeError> {
        let key = (self.name(), wgsl.to_owned(), format!("{:?} {}", pipeline.bindings, pipeline.entry));
        if let Some(known) = PIPELINES.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let made = Arc::new(self.gpu.create_pipeline(wgsl, pipeline)?);
        PIPELINES.lock().unwrap_or_else(PoisonError::into_inner).insert(key, made.clone());
        Ok(made)
    }

    fn create_bind_group(
        &self,
        name: &str,
        pipeline: &Arc<NativePipeline>,
        ranges: &[(&NativeBuffer, u64, u64)],
    ) -> Result<NativeBindGroup, NativeError> {
        self.gpu.create_bind_group(name, pipeline, ranges)
    }

    fn write(&self, buffer: &NativeBuffer, offset: u64, data: &[u8]) -> Result<(), NativeError> {
        self.gpu.write(buffer, offset, data)
    }

    fn flush(&self) -> Result<(), NativeError> {
        self.gpu.flush()
    }

    fn submit(&self, what: &str, record: impl FnOnce(&mut Commands)) -> Result<(), NativeError> {
        let mut commands = Commands::default();
        record(&mut commands);
        self.gpu.submit(what, |recorder| {
            for command in &commands.0 {
                match command {
                    Command::Dispatch(pipeline, group, workgroups) => {
                        recorder.dispatch(pipeline, group, *workgroups);
                    }
                    Command::Copy(src, from, dst, to, bytes) => recorder.copy(src, *from, dst, *to, *bytes),
                    Command::Clear(buffer, offset, bytes) => recorder.clear(buffer, *offset, *bytes),
                }
            }
        })
    }

    fn read(&self, staging: &NativeBuffer, bytes: u64) -> impl Future<Output = Result<Vec<u8>, NativeError>> {
        self.gpu.read(staging, bytes)
    }
}
