//! Kernels on the CPU: a JavaScript object that has them as WebAssembly (`CpuDevice` in `wasm.d.ts`). Everything is done when
//! a call returns.

use std::cell::{Cell, RefCell};

use js_sys::{Promise, Uint8Array};
use qwenc_runtime::engine::DeviceLimits;
use qwenc_runtime::format::{Pipeline as PipelineFacts, PipelineId};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::device::DeviceError;
use crate::object::{get, words};

#[wasm_bindgen]
extern "C" {
    #[derive(Clone, Debug)]
    type CpuDevice;

    #[wasm_bindgen(method, getter)]
    fn name(this: &CpuDevice) -> String;
    #[wasm_bindgen(method, getter, js_name = maxBytes)]
    fn max_bytes(this: &CpuDevice) -> f64;
    #[wasm_bindgen(method, catch, js_name = createBuffer)]
    fn create_buffer(this: &CpuDevice, bytes: f64) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch, js_name = destroyBuffer)]
    fn destroy_buffer(this: &CpuDevice, address: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn write(this: &CpuDevice, address: f64, data: &[u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn read(this: &CpuDevice, address: f64, bytes: f64) -> Result<Uint8Array, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn copy(this: &CpuDevice, from: f64, to: f64, bytes: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn clear(this: &CpuDevice, address: f64, bytes: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = hasPipeline)]
    fn has_pipeline(this: &CpuDevice, index: u32) -> Result<bool, JsValue>;
    #[wasm_bindgen(method, catch)]
    fn dispatch(
        this: &CpuDevice,
        index: u32,
        addresses: &[u32],
        lengths: &[u32],
        x: u32,
        y: u32,
        z: u32,
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    fn idle(this: &CpuDevice) -> Result<Promise, JsValue>;
}

/// The device. Its memory has 32-bit addresses.
#[derive(Debug)]
pub(crate) struct Cpu {
    device: CpuDevice,
    compiled: Cell<usize>,
}

/// A range of the device's memory, given back when it goes.
#[derive(Debug)]
pub(crate) struct Buffer {
    device: CpuDevice,
    address: u32,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.device.destroy_buffer(self.address.into());
    }
}

impl Buffer {
    fn at(&self, offset: u64) -> f64 {
        crate::object::size(u64::from(self.address) + offset)
    }
}

/// The index of a pipeline in the schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pipeline(u32);

/// Addresses and lengths, as a kernel takes them.
#[derive(Debug)]
pub(crate) struct BindGroup {
    addresses: Vec<u32>,
    lengths: Vec<u32>,
}

impl BindGroup {
    pub(crate) fn new<'a>(ranges: impl Iterator<Item = (&'a Buffer, u64, u64)>) -> Self {
        // Buffers lie below 4 GiB, and ranges within buffers.
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let (addresses, lengths) = ranges
            .map(|(buffer, offset, bytes)| (small(u64::from(buffer.address) + offset), small(bytes)))
            .unzip();
        Self { addresses, lengths }
    }
}

fn refused(error: &JsValue) -> DeviceError {
    DeviceError::Refused(words(error))
}

impl Cpu {
    pub(crate) fn new(device: JsValue) -> Self {
        Self { device: device.unchecked_into(), compiled: Cell::new(0) }
    }

    pub(crate) fn name(&self) -> String {
        self.device.name()
    }

    /// Those of WebGPU that kernels are made for; memory as the device says.
    pub(crate) fn limits(&self) -> DeviceLimits {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let bytes = self.device.max_bytes() as u64;
        DeviceLimits {
            max_storage_buffers_per_stage: 8,
            max_storage_binding_bytes: bytes,
            max_buffer_bytes: bytes,
            max_workgroup_bytes: 16 << 10,
            max_invocations: 256,
            max_workgroup_size: [256, 256, 64],
        }
    }

    pub(crate) fn compiled(&self) -> usize {
        self.compiled.get()
    }

    pub(crate) fn create_buffer(&self, name: &str, bytes: u64) -> Result<Buffer, DeviceError> {
        let full = || DeviceError::OutOfMemory(format!("buffer `{name}` of {bytes} bytes"));
        let length = u32::try_from(bytes).map_err(|_| full())?;
        let address = self.device.create_buffer(length.into()).map_err(|error| refused(&error))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let address = address as u32;
        if address == 0 || address.checked_add(length).is_none() {
            return Err(full());
        }
        Ok(Buffer { device: self.device.clone(), address })
    }

    pub(crate) fn create_pipeline(
        &self,
        PipelineId(index): PipelineId,
        facts: &PipelineFacts,
    ) -> Result<Pipeline, DeviceError> {
        if !self.device.has_pipeline(index).map_err(|error| refused(&error))? {
            return Err(DeviceError::Shader(format!("there is no kernel for {}", facts.shader)));
        }
        self.compiled.set(self.compiled.get() + 1);
        Ok(Pipeline(index))
    }

    pub(crate) fn write(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.device.write(buffer.at(offset), data).map_err(|error| refused(&error))
    }

    pub(crate) async fn read(&self, buffer: &Buffer, bytes: u64) -> Result<Vec<u8>, DeviceError> {
        // The worker hears messages, such as a wish to stop, only between its own tasks.
        if get(self.device.as_ref(), "idle").is_function() {
            let idle = self.device.idle().map_err(|error| refused(&error))?;
            JsFuture::from(idle).await.map_err(|error| refused(&error))?;
        }
        let bytes = self.device.read(buffer.at(0), crate::object::size(bytes));
        bytes.map(|bytes| bytes.to_vec()).map_err(|error| refused(&error))
    }

    pub(crate) fn record(&self) -> Commands {
        Commands { device: self.device.clone(), failed: RefCell::new(None) }
    }
}

/// Commands, which run as they are recorded.
#[derive(Debug)]
pub(crate) struct Commands {
    device: CpuDevice,
    failed: RefCell<Option<DeviceError>>,
}

impl Commands {
    fn note(&self, done: Result<(), JsValue>) {
        if let Err(error) = done {
            self.failed.borrow_mut().get_or_insert_with(|| refused(&error));
        }
    }

    pub(crate) fn dispatch(&self, Pipeline(index): Pipeline, group: &BindGroup, [x, y, z]: [u32; 3]) {
        self.note(self.device.dispatch(index, &group.addresses, &group.lengths, x, y, z));
    }

    pub(crate) fn copy(&self, src: &Buffer, src_offset: u64, dst: &Buffer, dst_offset: u64, bytes: u64) {
        self.note(self.device.copy(src.at(src_offset), dst.at(dst_offset), crate::object::size(bytes)));
    }

    pub(crate) fn clear(&self, buffer: &Buffer, offset: u64, bytes: u64) {
        self.note(self.device.clear(buffer.at(offset), crate::object::size(bytes)));
    }

    pub(crate) fn end(self) -> Result<(), DeviceError> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }
}
