//! A model that answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Uint8Array};
use qwenc_golden::{GoldenFile, VerifyOptions, verify_async};
use qwenc_runtime::bundle::sha256_hex;
use qwenc_runtime::chat::{Clock, FinishReason, Prompt, PromptImage, Turns, Verdict};
use qwenc_runtime::engine::Backend;
use qwenc_runtime::format::{Command, Manifest};
use qwenc_runtime::image::{Preprocessor, Rgb};
use qwenc_runtime::session::Session;
use qwenc_runtime::tuning::Tuning;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::device::Device;
use crate::error::{Code, Failure};
use crate::object::{get, number, set};
use crate::profile::profile;
use crate::{options, report};

/// The golden run in a bundle.
const GOLDEN: &str = "golden.safetensors";

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    pub(crate) fn performance_now() -> f64;
}

/// What the runtime asks of its host, once.
pub(crate) fn install() {
    Clock { monotonic: || performance_now() / 1000.0 }.install();
}

/// A model on a device.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Model {
    inner: Rc<Inner>,
}

/// What calls share that outlive the call that started them.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Not there while a call has it.
    turns: RefCell<Option<Turns<Device>>>,
    preprocessor: Option<Preprocessor>,
    manifest: Manifest,
    tuning: Tuning,
    closed: Cell<bool>,
}

impl Inner {
    pub(crate) fn new(turns: Turns<Device>, preprocessor: Option<Preprocessor>, tuning: Tuning) -> Self {
        let manifest = turns.session().engine().manifest().clone();
        let turns = RefCell::new(Some(turns));
        Self { turns, preprocessor, manifest, tuning, closed: Cell::new(false) }
    }

    fn take(&self) -> Result<Turns<Device>, Failure> {
        if self.closed.get() {
            return Err(closed());
        }
        self.turns.borrow_mut().take().ok_or_else(busy)
    }

    /// Gives it back, unless the model is gone meanwhile.
    fn give_back(&self, turns: Turns<Device>) {
        if !self.closed.get() {
            *self.turns.borrow_mut() = Some(turns);
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Turns<Device>) -> Result<T, Failure>) -> Result<T, Failure> {
        match self.turns.borrow_mut().as_mut() {
            Some(turns) => work(turns),
            None => Err(busy()),
        }
    }

    /// The prompt of a request.
    fn prompt(&self, ids: &[u32], stable: usize, images: &Array) -> Result<Prompt, Failure> {
        let images = images.iter().map(|image| self.image(&image)).collect::<Result<Vec<_>, _>>()?;
        Ok(Prompt::new(ids, stable, &images, self.manifest.model.vision.as_ref())?)
    }

    fn image(&self, image: &JsValue) -> Result<PromptImage, Failure> {
        let preprocessor = self.preprocessor.as_ref().ok_or_else(|| {
            Failure::invalid("the model takes no images: it was compiled without a vision encoder")
        })?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let side = |name: &str| number(image, name) as u32;
        let (width, height) = (side("width"), side("height"));
        // Before anything is copied: how many bytes that must be.
        let bytes = |name: &str, channels: u64| -> Result<Option<Vec<u8>>, Failure> {
            let value = get(image, name);
            if value.is_undefined() || value.is_null() {
                return Ok(None);
            }
            let array = Uint8Array::new(&value);
            if u64::from(array.length()) != u64::from(width) * u64::from(height) * channels {
                let (found, wanted) = (array.length(), "width and height say otherwise");
                return Err(Failure::invalid(format!("an image has {found} bytes of `{name}`; {wanted}")));
            }
            Ok(Some(array.to_vec()))
        };
        let rgb = match bytes("rgba", 4)? {
            Some(bytes) => Rgb::from_rgba(width, height, &bytes)?,
            None => {
                let bytes = bytes("rgb", 3)?;
                Rgb::new(width, height, bytes.ok_or_else(|| Failure::invalid("an image has no pixels"))?)?
            }
        };
        let patches = preprocessor.prepare(&rgb)?;
        Ok(PromptImage::new(patches.grid, patches.values))
    }
}

fn busy() -> Failure {
    Failure::invalid("the model is busy with another call; wait for that, or abort it")
}

fn closed() -> Failure {
    Failure::new(Code::Closed, "the model was closed")
}

impl Model {
    pub(crate) fn new(inner: Inner) -> Self {
        Self { inner: Rc::new(inner) }
    }

