//! Reading the model file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memmap2::Mmap;
use prost::Message;
use qwenc_ir::{DType, Tensor};

use super::budget;
use super::error::{self, ReadError, TensorError};
use super::external::ExternalFiles;
use super::proto::{GraphProto, ModelProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto};
use super::tensor::{decode, dtype_of};
use crate::blank::StandIns;
use crate::contain::{self, Refusal};
use qwenc_runtime::printable::is_printable;

/// A protocol buffer holds at most 2 GiB.
const MAX_FILE_BYTES: u64 = 1 << 31;
/// Most inputs or outputs of a graph; a bundle holds no more.
const MAX_PORTS: usize = 4096;
/// Longest name of an input or output, in bytes; a bundle holds no longer ones.
const MAX_PORT_NAME_BYTES: usize = 512;
/// From what belongs to the oldest operator set to the newest that is published.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 7..=14;
/// Before 13 axes and shapes were attributes, and Softmax meant something else.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=28;

/// A model file that has been decoded. Weights stay where they are until they are asked for.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    proto: ModelProto,
    opsets: BTreeMap<String, i64>,
    external: ExternalFiles,
}

/// A dimension of an input or output, as the file states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortDim {
    /// A fixed size.
    Size(i64),
    /// A named size.
    Symbol(String),
    /// Nothing is stated.
    Unknown,
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape, outermost dimension first.
    pub dims: Vec<PortDim>,
}

/// The standard domain has two spellings.
pub(super) fn canonical_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

impl Model {
    /// Reads a model file, which may be a link: the path is the caller's. External data is looked for in the folder that
    /// the path names, when a tensor is asked for.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ReadError::Missing(path.to_owned()),
            _ => ReadError::Io { path: path.to_owned(), source },
        })?;
        Self::of_file(path, &file)
    }

    /// Reads a model file at `path`, which was found in the folder `root` and must not lead out of it.
    pub fn open_inside(root: &Path, path: &Path) -> Result<Self, ReadError> {
        let refused = |source| ReadError::Outside { path: path.to_owned(), source };
        let location = path.strip_prefix(root).ok().and_then(Path::to_str).ok_or(Refusal::Path);
        let file = location.and_then(|location| contain::open(root, location)).map_err(refused)?;
        Self::of_file(path, &file)
    }

    fn of_file(path: &Path, file: &File) -> Result<Self, ReadError> {
        let proto = parse(path, map(path, file)?)?;
        Self::checked(path, proto, ExternalFiles::beside(path))
    }

    /// Decodes a model in memory; it cannot have external data. `name` stands for the file in messages.
    pub fn from_bytes(name: impl Into<PathBuf>, bytes: Bytes) -> Result<Self, ReadError> {
        let path = name.into();
        let proto = parse(&path, bytes)?;
        Self::checked(&path, proto, ExternalFiles::none())
    }

    /// A model that is not in a file; it cannot have external data. `name` stands for the file in messages.
    pub fn from_proto(name: impl Into<PathBuf>, proto: ModelProto) -> Result<Self, ReadError> {
        let path = name.into();
        Self::checked(&path, proto, ExternalFiles::none())
    }

    fn checked(path: &Path, proto: ModelProto, external: ExternalFiles) -> Result<Self, ReadError> {
        let malformed =
            |reason: String| ReadError::Malformed { path: path.to_owned(), reason: error::message(&reason) };
        let version = proto.ir_version.unwrap_or(0);
        if !IR_VERSIONS.contains(&version) {
            return Err(ReadError::IrVersion { path: path.to_owned(), version });
        }
        let opsets = opset_table(&proto.opset_import).map_err(malformed)?;
        // Without the standard operators no version of them is needed; a node of theirs is refused then.
        if let Some(standard) = opsets.get("").copied().filter(|version| !OPSETS.contains(version)) {
            return Err(ReadError::Opset { path: path.to_owned(), version: standard });
        }
        if proto.graph.is_none() {
            return Err(malformed("the model has no graph; export it again".to_owned()));
        }
        Ok(Self { path: path.to_owned(), proto, opsets, external })
    }

    /// External data need not exist: stand-ins take its place, which are enough to plan and to measure.
    #[must_use]
    pub fn with_stand_ins(mut self, stand_ins: StandIns) -> Self {
        self.external.allow_missing(stand_ins);
        self
    }

    /// Where the model was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The decoded file.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// The main graph.
    pub fn graph(&self) -> &GraphProto {
        static EMPTY: std::sync::OnceLock<GraphProto> = std::sync::OnceLock::new();
        // Its presence was checked when the model was made.
        self.proto.graph.as_ref().unwrap_or_else(|| EMPTY.get_or_init(GraphProto::default))
    }

    /// The versions of the operator sets that the model uses, by domain; the standard domain is "".
    pub fn opsets(&self) -> &BTreeMap<String, i64> {
        &self.opsets
    }

    /// Inputs that a caller has to give, in order: those without an initializer.
    pub fn inputs(&self) -> Result<Vec<Port>, ReadError> {
        let graph = self.graph();
        self.check_ports("inputs", graph.input.len())?;
        let initialized: BTreeSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
        graph
            .input
            .iter()
            .filter(|input| !initialized.contains(input.name()))
            .map(|v| self.port(v, true))
            .collect()
    }

    /// Outputs, in order. Files may leave out their shapes; `dims` is empty then.
    pub fn outputs(&self) -> Result<Vec<Port>, ReadError> {
        self.check_ports("outputs", self.graph().output.len())?;
        self.graph().output.iter().map(|output| self.port(output, false)).collect()
    }

    fn check_ports(&self, what: &str, count: usize) -> Result<(), ReadError> {
        // Initializers may be listed among the inputs, as files of old do.
        let most = MAX_PORTS + self.graph().initializer.len();
        if count <= most {
            return Ok(());
        }
        let reason = format!("the graph has {count} {what}, at most {MAX_PORTS} are supported");
        Err(ReadError::Malformed { path: self.path.clone(), reason })
    }

    fn port(&self, info: &ValueInfoProto, is_input: bool) -> Result<Port, ReadError> {
        let malformed = |reason: String| ReadError::Malformed {
            path: self.path.clone(),
            reason: error::message(&reason),
        };
        let name = info.name().to_owned();
        let what = if is_input { "input" } else { "output" };
        // The name is how the bundle's user speaks of it, so it cannot be replaced by another one.
        if name.is_empty() || name.len() > MAX_PORT_NAME_BYTES || !is_printable(&name) {
            return Err(malformed(format!(
                "the name of {what} `{}` is empty, has control characters, or more than {MAX_PORT_NAME_BYTES} \
                 bytes; rename it",
                error::name(&name)
            )));
        }
        let Some(type_proto::Value::TensorType(ty)) = info.r#type.as_ref().and_then(|ty| ty.value.as_ref())
        else {
            return Err(malformed(format!(
                "{what} `{name}` is no tensor; sequences, maps and optionals as inputs or outputs are not supported"
            )));
        };
        let dtype = dtype_of(ty.elem_type()).map_err(|ty| {
            malformed(format!("{what} `{name}` has element type {ty}, which is not supported"))
        })?;
        if ty.shape.is_none() && is_input {
            return Err(malformed(format!("input `{name}` has no shape; export the model with shapes")));
        }
        let dims = ty.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match &dim.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(size)) => PortDim::Size(*size),
            Some(tensor_shape_proto::dimension::Value::DimParam(name)) if !name.is_empty() => {
                PortDim::Symbol(name.clone())
            }
            _ => PortDim::Unknown,
        });
        Ok(Port { name, dtype, dims: dims.collect() })
    }

    /// The content of a tensor of this model.
    pub fn tensor(&self, tensor: &TensorProto) -> Result<Tensor, TensorError> {
        decode(tensor, &self.external)
    }
}

