//! Recording commands; consecutive dispatches share a compute pass.

use std::rc::Rc;

use wasm_bindgen::JsValue;

use super::sys::{GpuCommandEncoder, GpuComputePass};
use super::timer::Timer;
use super::{BindGroup, Buffer, Pipeline};
use crate::object::size;

/// The commands of one submission.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(super) encoder: GpuCommandEncoder,
    pass: Option<GpuComputePass>,
    timer: Option<Rc<Timer>>,
    /// The next dispatch is timed, under this number.
    timed: Option<u32>,
}

impl Commands {
    pub(super) fn new(encoder: GpuCommandEncoder, timer: Option<Rc<Timer>>) -> Self {
        Self { encoder, pass: None, timer, timed: None }
    }

    pub(crate) fn time_next(&mut self, index: u32) {
        self.timed = self.timer.as_ref().map(|_| index);
    }

    pub(crate) fn dispatch(&mut self, pipeline: &Pipeline, group: &BindGroup, [x, y, z]: [u32; 3]) {
        let mut descriptor = JsValue::UNDEFINED;
        let timed = self.timed.take().zip(self.timer.clone());
        if let Some((index, timer)) = &timed {
            self.end_pass();
            descriptor = timer.pass(*index);
        }
        let encoder = &self.encoder;
        let pass = self.pass.get_or_insert_with(|| encoder.begin_compute_pass(&descriptor));
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group.0);
        pass.dispatch(x, y, z);
        if timed.is_some() {
            self.end_pass();
        }
    }

    pub(crate) fn copy(&mut self, src: &Buffer, src_offset: u64, dst: &Buffer, dst_offset: u64, bytes: u64) {
        self.end_pass();
        self.encoder.copy(&src.0, size(src_offset), &dst.0, size(dst_offset), size(bytes));
    }

    pub(crate) fn clear(&mut self, buffer: &Buffer, offset: u64, bytes: u64) {
        self.end_pass();
        self.encoder.clear(&buffer.0, size(offset), size(bytes));
    }

    pub(super) fn finish(mut self) -> Result<JsValue, JsValue> {
        self.end_pass();
        self.encoder.finish()
    }

    fn end_pass(&mut self) {
        if let Some(pass) = self.pass.take() {
            pass.end();
        }
    }
}
