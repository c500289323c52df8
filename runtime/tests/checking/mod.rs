//! A GPU that computes nothing and checks everything that it is told to do: what a bundle could do to a real one.
//!
//! Shared by tests and by the fuzz target for bundles.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by test binaries and a fuzz target, which use parts of it"
)]

use std::cell::RefCell;
use std::future::{Ready, ready};
use std::rc::Rc;

use qwenc_runtime::bundle::Bundle;
use qwenc_runtime::engine::{Backend, BufferRole, DeviceLimits, Engine, LoadOptions, Recorder};
use qwenc_runtime::format::{BindingKind, Entry, Pipeline, PipelineId, Schedule, Variant};

/// Corners of the symbols' ranges that are replayed at most, for each entry point.
const MAX_CORNERS: usize = 64;

/// A buffer without content.
#[derive(Debug)]
pub struct Buffer {
    bytes: u64,
    role: BufferRole,
}

/// The device: counts what is allocated.
#[derive(Debug, Default, Clone)]
pub struct Checking {
    allocated: Rc<RefCell<u64>>,
    /// How often someone looked at its clock.
    looks: Rc<RefCell<u32>>,
}

/// Ranges that were checked when they were bound.
#[derive(Debug)]
pub struct BindGroup;

/// Checks commands.
#[derive(Debug)]
pub struct Commands;

/// Never made: a fault of this device is a panic.
#[derive(Debug)]
pub struct Never;

impl std::fmt::Display for Never {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("never")
    }
}

impl std::error::Error for Never {}

fn inside(buffer: &Buffer, offset: u64, bytes: u64) {
    let end = offset.checked_add(bytes);
    assert!(
        end.is_some_and(|end| end <= buffer.bytes),
        "{offset}+{bytes} of a buffer of {} bytes",
        buffer.bytes
    );
}

fn words(value: u64) {
    assert!(value.is_multiple_of(4), "{value} is no multiple of 4");
}

impl Backend for Checking {
    type Error = Never;
    type Buffer = Buffer;
    type Pipeline = Pipeline;
    type Compiling = Ready<Result<Pipeline, Never>>;
    type BindGroup = BindGroup;
    type Recorder = Commands;

    fn name(&self) -> String {
        "checking".to_owned()
    }

    fn takes(&self, variant: &Variant) -> bool {
        variant.needs.is_empty()
    }

    fn is_software(&self) -> bool {
        false
    }

    /// Every look at the clock takes a millisecond.
    fn seconds(&self) -> f64 {
        *self.looks.borrow_mut() += 1;
        f64::from(*self.looks.borrow()) / 1000.0
    }

    /// What WebGPU guarantees everywhere, but for the sizes of buffers.
    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            max_storage_buffers_per_stage: 8,
            max_storage_binding_bytes: 1 << 40,
            max_buffer_bytes: 1 << 40,
            max_workgroup_bytes: 16 << 10,
            max_invocations: 256,
            max_workgroup_size: [256, 256, 64],
        }
    }

    fn create_buffer(&self, _name: &str, bytes: u64, role: BufferRole) -> Result<Buffer, Never> {
        assert!(bytes > 0, "an empty buffer");
        words(bytes);
        *self.allocated.borrow_mut() += bytes;
        Ok(Buffer { bytes, role })
    }

    fn create_pipeline(&self, _id: PipelineId, _wgsl: &str, pipeline: &Pipeline) -> Self::Compiling {
        let limits = self.limits();
        assert!(pipeline.workgroup_size.iter().product::<u32>() <= limits.max_invocations);
        assert!(
            pipeline
                .workgroup_size
                .iter()
                .zip(limits.max_workgroup_size)
                .all(|(size, max)| (1..=max).contains(size))
        );
        ready(Ok(pipeline.clone()))
    }

    fn create_bind_group(
        &self,
        _name: &str,
        pipeline: &Pipeline,
        ranges: &[(&Buffer, u64, u64)],
    ) -> Result<BindGroup, Never> {
        assert_eq!(pipeline.bindings.len(), ranges.len());
        for (index, (buffer, offset, bytes)) in ranges.iter().enumerate() {
            inside(buffer, *offset, *bytes);
            assert!(*bytes > 0 && offset.is_multiple_of(256), "binding {index} at {offset}, {bytes} bytes");
            assert_eq!(buffer.role == BufferRole::Uniform, index == 0, "binding {index}");
        }
        // What one dispatch writes, it must not read or write through another binding.
        let writes = |at: usize| pipeline.bindings[at] == BindingKind::ReadWrite;
        for (index, (buffer, offset, bytes)) in ranges.iter().enumerate() {
            for (at, (other, from, count)) in ranges.iter().enumerate().skip(index + 1) {
                if std::ptr::eq(*other, *buffer) && (writes(index) || writes(at)) {
                    assert!(
                        writes(index) && writes(at),
                        "bindings {index} and {at} read and write one buffer"
                    );
                    assert!(offset + bytes <= *from || from + count <= *offset, "{index} and {at} overlap");
                }
            }
        }
        Ok(BindGroup)
    }

    fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<(), Never> {
        words(offset);
        words(data.len() as u64);
        inside(buffer, offset, data.len() as u64);
        Ok(())
    }

    async fn flush(&self) -> Result<(), Never> {
        Ok(())
    }

    fn submit(&self, _what: &str, record: impl FnOnce(&mut Commands)) -> Result<(), Never> {
        record(&mut Commands);
        Ok(())
    }

    async fn read(&self, staging: &Buffer, bytes: u64) -> Result<Vec<u8>, Never> {
        assert_eq!(staging.role, BufferRole::Staging);
        inside(staging, 0, bytes);
        Ok(Vec::new())
    }
}

