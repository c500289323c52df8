//! From a manifest to a model on a device.

use qwenc_runtime::order::sorted;
use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Object, Promise, Uint8Array};
use qwenc_runtime::bundle::{Bundle, BundleError, FileKind, Receiver, ShardStream};
use qwenc_runtime::chat::Turns;
use qwenc_runtime::engine::{EngineError, LoadOptions, Loading};
use qwenc_runtime::format::FileFacts;
use qwenc_runtime::image::Preprocessor;
use qwenc_runtime::session::Session;
use qwenc_runtime::tuning::Tuning;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::device::Device;
use crate::error::{Code, Failure};
use crate::model::{Inner, Model};
use crate::object::{array, object, size};
use crate::report;

/// Bytes of a shard that are in the module's memory at a time.
const PIECE_BYTES: u32 = 256 << 10;
/// Bytes that may be on their way to the GPU before a write waits.
const IN_FLIGHT_BYTES: u64 = 16 << 20;

/// Takes a bundle onto a device.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Loader {
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    stage: Stage,
    /// Facts of the manifest, for the whole life of the loader.
    facts: Facts,
    shard: Option<Shard>,
    /// Shards that are complete.
    complete: Vec<String>,
    in_flight: u64,
    piece: Vec<u8>,
}

#[derive(Debug)]
struct Facts {
    /// By kind, in the order of kinds.
    files: Vec<(FileKind, FileFacts)>,
    facts: Object,
    requirements: Object,
}

#[derive(Debug)]
enum Stage {
    Files(Receiver),
    Loading(Rc<Parts>),
    /// After `finish`, or an error that leaves nothing to go on with.
    Ended,
}

/// A bundle and its way onto the device.
#[derive(Debug)]
struct Parts {
    bundle: Bundle,
    preprocessor: Option<Preprocessor>,
    loading: RefCell<Option<Loading<Device>>>,
}

#[derive(Debug)]
struct Shard {
    path: String,
    stream: ShardStream,
}

fn order(what: &str) -> Failure {
    Failure::new(Code::InvalidRequest, format!("{what} comes at the wrong time; see wasm.d.ts for the order"))
}

#[wasm_bindgen]
impl Loader {
    /// A loader of the bundle that a manifest describes.
    ///
    /// # Errors
    /// `invalid-bundle`.
    #[wasm_bindgen(constructor)]
    pub fn new(manifest: &[u8]) -> Result<Loader, JsValue> {
        crate::model::install();
        let receiver = Receiver::new(manifest).map_err(Failure::from)?;
        let facts = {
            let manifest = receiver.manifest();
            Facts {
                files: {
                    let files = manifest.files.iter().map(|file| (receiver.kind(&file.path), file.clone()));
                    sorted(&files.collect::<Vec<_>>(), |a, b| a.0 < b.0)
                },
                facts: report::facts(manifest, &manifest.memory),
                requirements: report::requirements(manifest),
            }
        };
        let state = State {
            stage: Stage::Files(receiver),
            facts,
            shard: None,
            complete: Vec::new(),
            in_flight: 0,
            piece: Vec::new(),
        };
        Ok(Self { state: Rc::new(RefCell::new(state)) })
    }

    /// The bundle's files.
    #[must_use]
    pub fn files(&self) -> Array {
        let state = self.state.borrow();
        array(state.facts.files.iter().map(|(kind, file)| {
            let kind = match kind {
                FileKind::Small => "small",
                FileKind::Weights => "weights",
                FileKind::Golden => "golden",
                FileKind::Other => "other",
            };
            object([
                ("path", file.path.as_str().into()),
                ("bytes", size(file.bytes).into()),
                ("sha256", file.sha256.as_str().into()),
                ("kind", kind.into()),
            ])
        }))
    }

    /// Facts of the manifest.
    #[must_use]
    pub fn facts(&self) -> Object {
        self.state.borrow().facts.facts.clone()
    }

    /// What the device must have.
    #[must_use]
    pub fn requirements(&self) -> Object {
        self.state.borrow().facts.requirements.clone()
    }

