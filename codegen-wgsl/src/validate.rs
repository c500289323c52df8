//! Validation of generated WGSL by naga, and of the workgroup memory that it declares.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use crate::kernel::{CodegenError, limits};

/// What a module may use beyond the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Features {
    /// Nothing.
    None,
    /// Subgroups.
    Subgroups,
    /// Subgroups, cooperative matrices and 16-bit floats.
    CooperativeMatrix,
    /// Nothing, but workgroup memory as far as a processor's caches reach.
    Processor,
}

/// Bytes of workgroup memory that come with cooperative matrices.
const COOPERATIVE_BYTES: u32 = 32768;
/// Bytes of workgroup memory on a processor.
const PROCESSOR_BYTES: u32 = 1 << 20;

/// What has been found valid: text, geometry and features.
type Known = HashSet<(String, [u32; 3], Features)>;

/// The layers of a model are alike, and so are their kernels. Validating a module takes a millisecond, and a model has
/// hundreds.
static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// Modules that are remembered: a few megabytes of text.
const MOST_KNOWN: usize = 512;

/// Parses and validates a module, and checks its entry point `main` against the geometry and WebGPU's limits. What is valid is
/// remembered.
pub(crate) fn validate(
    family: &'static str,
    source: &str,
    workgroup_size: [u32; 3],
    features: Features,
) -> Result<(), CodegenError> {
    let key = (source.to_owned(), workgroup_size, features);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known().as_ref().is_some_and(|known| known.contains(&key)) {
        return Ok(());
    }
    validate_anew(family, source, workgroup_size, features)?;
    let mut known = known();
    let known = known.get_or_insert_default();
    if known.len() >= MOST_KNOWN {
        known.clear();
    }
    known.insert(key);
    Ok(())
}

fn validate_anew(
    family: &'static str,
    source: &str,
    workgroup_size: [u32; 3],
    features: Features,
) -> Result<(), CodegenError> {
    let invalid = |message: String| CodegenError::Invalid { family, message };
    let module =
        naga::front::wgsl::parse_str(source).map_err(|error| invalid(error.emit_to_string(source)))?;
    // `unpack2x16float` belongs to WGSL itself; naga asks because old OpenGL lacks it.
    let mut validator = match features {
        Features::None | Features::Processor => {
            Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32)
        }
        Features::Subgroups | Features::CooperativeMatrix => {
            let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SUBGROUP;
            if features == Features::CooperativeMatrix {
                capabilities |= Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16;
            }
            let mut validator = Validator::new(ValidationFlags::all(), capabilities);
            validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
            validator
        }
    };
    validator.validate(&module).map_err(|error| invalid(error.emit_to_string(source)))?;
    let entry = module.entry_points.iter().find(|entry| entry.name == "main");
    match entry {
        None => return Err(invalid("there is no entry point `main`".into())),
        Some(entry) if entry.workgroup_size != workgroup_size => {
            return Err(invalid(format!(
                "workgroup size {:?}, declared {workgroup_size:?}",
                entry.workgroup_size
            )));
        }
        Some(_) => {}
    }
    let mut bytes = 0u32;
    for (_, variable) in module.global_variables.iter() {
        if variable.space == naga::AddressSpace::WorkGroup {
            // Every variable is padded to 16 bytes, as WebGPU counts it.
            bytes += module.types[variable.ty].inner.size(module.to_ctx()).next_multiple_of(16);
        }
    }
    let most = match features {
        Features::Processor => PROCESSOR_BYTES,
        Features::CooperativeMatrix => COOPERATIVE_BYTES,
        Features::None | Features::Subgroups => limits::WORKGROUP_BYTES,
    };
    if bytes > most {
        return Err(invalid(format!("{bytes} bytes of workgroup memory")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_the_text_with_its_geometry_and_features() {
        let module = |size: u32| {
            format!(
                "var<workgroup> memory: array<u32, {size}>;\n\
                 @compute @workgroup_size(8) fn main() {{ memory[0] = 1u; }}"
            )
        };
        for _ in 0..2 {
            assert_eq!(validate("test", &module(4096), [8, 1, 1], Features::None), Ok(()));
            assert!(validate("test", &module(4096), [4, 1, 1], Features::None).is_err());
            assert!(validate("test", &module(4097), [8, 1, 1], Features::None).is_err());
            assert_eq!(validate("test", &module(4097), [8, 1, 1], Features::Processor), Ok(()));
            assert!(validate("test", "fn main() {", [8, 1, 1], Features::None).is_err());
        }
    }
}
