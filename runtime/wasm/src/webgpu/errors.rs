//! What WebGPU says out of band: errors in scopes, errors outside of all scopes, and the loss of the device.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Function, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::sys::GpuDevice;
use crate::device::DeviceError;
use crate::object::{get, words};

/// Everything that a device has said so far. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Errors(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    device: GpuDevice,
    /// Why the device is gone.
    lost: Rc<RefCell<Option<String>>>,
    /// The first error that no scope caught.
    uncaptured: Rc<RefCell<Option<String>>>,
    /// Scopes that have not answered yet: what was done, out of memory, validation.
    scopes: RefCell<Vec<(String, Promise, Promise)>>,
    on_uncaptured: Closure<dyn FnMut(JsValue)>,
}

impl Errors {
    pub(super) fn listen(device: &GpuDevice) -> Self {
        let lost = Rc::new(RefCell::new(None));
        let uncaptured = Rc::new(RefCell::new(None));
        let sink = lost.clone();
        // It outlives this value: the promise may be resolved at any time, or never.
        let on_lost = Closure::once_into_js(move |info: JsValue| {
            sink.borrow_mut().get_or_insert_with(|| words(&info));
        });
        if let (Some(then), Some(on_lost)) =
            (function(device.lost().as_ref(), "then"), on_lost.dyn_ref::<Function>())
        {
            let _ = then.call1(device.lost().as_ref(), on_lost);
        }
        let sink = uncaptured.clone();
        let on_uncaptured = Closure::new(move |event: JsValue| {
            sink.borrow_mut().get_or_insert_with(|| words(&get(&event, "error")));
        });
        listener(device, "addEventListener", &on_uncaptured);
        let scopes = RefCell::new(Vec::new());
        Self(Rc::new(Shared { device: device.clone(), lost, uncaptured, scopes, on_uncaptured }))
    }

    /// Runs `work` in error scopes, whose answers [`Errors::settle`] waits for.
    pub(super) fn scoped<T>(
        &self,
        device: &GpuDevice,
        what: &str,
        work: impl FnOnce() -> Result<T, JsValue>,
    ) -> Result<T, DeviceError> {
        self.check()?;
        let refused =
            |error: JsValue| self.or_lost(DeviceError::Refused(format!("{what}: {}", words(&error))));
        device.push_error_scope("out-of-memory").map_err(refused)?;
        device.push_error_scope("validation").map_err(refused)?;
        let done = work();
        let validation = device.pop_error_scope().map_err(refused)?;
        let memory = device.pop_error_scope().map_err(refused)?;
        self.0.scopes.borrow_mut().push((what.to_owned(), memory, validation));
        // An allocation that fails at once throws a RangeError.
        done.map_err(|error| match get(&error, "name").as_string().as_deref() {
            Some("RangeError") => DeviceError::OutOfMemory(what.to_owned()),
            _ => refused(error),
        })
    }

    /// Waits for the answers of all scopes so far.
    pub(super) async fn settle(&self) -> Result<(), DeviceError> {
        let scopes = std::mem::take(&mut *self.0.scopes.borrow_mut());
        let mut first = None;
        for (what, memory, validation) in scopes {
            let memory = JsFuture::from(memory).await;
            let validation = JsFuture::from(validation).await;
            let said = |answer: Result<JsValue, JsValue>| match answer {
                Ok(error) if error.is_null() || error.is_undefined() => None,
                Ok(error) | Err(error) => Some(words(&error)),
            };
            // Running out of memory leaves an invalid object behind, whose use is then invalid: the cause first.
            let error = match (said(memory), said(validation)) {
                (Some(words), _) => DeviceError::OutOfMemory(format!("{what}: {words}")),
                (None, Some(words)) => DeviceError::Refused(format!("{what}: {words}")),
                (None, None) => continue,
            };
            first.get_or_insert(error);
        }
        match first {
            Some(error) => Err(self.or_lost(error)),
            None => self.check(),
        }
    }

    /// What was said since the last call outside of scopes.
    pub(super) fn check(&self) -> Result<(), DeviceError> {
        if let Some(reason) = &*self.0.lost.borrow() {
            return Err(DeviceError::Lost(reason.clone()));
        }
        match self.0.uncaptured.borrow_mut().take() {
            Some(message) => Err(DeviceError::Refused(message)),
            None => Ok(()),
        }
    }

    /// The error, or the loss of the device behind it.
    pub(super) fn or_lost(&self, error: DeviceError) -> DeviceError {
        match &*self.0.lost.borrow() {
            Some(reason) => DeviceError::Lost(reason.clone()),
            None => error,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        listener(&self.device, "removeEventListener", &self.on_uncaptured);
    }
}

fn function(object: &JsValue, name: &str) -> Option<Function> {
    Reflect::get(object, &name.into()).ok()?.dyn_into().ok()
}

/// Calls `addEventListener` or `removeEventListener`, where the device has them.
fn listener(device: &GpuDevice, method: &str, closure: &Closure<dyn FnMut(JsValue)>) {
    if let Some(method) = function(device.as_ref(), method) {
        let _ = method.call2(device.as_ref(), &"uncapturederror".into(), closure.as_ref());
    }
}
