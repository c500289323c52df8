//! What a browser brings already, and the module need not: tables of Unicode, and decimal digits of floats.

#[cfg(not(target_arch = "wasm32"))]
mod own {
    /// `str::to_lowercase`
    pub(crate) fn lower(text: &str) -> String {
        text.to_lowercase()
    }

    /// `str::to_uppercase`
    pub(crate) fn upper(text: &str) -> String {
        text.to_uppercase()
    }

    /// The shortest digits that read back, with an exponent: `1.5e-5`.
    pub(crate) fn scientific(value: f64) -> String {
        format!("{value:e}")
    }

    /// A number in JSON's or Rust's notation.
    pub(crate) fn parse_float(text: &str) -> Option<f64> {
        text.parse().ok()
    }
}

#[cfg(target_arch = "wasm32")]
mod own {
    use wasm_bindgen::prelude::*;

    #[wasm_bindgen(inline_js = "export const lower = (t) => t.toLowerCase(); \
                                export const upper = (t) => t.toUpperCase(); \
                                export const scientific = (v) => v.toExponential().replace('+', ''); \
                                export const number = (t) => Number(t);")]
    extern "C" {
        pub(crate) fn lower(text: &str) -> String;
        pub(crate) fn upper(text: &str) -> String;
        pub(crate) fn scientific(value: f64) -> String;
        fn number(text: &str) -> f64;
    }

    /// A number in JSON's notation.
    pub(crate) fn parse_float(text: &str) -> Option<f64> {
        Some(number(text)).filter(|value| !value.is_nan())
    }
}

pub(crate) use own::{lower, parse_float, scientific, upper};