/// Versions by domain. A domain must not be imported twice.
pub(super) fn opset_table(
    imports: &[super::proto::OperatorSetIdProto],
) -> Result<BTreeMap<String, i64>, String> {
    let mut table = BTreeMap::new();
    for import in imports {
        let domain = canonical_domain(import.domain()).to_owned();
        if let Some(first) = table.insert(domain, import.version())
            && first != import.version()
        {
            return Err(format!(
                "operator set `{}` is imported with versions {first} and {}",
                import.domain(),
                import.version()
            ));
        }
    }
    Ok(table)
}

fn map(path: &Path, file: &File) -> Result<Bytes, ReadError> {
    let io_error = |source: io::Error| ReadError::Io { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(io_error)?;
    if metadata.is_dir() {
        return Err(ReadError::Directory(path.to_owned()));
    }
    if !metadata.is_file() {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    if metadata.len() == 0 {
        return Err(ReadError::Empty(path.to_owned()));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(ReadError::TooLarge { path: path.to_owned(), bytes: metadata.len() });
    }
    map_file(file).map_err(io_error)
}

/// The whole of a non-empty file as shared bytes.
pub(super) fn map_file(file: &File) -> io::Result<Bytes> {
    // SAFETY: the map is read-only. Another process that truncates the file while it is mapped can end this one with
    // a signal; reading gigabytes of weights without copying them is only to be had at that price, and whoever can
    // write the user's model files can do so anyway.
    let map = unsafe { Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}

fn parse(path: &Path, bytes: Bytes) -> Result<ModelProto, ReadError> {
    let not_onnx = |reason: &str| ReadError::NotOnnx { path: path.to_owned(), reason: reason.to_owned() };
    if let Some(kind) = foreign_format(&bytes) {
        return Err(not_onnx(kind));
    }
    budget::check(&bytes).map_err(|reason| not_onnx(&reason))?;
    let model = ModelProto::decode(bytes).map_err(|error| not_onnx(&error.to_string()))?;
    // A protocol buffer has no magic number: other files can decode to a message of unknown fields.
    if model.ir_version.is_none() && model.graph.is_none() && model.opset_import.is_empty() {
        return Err(not_onnx("it has neither a version, an operator set nor a graph"));
    }
    Ok(model)
}

/// Names common formats by their first bytes, for a helpful message.
fn foreign_format(bytes: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 9] = [
        (b"\xFF\xD8\xFF", "it is a JPEG image"),
        (b"\x89PNG", "it is a PNG image"),
        (b"PK\x03\x04", "it is a zip archive, perhaps a PyTorch checkpoint"),
        (b"GGUF", "it is a GGUF model"),
        (b"\x80\x02", "it is a Python pickle"),
        (b"version https://git-lfs", "it is a Git LFS pointer; run `git lfs pull`"),
        (b"\x1F\x8B", "it is a gzip archive"),
        (b"<", "it is a web page or XML"),
        (b"{", "it is JSON"),
    ];
    SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)).map(|(_, kind)| *kind)
}
