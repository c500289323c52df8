//! What a browser brings already, and the module need not: tables of Unicode, and decimal digits of floats.

#[cfg(not(target_arch = "wasm32"))]
mod own {
    use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

    /// The text is in normalization form C; not all that is so is seen to be.
    pub(crate) fn is_nfc(text: &str) -> bool {
        is_nfc_quick(text.chars()) == IsNormalized::Yes
    }

    /// The text in normalization form C.
    pub(crate) fn nfc(text: &str) -> String {
        text.nfc().collect()
    }

    /// A float for people: few digits, for it is one of single precision.
    pub(crate) fn short(value: f32) -> String {
        value.to_string()
    }

    /// What the system says.
    pub(crate) fn words(error: &std::io::Error) -> String {
        error.to_string()
    }

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

    // Functions of prototypes, called with the value that they are of.
    #[wasm_bindgen]
    extern "C" {
        #[wasm_bindgen(js_namespace = ["Number", "prototype", "toPrecision"], js_name = call)]
        fn to_precision(value: f32, digits: u32) -> String;
        #[wasm_bindgen(js_name = Number)]
        fn number(text: &str) -> f64;
    }

    /// A float for people, to the digits that single precision has.
    pub(crate) fn short(value: f32) -> String {
        let digits = to_precision(value, 7);
        let plain = digits.contains('.') && !digits.contains('e');
        let short = if plain { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
        short.to_owned()
    }

    /// There are no files that could fail: what is read lies in memory.
    pub(crate) fn words(_: &std::io::Error) -> String {
        "it cannot be read".to_owned()
    }

    /// A number in JSON's notation.
    pub(crate) fn parse_float(text: &str) -> Option<f64> {
        Some(number(text)).filter(|value| !value.is_nan())
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use own::{is_nfc, nfc};
#[cfg(all(feature = "chat", not(target_arch = "wasm32")))]
pub(crate) use own::{lower, scientific, upper};
pub(crate) use own::{parse_float, short, words};
