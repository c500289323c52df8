//! The part of WebGPU's interface that the engine calls. By structure, not by class: node has no global classes.

use js_sys::{Array, Object, Promise, Uint8Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// `GPUDevice`.
    #[derive(Clone, Debug)]
    pub(super) type GpuDevice;

    #[wasm_bindgen(method, getter)]
    pub(super) fn queue(this: &GpuDevice) -> GpuQueue;
    #[wasm_bindgen(method, getter)]
    pub(super) fn limits(this: &GpuDevice) -> JsValue;
    #[wasm_bindgen(method, getter)]
    pub(super) fn features(this: &GpuDevice) -> GpuFeatures;
    #[wasm_bindgen(method, getter)]
    pub(super) fn lost(this: &GpuDevice) -> Promise;
    #[wasm_bindgen(method, catch, js_name = createBuffer)]
    pub(super) fn create_buffer(this: &GpuDevice, descriptor: &Object) -> Result<GpuBuffer, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createShaderModule)]
    pub(super) fn create_shader_module(this: &GpuDevice, descriptor: &Object) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createBindGroupLayout)]
    pub(super) fn create_bind_group_layout(this: &GpuDevice, descriptor: &Object)
    -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createPipelineLayout)]
    pub(super) fn create_pipeline_layout(this: &GpuDevice, descriptor: &Object) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createComputePipelineAsync)]
    pub(super) fn create_compute_pipeline(this: &GpuDevice, descriptor: &Object) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createBindGroup)]
    pub(super) fn create_bind_group(this: &GpuDevice, descriptor: &Object) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createCommandEncoder)]
    pub(super) fn create_command_encoder(this: &GpuDevice) -> Result<GpuCommandEncoder, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createQuerySet)]
    pub(super) fn create_query_set(this: &GpuDevice, descriptor: &Object) -> Result<GpuQuerySet, JsValue>;
    #[wasm_bindgen(method, catch, js_name = pushErrorScope)]
    pub(super) fn push_error_scope(this: &GpuDevice, filter: &str) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = popErrorScope)]
    pub(super) fn pop_error_scope(this: &GpuDevice) -> Result<Promise, JsValue>;

    /// `GPUSupportedFeatures`: a set of strings.
    pub(super) type GpuFeatures;

    #[wasm_bindgen(method)]
    pub(super) fn has(this: &GpuFeatures, name: &str) -> bool;

    /// `GPUQueue`.
    #[derive(Clone, Debug)]
    pub(super) type GpuQueue;

    #[wasm_bindgen(method, catch, js_name = writeBuffer)]
    pub(super) fn write_buffer(
        this: &GpuQueue,
        buffer: &GpuBuffer,
        offset: f64,
        data: &[u8],
    ) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(super) fn submit(this: &GpuQueue, commands: &Array) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch, js_name = onSubmittedWorkDone)]
    pub(super) fn on_submitted_work_done(this: &GpuQueue) -> Result<Promise, JsValue>;

    /// `GPUBuffer`.
    #[derive(Debug)]
    pub(super) type GpuBuffer;

    #[wasm_bindgen(method, catch, js_name = mapAsync)]
    pub(super) fn map_async(this: &GpuBuffer, mode: u32, offset: f64, size: f64) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getMappedRange)]
    pub(super) fn mapped_range(this: &GpuBuffer, offset: f64, size: f64) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    pub(super) fn unmap(this: &GpuBuffer);
    #[wasm_bindgen(method)]
    pub(super) fn destroy(this: &GpuBuffer);

    /// `GPUCommandEncoder`.
    #[derive(Debug)]
    pub(super) type GpuCommandEncoder;

    #[wasm_bindgen(method, js_name = beginComputePass)]
    pub(super) fn begin_compute_pass(this: &GpuCommandEncoder, descriptor: &JsValue) -> GpuComputePass;
    #[wasm_bindgen(method, js_name = copyBufferToBuffer)]
    pub(super) fn copy(
        this: &GpuCommandEncoder,
        src: &GpuBuffer,
        src_offset: f64,
        dst: &GpuBuffer,
        dst_offset: f64,
        bytes: f64,
    );
    #[wasm_bindgen(method, js_name = clearBuffer)]
    pub(super) fn clear(this: &GpuCommandEncoder, buffer: &GpuBuffer, offset: f64, bytes: f64);
    #[wasm_bindgen(method, js_name = resolveQuerySet)]
    pub(super) fn resolve_query_set(
        this: &GpuCommandEncoder,
        set: &GpuQuerySet,
        first: u32,
        count: u32,
        destination: &GpuBuffer,
        offset: f64,
    );
    #[wasm_bindgen(method, catch)]
    pub(super) fn finish(this: &GpuCommandEncoder) -> Result<JsValue, JsValue>;

    /// `GPUComputePassEncoder`.
    #[derive(Debug)]
    pub(super) type GpuComputePass;

    #[wasm_bindgen(method, js_name = setPipeline)]
    pub(super) fn set_pipeline(this: &GpuComputePass, pipeline: &JsValue);
    #[wasm_bindgen(method, js_name = setBindGroup)]
    pub(super) fn set_bind_group(this: &GpuComputePass, index: u32, group: &JsValue);
    #[wasm_bindgen(method, js_name = dispatchWorkgroups)]
    pub(super) fn dispatch(this: &GpuComputePass, x: u32, y: u32, z: u32);
    #[wasm_bindgen(method)]
    pub(super) fn end(this: &GpuComputePass);

    /// `GPUQuerySet`.
    #[derive(Debug)]
    pub(super) type GpuQuerySet;

    #[wasm_bindgen(method, js_name = destroy)]
    pub(super) fn destroy_queries(this: &GpuQuerySet);
}

/// The bytes of a mapped range.
pub(super) fn bytes_of(range: &JsValue) -> Vec<u8> {
    Uint8Array::new(range).to_vec()
}
