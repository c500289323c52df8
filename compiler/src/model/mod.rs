//! From a path to a graph: which files make up a model, how a decoder's inputs are bound, and how its graph is cut into
//! entry points.

pub mod assets;
pub mod config;
pub mod decoder;
pub mod entries;
pub mod files;
pub mod image_merge;
pub mod load;
pub mod rope_tables;
mod single;
pub mod transform;
pub mod variant;
