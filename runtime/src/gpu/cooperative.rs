//! Cooperative matrices: what wgpu calls the matrix cores of a GPU, and still an experiment of its.

/// What kernels for matrix cores use.
pub(super) const FEATURES: wgpu::Features = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
    .union(wgpu::Features::SHADER_F16)
    .union(wgpu::Features::SUBGROUP);

/// Rows and columns of a matrix.
const SIDE: u32 = 16;
/// Invocations of a subgroup.
const SUBGROUP: u32 = 32;
/// Bytes of workgroup memory.
pub(super) const WORKGROUP_BYTES: u32 = 32768;

/// Whether an adapter has the matrices that bundles use: 16 x 16, products of 16-bit floats added in 32 bits, of subgroups of 32.
pub(super) fn is_supported(adapter: &wgpu::Adapter) -> bool {
    let info = adapter.get_info();
    adapter.features().contains(FEATURES)
        && (info.subgroup_min_size, info.subgroup_max_size) == (SUBGROUP, SUBGROUP)
        && adapter.limits().max_compute_workgroup_storage_size >= WORKGROUP_BYTES
        && adapter.cooperative_matrix_properties().iter().any(|it| {
            [it.m_size, it.n_size, it.k_size] == [SIDE; 3]
                && it.ab_type == wgpu::CooperativeScalarType::F16
                && it.cr_type == wgpu::CooperativeScalarType::F32
                && !it.saturating_accumulation
        })
}

/// wgpu's permission for what is still an experiment, when `features` have any.
pub(super) fn experimental(features: wgpu::Features) -> wgpu::ExperimentalFeatures {
    if !features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return wgpu::ExperimentalFeatures::disabled();
    }
    // SAFETY: wgpu asks callers to know that experiments may have bugs which its validation does not catch. The only modules that
    // use this one come from bundles that were compiled for it, and pass naga's validation.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
