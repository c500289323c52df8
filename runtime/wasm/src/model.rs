//! A model that answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Array, Float32Array, Function, Object, Promise, Uint8Array};
use qwenc_runtime::chat::{Clock, FinishReason, Prompt, PromptImage, Turns, Verdict};
use qwenc_runtime::engine::Backend;
use qwenc_runtime::format::{Command, Manifest};
use qwenc_runtime::image::{Patches, Preprocessor, Rgb};
use qwenc_runtime::session::{Picture, Session};
use qwenc_runtime::tuning::Tuning;
use qwenc_runtime::vision::{Grid, pictures_of};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::device::Device;
use crate::error::{Code, Failure};
use crate::object::{array, get, number, object, set};
use crate::profile::profile;
use crate::{options, report};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    pub(crate) fn performance_now() -> f64;
}

/// What the runtime asks of its host, once.
pub(crate) fn install() {
    Clock { monotonic: || performance_now() / 1000.0 }.install();
}

/// What `feed` is given.
struct Fed {
    ids: Vec<u32>,
    pictures: Array,
    /// Places of tokens whose logits are wanted.
    wanted: Vec<u32>,
    /// Whatever was fed before is forgotten first.
    first: bool,
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
        let images = self.all_patches(images)?.into_iter();
        let images: Vec<_> = images.map(|patches| PromptImage::new(patches.grid, patches.values)).collect();
        Ok(Prompt::new(ids, stable, &images, self.manifest.model.vision.as_ref())?)
    }

    /// A picture in patches, from pixels or from what is patches already.
    fn patches(&self, image: &JsValue) -> Result<Patches, Failure> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let side = |name: &str| number(image, name) as u32;
        let values = get(image, "values");
        if !values.is_undefined() {
            let grid = Grid::new(side("t"), side("h"), side("w"))?;
            return Ok(Patches { grid, values: Float32Array::new(&values).to_vec() });
        }
        let preprocessor = self.preprocessor.as_ref().ok_or_else(|| {
            Failure::invalid("the model takes no images: it was compiled without a vision encoder")
        })?;
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
        Ok(preprocessor.prepare(&rgb)?)
    }

    fn all_patches(&self, images: &Array) -> Result<Vec<Patches>, Failure> {
        images.iter().map(|image| self.patches(&image)).collect()
    }

    /// Feeds a session, and gives logits.
    async fn feed(&self, session: &mut Session<Device>, fed: Fed) -> Result<JsValue, Failure> {
        let Fed { ids, pictures, wanted, first } = fed;
        if first {
            session.reset()?;
        }
        let ids: Vec<i32> = ids.iter().map(|id| i32::try_from(*id).unwrap_or(i32::MAX)).collect();
        let wanted: Vec<usize> = wanted.iter().filter_map(|at| usize::try_from(*at).ok()).collect();
        let patches = self.all_patches(&pictures)?;
        let pictures: Vec<Picture<'_>> =
            patches.iter().map(|it| Picture { grid: it.grid, values: &it.values }).collect();
        let grids: Vec<Grid> = pictures.iter().map(|picture| picture.grid).collect();
        let count = match session.vision() {
            Some(facts) => pictures_of(&ids, &grids, facts),
            // Which is refused.
            None => grids.len(),
        };
        let now = pictures.get(..count).unwrap_or_default();
        let logits = session.feed_pictures_async(&ids, now, &wanted).await?;
        let logits = array(logits.iter().map(|row| Float32Array::from(row.as_slice())));
        Ok(object([("logits", logits.into()), ("pictures", count.into())]).into())
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

    /// Feeds tokens and as many of the pictures as they have places for, and gives the wanted rows of logits.
    pub fn feed(&self, ids: Vec<u32>, pictures: Array, wanted: Vec<u32>, first: bool) -> Promise {
        self.call(move |inner, turns| async move {
            let mut session = turns.into_session();
            let outcome = inner.feed(&mut session, Fed { ids, pictures, wanted, first }).await;
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
