//! WGSL to WebAssembly, ahead of time: the same kernels for a browser that has no WebGPU.
//!
//! [`module`] makes one WebAssembly module of all kernels of a bundle. It imports `env.memory` and exports
//!
//! - `k0`, `k1`, ...: a kernel each, `(x, y, z, address0, bytes0, address1, bytes1, ...)`: the number of workgroups, then
//!   every binding in order. A call runs the whole dispatch; where a binding has not the bytes of one element, it does
//!   nothing.
//! - `scratch`: the bytes from address 0 on that kernels use as workgroup memory and for what invocations remember from
//!   barrier to barrier. Buffers lie behind them, on multiples of 16.
//!
//! Nothing else is imported or called, so that a kernel reaches nothing but that memory. In it, accesses keep to the
//! bindings as on a GPU: reads clamp their indices, writes out of range are dropped.
//!
//! The way of a kernel: WGSL, naga's IR, `ir` (functions inlined, composites taken apart: `lower`), regions between
//! barriers (`plan`), a loop over the invocations of a workgroup for each (`emit`). A vector of any width is a `v128`.

mod build;
mod emit;
mod functions;
mod ir;
mod live;
mod lower;
mod plan;

use std::collections::BTreeMap;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use wasm_encoder::{
    CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, MemoryType, Module, TypeSection, ValType,
};

use emit::Emitted;

/// A kernel to translate.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// For messages: the shader's name.
    pub name: &'a str,
    /// The WGSL module.
    pub wgsl: &'a str,
    /// Its entry point.
    pub entry: &'a str,
}

/// A kernel has no translation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// The WGSL is not valid.
    #[error("{name}: not valid WGSL: {message}")]
    Invalid {
        /// The shader.
        name: String,
        /// naga's words.
        message: String,
    },
    /// It has something that is not translated.
    #[error("{name}: {construct} has no translation to WebAssembly; compile with `--no-cpu` to do without")]
    Unsupported {
        /// The shader.
        name: String,
        /// The construct.
        construct: String,
    },
}

/// The module of these kernels, in order. Equal kernels are one function under several names. The bytes depend on the
/// sources alone.
///
/// # Errors
/// [`CpuError`] names the shader and what it has that is not translated.
pub fn module(kernels: &[Source<'_>]) -> Result<Vec<u8>, CpuError> {
    let mut types = Types::default();
    let mut declarations = FunctionSection::new();
    let mut code = CodeSection::new();
    for body in functions::bodies() {
        declarations.function(types.index(&body.parameters, &[body.result]));
        code.function(&function(&body.locals, body.code.iter().chain([&wasm_encoder::Instruction::End])));
    }
    let mut exports = ExportSection::new();
    let mut known: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut next = functions::COUNT;
    let mut scratch = 0;
    for (index, kernel) in kernels.iter().enumerate() {
        let at = match known.get(&(kernel.wgsl, kernel.entry)) {
            Some(at) => *at,
            None => {
                let emitted = translate(kernel)?;
                scratch = scratch.max(emitted.scratch);
                declarations.function(types.index(&emitted.parameters, &[]));
                code.function(&function(&emitted.locals, emitted.code.iter()));
                known.insert((kernel.wgsl, kernel.entry), next);
                next += 1;
                next - 1
            }
        };
        exports.export(&format!("k{index}"), ExportKind::Func, at);
    }
    let mut imports = ImportSection::new();
    let memory =
        MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("env", "memory", EntityType::Memory(memory));
    let mut globals = GlobalSection::new();
    let constant = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    globals.global(constant, &ConstExpr::i32_const(scratch.next_multiple_of(256).cast_signed()));
    exports.export("scratch", ExportKind::Global, 0);

    let mut module = Module::new();
    module
        .section(&types.section)
        .section(&imports)
        .section(&declarations)
        .section(&globals)
        .section(&exports)
        .section(&code);
    Ok(module.finish())
}

fn translate(kernel: &Source<'_>) -> Result<Emitted, CpuError> {
    let invalid = |message: String| CpuError::Invalid { name: kernel.name.to_owned(), message };
    let module =
        naga::front::wgsl::parse_str(kernel.wgsl).map_err(|e| invalid(e.emit_to_string(kernel.wgsl)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32)
        .validate(&module)
        .map_err(|e| invalid(e.emit_to_string(kernel.wgsl)))?;
    let unsupported = |error: lower::Unsupported| CpuError::Unsupported {
        name: kernel.name.to_owned(),
        construct: error.0,
    };
    let lowered = lower::lower(&module, &info, kernel.entry).map_err(unsupported)?;
    let plan = plan::plan(&lowered).map_err(unsupported)?;
    Ok(emit::emit(&lowered, &plan))
}

fn function<'a>(
    locals: &[ValType],
    code: impl Iterator<Item = &'a wasm_encoder::Instruction<'static>>,
) -> Function {
    let mut function = Function::new_with_locals_types(locals.iter().copied());
    code.for_each(|instruction| {
        function.instruction(instruction);
    });
    function
}

/// Types of functions, each once.
#[derive(Default)]
struct Types {
    section: TypeSection,
    known: BTreeMap<(Vec<u8>, Vec<u8>), u32>,
}

impl Types {
    fn index(&mut self, parameters: &[ValType], results: &[ValType]) -> u32 {
        let key = |types: &[ValType]| {
            use wasm_encoder::Encode;
            let mut bytes = Vec::new();
            types.iter().for_each(|ty| ty.encode(&mut bytes));
            bytes
        };
        let next = u32::try_from(self.known.len()).unwrap_or(0);
        *self.known.entry((key(parameters), key(results))).or_insert_with(|| {
            self.section.ty().function(parameters.iter().copied(), results.iter().copied());
            next
        })
    }
}
