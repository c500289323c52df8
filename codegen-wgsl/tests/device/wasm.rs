//! One kernel alone, translated to WebAssembly, in an interpreter.

use qwenc_codegen_wgsl::cpu::{Source, module};
use wasmi::{Engine, Linker, Memory, MemoryType, Module, Store, Val};

/// Bytes behind every buffer, in memory but not in the binding: a kernel that writes there is reported.
const GUARD_BYTES: usize = 256;
/// All bits set: NaN as f32.
const POISON: u8 = 0xFF;
const PAGE: usize = 65_536;

/// As `qwenc_runtime::gpu::probe::run_kernel`: binding 0 is the step, then what is read, then what is written; gives back
/// the latter. Every write must come with its content before the run.
pub(crate) fn run_kernel(
    wgsl: &str,
    step: &[u32],
    reads: &[&[u8]],
    writes: &[&[u8]],
    workgroups: [u32; 3],
) -> Result<Vec<Vec<u8>>, String> {
    let bytes = module(&[Source { name: "kernel", wgsl, entry: "main" }]).map_err(|e| e.to_string())?;
    let engine = Engine::default();
    let module = Module::new(&engine, &bytes).map_err(|e| e.to_string())?;
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, None)).map_err(|e| e.to_string())?;
    let mut linker = Linker::new(&engine);
    linker.define("env", "memory", memory).map_err(|e| e.to_string())?;
    let instance = linker.instantiate_and_start(&mut store, &module).map_err(|e| e.to_string())?;
    let scratch = instance.get_global(&store, "scratch").and_then(|global| global.get(&store).i32());

    let mut words = step.to_vec();
    words.resize(16, 0);
    let step: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let buffers: Vec<&[u8]> =
        [step.as_slice()].into_iter().chain(reads.iter().chain(writes).copied()).collect();
    let mut end = usize::try_from(scratch.unwrap()).unwrap();
    let mut places = Vec::new();
    for buffer in &buffers {
        places.push(end);
        end = (end + buffer.len() + GUARD_BYTES).next_multiple_of(256);
    }
    let pages = u64::try_from(end.div_ceil(PAGE)).unwrap();
    memory.grow(&mut store, pages).map_err(|e| e.to_string())?;
    let data = memory.data_mut(&mut store);
    // What earlier kernels have left there.
    data.fill(POISON);
    for (place, buffer) in places.iter().zip(&buffers) {
        data[*place..place + buffer.len()].copy_from_slice(buffer);
    }
    let mut arguments: Vec<usize> = workgroups.iter().map(|count| usize::try_from(*count).unwrap()).collect();
    arguments.extend(places.iter().zip(&buffers).flat_map(|(place, buffer)| [*place, buffer.len()]));
    let arguments: Vec<Val> =
        arguments.into_iter().map(|argument| Val::I32(i32::try_from(argument).unwrap())).collect();
    let kernel = instance.get_func(&store, "k0").unwrap();
    kernel.call(&mut store, &arguments, &mut []).map_err(|e| e.to_string())?;

    let data = memory.data(&store);
    for (place, buffer) in places.iter().zip(&buffers) {
        let guard = &data[place + buffer.len()..place + buffer.len() + GUARD_BYTES];
        if guard.iter().any(|byte| *byte != POISON) {
            return Err(format!("writes past the end of a buffer of {} bytes", buffer.len()));
        }
    }
    let written = places.iter().zip(&buffers).skip(1 + reads.len());
    Ok(written.map(|(place, buffer)| data[*place..place + buffer.len()].to_vec()).collect())
}
