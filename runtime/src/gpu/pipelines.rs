//! Pipelines that a device has compiled already, for processes that load many bundles of the same kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Gpu, GpuError};
use crate::engine::NativePipeline;
use crate::format::{BindingKind, Pipeline};

/// What a pipeline is made of: the module's text, its entry point and the kinds of its bindings. Nothing else goes in.
type Key = (String, String, Vec<BindingKind>);

/// A pipeline that is being compiled or is there. Whoever comes second waits for the first, and need not compile.
type Slot = Arc<Mutex<Option<NativePipeline>>>;

/// Pipelines of one device by what they are made of. They live as long as the device does.
#[derive(Clone, Debug, Default)]
pub(super) struct PipelineStore(Arc<Mutex<HashMap<Key, Slot>>>);

impl PipelineStore {
    /// The pipeline if it is there, else what `create` makes. A failure is not kept.
    pub(super) fn get_or_create(
        &self,
        wgsl: &str,
        pipeline: &Pipeline,
        create: impl FnOnce() -> Result<NativePipeline, GpuError>,
    ) -> Result<NativePipeline, GpuError> {
        let key = (wgsl.to_owned(), pipeline.entry.clone(), pipeline.bindings.clone());
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            slots.entry(key).or_default().clone()
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = slot.as_ref() {
            return Ok(there.clone());
        }
        let made = create()?;
        Ok(slot.insert(made).clone())
    }
}

impl Gpu {
    /// The pipeline out of the store, if this GPU keeps one; else what `create` makes.
    pub(crate) fn pipeline_of_store(
        &self,
        wgsl: &str,
        pipeline: &Pipeline,
        create: impl FnOnce() -> Result<NativePipeline, GpuError>,
    ) -> Result<NativePipeline, GpuError> {
        match &self.pipelines {
            Some(store) => store.get_or_create(wgsl, pipeline, create),
            None => create(),
        }
    }
}
