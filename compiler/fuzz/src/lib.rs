//! What the fuzz targets share: mutations that keep the structure of their input, so that the fuzzer spends its time
//! behind the parsers, and the form in which a bundle is one input.
//!
//! `cargo xtask fuzz TARGET [SECONDS]` builds and runs a target; `docs/security.md` says what each of them checks.

pub mod json;
pub mod model;
pub mod pack;
pub mod rng;