    /// Takes a small file.
    ///
    /// # Errors
    /// `integrity`.
    pub fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), JsValue> {
        match &mut self.state.borrow_mut().stage {
            Stage::Files(receiver) => Ok(receiver.put(path, bytes).map_err(Failure::from)?),
            _ => Err(order("put").into()),
        }
    }

    /// Begins to load onto a device; `tuning` is what an earlier model on it had, or empty.
    pub fn prepare(&self, device: JsValue, tuning: String) -> Promise {
        let state = self.state.clone();
        future_to_promise(async move {
            let stage = std::mem::replace(&mut state.borrow_mut().stage, Stage::Ended);
            let receiver = match stage {
                Stage::Files(receiver) => receiver,
                other => {
                    state.borrow_mut().stage = other;
                    return Err(order("prepare").into());
                }
            };
            let parts = prepare(receiver, device, &tuning).await?;
            state.borrow_mut().stage = Stage::Loading(Rc::new(parts));
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Begins a shard.
    ///
    /// # Errors
    /// `invalid-bundle` when there is no such file.
    #[wasm_bindgen(js_name = shardBegin)]
    pub fn shard_begin(&self, path: &str) -> Result<(), JsValue> {
        let mut state = self.state.borrow_mut();
        let parts = state.parts("shardBegin")?;
        let bundle = &parts.bundle;
        let stream = ShardStream::new(bundle.manifest(), bundle.schedule(), path).map_err(Failure::from)?;
        state.complete.retain(|complete| complete != path);
        state.shard = Some(Shard { path: path.to_owned(), stream });
        Ok(())
    }

    /// Takes the next bytes of the shard.
    #[wasm_bindgen(js_name = shardWrite)]
    pub fn shard_write(&self, chunk: Uint8Array) -> Promise {
        let state = self.state.clone();
        future_to_promise(async move {
            let mut from = 0;
            while from < chunk.length() {
                let to = from.saturating_add(PIECE_BYTES).min(chunk.length());
                let waits = state.borrow_mut().write(&chunk.subarray(from, to))?;
                if let Some(parts) = waits {
                    flush(&parts).await?;
                }
                from = to;
            }
            Ok(JsValue::UNDEFINED)
        })
    }

    /// The shard is complete.
    #[wasm_bindgen(js_name = shardEnd)]
    pub fn shard_end(&self) -> Promise {
        let state = self.state.clone();
        future_to_promise(async move {
            let shard = state.borrow_mut().shard.take().ok_or_else(|| order("shardEnd"))?;
            let parts = state.borrow_mut().parts("shardEnd")?;
            shard.stream.end().map_err(Failure::from)?;
            flush(&parts).await?;
            state.borrow_mut().complete.push(shard.path);
            Ok(JsValue::UNDEFINED)
        })
    }

    /// How far the pipelines are.
    #[must_use]
    pub fn pipelines(&self) -> Object {
        let state = self.state.borrow();
        let (done, total) = match &state.stage {
            Stage::Loading(parts) => (
                parts.loading.borrow().as_ref().map_or(0, |loading| loading.backend().compiled()),
                parts.bundle.schedule().pipelines.len(),
            ),
            _ => (0, 0),
        };
        object([("done", done.into()), ("total", total.into())])
    }

    /// Waits for the pipelines, and gives the model. Variants of its kernels are tried for at most so many seconds.
    pub fn finish(&self, tuning_seconds: f64) -> Promise {
        let state = self.state.clone();
        future_to_promise(async move {
            let parts = state.borrow_mut().parts("finish")?;
            let shards = parts.bundle.shards();
            let missing =
                shards.into_iter().find(|path| !state.borrow().complete.iter().any(|it| it == path));
            if let Some(path) = missing {
                return Err(Failure::from(BundleError::Missing { file: path.to_owned() }).into());
            }
            state.borrow_mut().stage = Stage::Ended;
            // Only this future and calls that are now over have had it.
            let parts = Rc::into_inner(parts).ok_or_else(|| order("finish"))?;
            Ok(finish(parts, tuning_seconds).await?.into())
        })
    }
}

impl State {
    fn parts(&mut self, what: &str) -> Result<Rc<Parts>, Failure> {
        match &self.stage {
            Stage::Loading(parts) => Ok(parts.clone()),
            _ => Err(order(what)),
        }
    }

    /// Writes a piece; gives what to wait for when much is on its way.
    fn write(&mut self, chunk: &Uint8Array) -> Result<Option<Rc<Parts>>, Failure> {
        let parts = self.parts("shardWrite")?;
        let shard = self.shard.as_mut().ok_or_else(|| order("shardWrite"))?;
        let length = usize::try_from(chunk.length()).unwrap_or(0);
        self.piece.resize(length, 0);
        chunk.copy_to(&mut self.piece);
        let loading = parts.loading.borrow();
        let loading = loading.as_ref().ok_or_else(|| order("shardWrite"))?;
        shard.stream.push(&self.piece, &mut |id, at, bytes| loading.write(id, at, bytes))?;
        self.in_flight += u64::from(chunk.length());
        if self.in_flight < IN_FLIGHT_BYTES {
            return Ok(None);
        }
        self.in_flight = 0;
        Ok(Some(parts.clone()))
    }
}

/// Waits for what is on its way. The loader is not reentrant: nobody takes what is borrowed meanwhile.
#[expect(
    clippy::await_holding_refcell_ref,
    reason = "the only one who takes it is `finish`, which comes after"
)]
async fn flush(parts: &Parts) -> Result<(), Failure> {
    let loading = parts.loading.try_borrow().map_err(|_| order("this call"))?;
    match loading.as_ref() {
        Some(loading) => Ok(loading.flush().await?),
        None => Err(order("this call")),
    }
}

async fn prepare(receiver: Receiver, device: JsValue, tuning: &str) -> Result<Parts, Failure> {
    let bundle = receiver.finish()?;
    let device = Device::new(device);
    if let Some(gpu) = device.gpu() {
        let missing =
            bundle.manifest().features.iter().find(|name| !gpu.has_feature(&name.replace('_', "-")));
        if let Some(name) = missing {
            let message = format!("the bundle needs the GPU feature {name}, which the device does not have");
            return Err(Failure::new(Code::MissingFeature, message));
        }
    }
    let preprocessor = match bundle.manifest().model.vision {
        Some(_) => Some(Preprocessor::of_bundle(&bundle)?),
        None => None,
    };
    let options = LoadOptions { tuning: Tuning::from_lines(tuning), ..LoadOptions::default() };
    let loading = Loading::start(&bundle, device, &options)?;
    loading.flush().await?;
    Ok(Parts { bundle, preprocessor, loading: RefCell::new(Some(loading)) })
}

async fn finish(parts: Parts, tuning_seconds: f64) -> Result<Model, Failure> {
    let Parts { bundle, preprocessor, loading } = parts;
    let loading = loading.into_inner().ok_or_else(|| order("finish"))?;
    let mut engine = loading.finish().await.map_err(|error: EngineError| Failure::from(error))?;
    let (tuning, _) = engine.tune_async(&|path| bundle.shader(path).ok(), tuning_seconds).await?;
    drop(bundle);
    let turns = Turns::new(Session::new(engine)?)?;
    Ok(Model::new(Inner::new(turns, preprocessor, tuning)))
}
