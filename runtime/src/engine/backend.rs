//! What the engine needs of a GPU: the whole surface between the two.

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;

use crate::format::{Pipeline, PipelineId, Variant};

/// A GPU that can create objects, run recorded commands, and bring bytes back.
///
/// Everything that the engine passes in has been validated against [`Backend::limits`].
pub trait Backend: Debug {
    /// What can go wrong.
    type Error: Error + Send + Sync + 'static;
    /// A buffer.
    type Buffer: Debug;
    /// A compute pipeline with its bind group layout.
    type Pipeline: Debug;
    /// A pipeline that is being compiled. It goes on by itself, whether it is polled or not.
    type Compiling: Future<Output = Result<Self::Pipeline, Self::Error>> + 'static;
    /// Ranges of buffers, bound in order.
    type BindGroup: Debug;
    /// Records commands of one submission.
    type Recorder: Recorder<Self>;

    /// A name for people, for example the adapter's.
    fn name(&self) -> String;

    /// The device's limits.
    fn limits(&self) -> DeviceLimits;

    /// Whether the device has what a variant needs.
    fn takes(&self, variant: &Variant) -> bool;

    /// Whether shaders run on a CPU: then narrow variants, which have fewer invocations, are many times as fast.
    fn is_software(&self) -> bool;

    /// Seconds on a clock that never goes back.
    fn seconds(&self) -> f64;

    /// Creates a buffer filled with zeros.
    ///
    /// # Errors
    /// When the device is out of memory; a device that knows only later tells the next [`Backend::flush`].
    fn create_buffer(&self, name: &str, bytes: u64, role: BufferRole) -> Result<Self::Buffer, Self::Error>;

    /// Begins to compile pipeline `id` of the schedule from a WGSL module. It fails when the module is not valid or
    /// disagrees with the declared bindings.
    fn create_pipeline(&self, id: PipelineId, wgsl: &str, pipeline: &Pipeline) -> Self::Compiling;

    /// Binds ranges (buffer, first byte, bytes) for a pipeline.
    ///
    /// # Errors
    /// When the device rejects a range.
    fn create_bind_group(
        &self,
        name: &str,
        pipeline: &Self::Pipeline,
        ranges: &[(&Self::Buffer, u64, u64)],
    ) -> Result<Self::BindGroup, Self::Error>;

    /// Writes bytes (a multiple of 4) into a buffer, before anything that is submitted later.
    ///
    /// # Errors
    /// When the device rejects the write.
    fn write(&self, buffer: &Self::Buffer, offset: u64, data: &[u8]) -> Result<(), Self::Error>;

    /// Waits for pending writes, so that memory they are staged in can be used again, and for what the device has to say
    /// about everything that was created so far.
    ///
    /// # Errors
    /// When the device fails, or something could not be created.
    fn flush(&self) -> impl Future<Output = Result<(), Self::Error>>;

    /// Records commands and submits them; does not wait.
    ///
    /// # Errors
    /// When the device rejects a command.
    fn submit(&self, what: &str, record: impl FnOnce(&mut Self::Recorder)) -> Result<(), Self::Error>;

    /// Waits for what was submitted and brings back the first bytes of a buffer of role [`BufferRole::Staging`].
    fn read(&self, staging: &Self::Buffer, bytes: u64) -> impl Future<Output = Result<Vec<u8>, Self::Error>>;
}

/// Records commands in order; each sees the effects of those before.
pub trait Recorder<B: Backend + ?Sized> {
    /// Runs a pipeline.
    fn dispatch(&mut self, pipeline: &B::Pipeline, bind_group: &B::BindGroup, workgroups: [u32; 3]);
    /// Copies bytes from one buffer to another one.
    fn copy(&mut self, src: &B::Buffer, src_offset: u64, dst: &B::Buffer, dst_offset: u64, bytes: u64);
    /// Time stamps number `2 * index` and the one after it go around what is recorded next, where the back end has been made
    /// to take them.
    fn time_next(&mut self, _index: u32) {}
    /// Sets bytes to zero.
    fn clear(&mut self, buffer: &B::Buffer, offset: u64, bytes: u64);
}

/// What a buffer can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferRole {
    /// Bound as storage, source and destination of copies.
    Storage,
    /// Bound as uniform, written by the host.
    Uniform,
    /// Destination of copies, read by the host.
    Staging,
}

/// Limits of a device under WebGPU's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceLimits {
    /// Storage buffers bound in one dispatch.
    pub max_storage_buffers_per_stage: u32,
    /// Bytes of a storage binding.
    pub max_storage_binding_bytes: u64,
    /// Bytes of a buffer.
    pub max_buffer_bytes: u64,
    /// Bytes of workgroup memory.
    pub max_workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub max_invocations: u32,
    /// Invocations of a workgroup along x, y and z.
    pub max_workgroup_size: [u32; 3],
}
