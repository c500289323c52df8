//! Errors as JavaScript sees them: an `Error` with a `code`.

use qwenc_runtime::bundle::BundleError;
use qwenc_runtime::chat::ChatError;
use qwenc_runtime::engine::EngineError;
use qwenc_runtime::image::ImageError;
use qwenc_runtime::session::SessionError;
use qwenc_runtime::vision::VisionError;
use wasm_bindgen::JsValue;

use crate::device::DeviceError;
use crate::object::set;

/// The codes of `wasm.d.ts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    MissingLimit,
    MissingFeature,
    OutOfMemory,
    DeviceLost,
    Integrity,
    InvalidBundle,
    InvalidRequest,
    ContextFull,
    Aborted,
    Closed,
    Internal,
}

impl Code {
    fn name(self) -> &'static str {
        match self {
            Self::MissingLimit => "missing-limit",
            Self::MissingFeature => "missing-feature",
            Self::OutOfMemory => "out-of-memory",
            Self::DeviceLost => "device-lost",
            Self::Integrity => "integrity",
            Self::InvalidBundle => "invalid-bundle",
            Self::InvalidRequest => "invalid-request",
            Self::ContextFull => "context-full",
            Self::Aborted => "aborted",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }
}

/// An error on its way to JavaScript.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> Self {
        let error = js_sys::Error::new(&failure.message);
        error.set_name("EngineError");
        set(&error, "code", &failure.code.name().into());
        error.into()
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        let code = match &error {
            BundleError::Hash { .. } | BundleError::Size { .. } => Code::Integrity,
            _ => Code::InvalidBundle,
        };
        Self::new(code, error.to_string())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        let code = match error {
            EngineError::Bundle(error) => return error.into(),
            EngineError::NoWeights => Code::InvalidBundle,
            EngineError::Limit { .. } => Code::MissingLimit,
            EngineError::Memory { .. } => Code::OutOfMemory,
            EngineError::Gpu { source, .. } => {
                source.downcast_ref::<DeviceError>().map_or(Code::Internal, device_code)
            }
            _ => Code::Internal,
        };
        Self::new(code, message)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        let code = match error {
            SessionError::Engine(error) => return error.into(),
            SessionError::NotADecoder(_) => Code::InvalidBundle,
            SessionError::ContextOverflow { .. } => Code::ContextFull,
            SessionError::NoVision | SessionError::Vision(_) | SessionError::Sampling(_) => {
                Code::InvalidRequest
            }
            _ => Code::Internal,
        };
        Self::new(code, message)
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        let message = error.to_string();
        let code = match error {
            ChatError::Session(error) => return error.into(),
            ChatError::PromptTooLong { .. } => Code::ContextFull,
            _ => Code::InvalidRequest,
        };
        Self::new(code, message)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let code = match error {
            ImageError::Config(_) => Code::InvalidBundle,
            _ => Code::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<VisionError> for Failure {
    fn from(error: VisionError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self::new(device_code(&error), error.to_string())
    }
}

/// The code of what a device said.
fn device_code(error: &DeviceError) -> Code {
    match error {
        DeviceError::Lost(_) => Code::DeviceLost,
        DeviceError::OutOfMemory(_) => Code::OutOfMemory,
        DeviceError::Shader(_) => Code::InvalidBundle,
        DeviceError::Refused(_) => Code::Internal,
    }
}
