//! A model that answers.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Uint8Array};
use qwenc_golden::{GoldenFile, VerifyOptions, verify_async};
use qwenc_runtime::bundle::sha256_hex;
use qwenc_runtime::chat::{Clock, FinishReason, Generator, Prompt, PromptImage};
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
use crate::options::{Options, messages};
use crate::profile::profile;
use crate::report;

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
    generator: RefCell<Option<Generator<Device>>>,
    preprocessor: Option<Preprocessor>,
    manifest: Manifest,
    tuning: Tuning,
    closed: Cell<bool>,
}

impl Inner {
    pub(crate) fn new(
        generator: Generator<Device>,
        preprocessor: Option<Preprocessor>,
        tuning: Tuning,
    ) -> Self {
        let manifest = generator.session().engine().manifest().clone();
        let generator = RefCell::new(Some(generator));
        Self { generator, preprocessor, manifest, tuning, closed: Cell::new(false) }
    }

    fn take(&self) -> Result<Generator<Device>, Failure> {
        if self.closed.get() {
            return Err(closed());
        }
        self.generator.borrow_mut().take().ok_or_else(busy)
    }

    /// Gives it back, unless the model is gone meanwhile.
    fn give_back(&self, generator: Generator<Device>) {
        if !self.closed.get() {
            *self.generator.borrow_mut() = Some(generator);
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Generator<Device>) -> Result<T, Failure>) -> Result<T, Failure> {
        match self.generator.borrow_mut().as_mut() {
            Some(generator) => work(generator),
            None => Err(busy()),
        }
    }

    /// The prompt of a request.
    fn prompt(
        &self,
        generator: &Generator<Device>,
        messages_json: &str,
        images: &Array,
        options: &Options,
    ) -> Result<Prompt, Failure> {
        let images = images.iter().map(|image| self.image(&image)).collect::<Result<Vec<_>, _>>()?;
        let (files, vision) = (generator.files(), self.manifest.model.vision.as_ref());
        Ok(match &options.raw {
            Some(text) => files.raw_prompt(text, &images, vision)?,
            None => files.prompt(&messages(messages_json)?, &images, &options.render(), vision)?,
        })
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

    /// Runs an asynchronous call with the generator.
    fn call<F>(&self, work: impl FnOnce(Rc<Inner>, Generator<Device>) -> F + 'static) -> Promise
    where
        F: Future<Output = (Generator<Device>, Result<JsValue, Failure>)> + 'static,
    {
        let inner = self.inner.clone();
        future_to_promise(async move {
            let generator = inner.take()?;
            let (generator, outcome) = work(inner.clone(), generator).await;
            inner.give_back(generator);
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
        if let Ok(mut generator) = self.inner.generator.try_borrow_mut() {
            *generator = None;
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
        let info = self.inner.with(|generator| {
            let engine = generator.session().engine();
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

    /// Generates an answer.
    pub fn generate(
        &self,
        messages_json: String,
        images: Array,
        options_json: String,
        on_event: Function,
        signal: JsValue,
    ) -> Promise {
        self.call(move |inner, mut generator| async move {
            let request = async {
                let options = Options::read(&options_json)?;
                let prompt = inner.prompt(&generator, &messages_json, &images, &options)?;
                drop(images);
                let options = options.generate(generator.files())?;
                let mut thrown = None;
                let generation = generator
                    .generate_async(&prompt, &options, &mut |event| {
                        if let Err(error) = on_event.call1(&JsValue::NULL, &report::event(event)) {
                            thrown = Some(error);
                        }
                        let stop = inner.closed.get() || get(&signal, "aborted").is_truthy();
                        if stop || thrown.is_some() {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    })
                    .await?;
                if let Some(error) = thrown {
                    let words = crate::object::words(&error);
                    return Err(Failure::new(Code::Internal, format!("onEvent threw: {words}")));
                }
                if generation.finish_reason == FinishReason::Cancelled && generation.tokens.is_empty() {
                    return Err(Failure::new(Code::Aborted, "stopped before the first token"));
                }
                Ok(report::generation(&generation, options.sampling.seed).into())
            };
            let outcome = request.await;
            (generator, outcome)
        })
    }

    /// Positions of a prompt.
    ///
    /// # Errors
    /// As `generate`.
    #[wasm_bindgen(js_name = countTokens)]
    pub fn count_tokens(
        &self,
        messages_json: &str,
        images: &Array,
        options_json: &str,
    ) -> Result<usize, JsValue> {
        let options = Options::read(options_json)?;
        let count = self
            .inner
            .with(|generator| Ok(self.inner.prompt(generator, messages_json, images, &options)?.len()));
        Ok(count?)
    }

    /// Ids of a text.
    ///
    /// # Errors
    /// While another call runs.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>, JsValue> {
        Ok(self.inner.with(|generator| Ok(generator.files().tokenizer.encode(text)))?)
    }

    /// Text of ids.
    ///
    /// # Errors
    /// While another call runs.
    pub fn detokenize(&self, ids: &[u32], special: Option<bool>) -> Result<String, JsValue> {
        let skip_special = !special.unwrap_or(false);
        Ok(self.inner.with(|generator| Ok(generator.files().tokenizer.decode(ids, skip_special)))?)
    }

    /// Forgets what was fed.
    ///
    /// # Errors
    /// While another call runs, or when the device is lost.
    pub fn reset(&self) -> Result<(), JsValue> {
        Ok(self.inner.with(|generator| Ok(generator.reset()?))?)
    }

    /// Replays the bundle's golden run.
    #[wasm_bindgen(js_name = selfTest)]
    pub fn self_test(&self, golden: Vec<u8>) -> Promise {
        self.call(move |inner, generator| async move {
            let (mut session, files) = generator.into_parts();
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
            (Generator::resume(session, files), outcome)
        })
    }

    /// Times every dispatch of one decoded token.
    pub fn profile(&self, steps: u32) -> Promise {
        let inner = self.inner.clone();
        future_to_promise(async move {
            let (session, files) = inner.take()?.into_parts();
            let mut engine = session.into_engine();
            let outcome = profile(&mut engine, steps).await;
            // It fails only when the device does; then there is nothing to give back.
            let session = Session::new(engine).map_err(Failure::from)?;
            inner.give_back(Generator::resume(session, files));
            if inner.closed.get() {
                return Err(closed().into());
            }
            Ok(outcome?.into())
        })
    }
}