impl Recorder<Checking> for Commands {
    fn dispatch(&mut self, _pipeline: &Pipeline, _group: &BindGroup, workgroups: [u32; 3]) {
        assert!(workgroups.iter().all(|count| (1..=65_535).contains(count)), "{workgroups:?} workgroups");
    }

    fn copy(&mut self, src: &Buffer, src_offset: u64, dst: &Buffer, dst_offset: u64, bytes: u64) {
        assert!(!std::ptr::eq(src, dst), "a copy within a buffer");
        [src_offset, dst_offset, bytes].into_iter().for_each(words);
        inside(src, src_offset, bytes);
        inside(dst, dst_offset, bytes);
    }

    fn clear(&mut self, buffer: &Buffer, offset: u64, bytes: u64) {
        [offset, bytes].into_iter().for_each(words);
        inside(buffer, offset, bytes);
    }
}

/// Values of an entry point's symbols: every choice of their bounds, up to a number of them.
fn corners(schedule: &Schedule, entry: &Entry) -> Vec<Vec<(String, u32)>> {
    let mut all: Vec<Vec<(String, u32)>> = vec![Vec::new()];
    for name in &entry.symbols {
        let Some(symbol) = schedule.symbols.iter().find(|symbol| symbol.name == *name) else { continue };
        let mut next = Vec::new();
        for value in [symbol.min, symbol.max, symbol.min.midpoint(symbol.max)] {
            for corner in &all {
                let mut corner = corner.clone();
                corner.push((name.clone(), value));
                next.push(corner);
            }
        }
        next.truncate(MAX_CORNERS);
        all = next;
    }
    all
}

/// What a future of this device gives: it is never busy.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a device that is never busy lets wait"),
    }
}

/// Loads a bundle, tunes it and replays every entry point at the corners of its symbols. Errors are fine; what is done must be
/// within the device's rules and within the memory that the manifest declares.
pub fn replay_corners(bundle: &Bundle) {
    let device = Checking::default();
    let options = LoadOptions { max_gpu_bytes: 1 << 30, ..LoadOptions::default() };
    let Ok(mut engine) = Engine::load_with(bundle, device.clone(), &options, &mut |_| ()) else { return };
    assert!(*device.allocated.borrow() <= engine.memory().peak_bytes, "more memory than declared");
    let entries: Vec<(String, Entry)> = bundle.schedule().entries.clone().into_iter().collect();
    for (name, entry) in entries {
        for corner in corners(bundle.schedule(), &entry) {
            let symbols: Vec<(&str, u32)> =
                corner.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            if engine.replay(&name, &symbols).is_err() {
                continue;
            }
            for output in entry.outputs.keys() {
                finish(engine.read_output_async(&name, output)).ok();
            }
        }
    }
    finish(engine.tune_async(&|path| bundle.shader(path).ok(), 1.0)).ok();
}