    /// Runs an asynchronous call with the turns.
    fn call<F>(&self, work: impl FnOnce(Rc<Inner>, Turns<Device>) -> F + 'static) -> Promise
    where
        F: Future<Output = (Turns<Device>, Result<JsValue, Failure>)> + 'static,
    {
        let inner = self.inner.clone();
        future_to_promise(async move {
            let turns = inner.take()?;
            let (turns, outcome) = work(inner.clone(), turns).await;
            inner.give_back(turns);
            if inner.closed.get() {
                return Err(closed().into());
            }
            Ok(outcome?)
        })
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.inner.closed.set(true);
        // Buffers go now, not when some promise is collected; a running call gives them up when it ends.
        if let Ok(mut turns) = self.inner.turns.try_borrow_mut() {
            *turns = None;
        }
    }
}

#[wasm_bindgen]
impl Model {
    /// What it is, and what it takes.
    ///
    /// # Errors
    /// While another call runs.
    pub fn info(&self) -> Result<Object, JsValue> {
        let info = self.inner.with(|turns| {
            let engine = turns.session().engine();
            let info = report::facts(engine.manifest(), &engine.memory());
            let entry = |name: &str| engine.schedule().entries.get(name);
            let commands = [entry("decode"), entry("sample")].into_iter().flatten().flat_map(|e| &e.commands);
            let dispatches = commands.filter(|command| matches!(command, Command::Dispatch(_))).count();
            set(&info, "device", &engine.backend().name().into());
            set(&info, "dispatchesPerToken", &dispatches.into());
            set(&info, "pipelines", &engine.schedule().pipelines.len().into());
            let can_profile = engine.backend().gpu().is_some_and(|gpu| gpu.has_feature("timestamp-query"));
            set(&info, "canProfile", &can_profile.into());
            Ok(info)
        });
        Ok(info?)
    }

    /// The variants that were found the fastest while it was loaded, a line each; empty when none were tried.
    #[must_use]
    pub fn tuning(&self) -> String {
        self.inner.tuning.to_lines()
    }

    /// Generates an answer to a prompt, whose first `stable` tokens the next turn's will have too.
    pub fn generate(
        &self,
        ids: Vec<u32>,
        stable: usize,
        images: Array,
        request: JsValue,
        on_step: Function,
        signal: JsValue,
    ) -> Promise {
        self.call(move |inner, mut turns| async move {
            let request = async {
                let prompt = inner.prompt(&ids, stable, &images)?;
                drop((ids, images));
                let options = options::read(&request);
                options.sampling.check().map_err(|error| Failure::invalid(error.to_string()))?;
                let mut thrown = None;
                let turn = turns
                    .answer_async(&prompt, &options, &mut |step| {
                        let stopped = match on_step.call1(&JsValue::NULL, &report::step(step)) {
                            Ok(stopped) => stopped.is_truthy(),
                            Err(error) => {
                                thrown = Some(error);
                                false
                            }
                        };
                        let cancel = inner.closed.get() || get(&signal, "aborted").is_truthy();
                        match stopped {
                            true => Verdict::Stop,
                            false if cancel || thrown.is_some() => Verdict::Cancel,
                            false => Verdict::GoOn,
                        }
                    })
                    .await?;
                if let Some(error) = thrown {
                    let words = crate::object::words(&error);
                    return Err(Failure::new(Code::Internal, format!("onEvent threw: {words}")));
                }
                if turn.finish_reason == FinishReason::Cancelled && turn.tokens.is_empty() {
                    return Err(Failure::new(Code::Aborted, "stopped before the first token"));
                }
                Ok(report::turn(&turn).into())
            };
            let outcome = request.await;
            (turns, outcome)
        })
    }

    /// Positions of a prompt.
    ///
    /// # Errors
    /// As `generate`.
    #[wasm_bindgen(js_name = promptLength)]
    pub fn prompt_length(&self, ids: &[u32], images: &Array) -> Result<usize, JsValue> {
        Ok(self.inner.prompt(ids, ids.len(), images)?.len())
    }

    /// Forgets what was fed.
    ///
    /// # Errors
    /// While another call runs, or when the device is lost.
    pub fn reset(&self) -> Result<(), JsValue> {
        Ok(self.inner.with(|turns| Ok(turns.reset()?))?)
    }

    /// Replays the bundle's golden run.
    #[wasm_bindgen(js_name = selfTest)]
    pub fn self_test(&self, golden: Vec<u8>) -> Promise {
        self.call(move |inner, turns| async move {
            let mut session = turns.into_session();
            let test = async {
                let facts = inner.manifest.file(GOLDEN).ok_or_else(|| {
                    Failure::new(Code::InvalidBundle, "the bundle has no golden run; compile it with one")
                })?;
                if sha256_hex(&golden) != facts.sha256 {
                    let message = format!("{GOLDEN}: is not the file that the manifest lists");
                    return Err(Failure::new(Code::Integrity, message));
                }
                let run = GoldenFile::parse(GOLDEN, &golden)?;
                drop(golden);
                let options =
                    VerifyOptions { preprocessor: inner.preprocessor.clone(), ..VerifyOptions::default() };
                Ok(report::self_test(&verify_async(&mut session, &run, &options).await?).into())
            };
            let outcome = test.await;
            (Turns::resume(session), outcome)
        })
    }

    /// Times every dispatch of one decoded token.
    pub fn profile(&self, steps: u32) -> Promise {
        let inner = self.inner.clone();
        future_to_promise(async move {
            let mut engine = inner.take()?.into_session().into_engine();
            let outcome = profile(&mut engine, steps).await;
            // It fails only when the device does; then there is nothing to give back.
            let session = Session::new(engine).map_err(Failure::from)?;
            inner.give_back(Turns::resume(session));
            if inner.closed.get() {
                return Err(closed().into());
            }
            Ok(outcome?.into())
        })
    }
}
