//! `src/tokenizer/native/unicode_tables.rs` is made by this test, from the regular expressions and the normalizer of the
//! `tokenizers` crate: `QWENC_UPDATE_UNICODE=1 cargo test -p qwenc-runtime --test unicode_tables`. Without the variable
//! it fails when file and crate disagree, about any character. `runtime/web/src/tokenizer/unicode.js` has the same for browsers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;

use tokenizers::normalizers::NFC;
use tokenizers::tokenizer::pattern::Pattern;
use tokenizers::utils::SysRegex;
use tokenizers::{NormalizedString, Normalizer};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::decompose_canonical;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tokenizer/native/unicode_tables.rs");
const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web/src/tokenizer/unicode.js");

fn every_char() -> impl Iterator<Item = char> {
    '\0'..=char::MAX
}

/// The characters of which `expression` matches one.
fn members(all: &str, expression: &str) -> Vec<char> {
    let regex = SysRegex::new(expression).unwrap();
    let found = (&regex).find_matches(all).unwrap();
    found
        .into_iter()
        .filter(|(_, is_match)| *is_match)
        .flat_map(|((start, end), _)| all[start..end].chars())
        .collect()
}

/// Where the class changes: code point * 8 + class.
fn classes() -> Vec<u32> {
    let all: String = every_char().collect();
    let mut classes = vec![0_u32; 0x11_0000];
    for (class, expression) in [(1, r"\p{L}+"), (2, r"\p{M}+"), (3, r"\p{N}+"), (4, r"\s+")] {
        for member in members(&all, expression) {
            assert_eq!(
                std::mem::replace(&mut classes[member as usize], class),
                0,
                "{member:?} is in two classes"
            );
        }
    }
    let changes = (0..0x11_0000).filter(|code| *code == 0 || classes[*code - 1] != classes[*code]);
    changes.map(|code| u32::try_from(code).unwrap() * 8 + classes[code]).collect()
}

fn reference_nfc(text: &str) -> String {
    let mut text = NormalizedString::from(text);
    NFC.normalize(&mut text).unwrap();
    text.get().to_owned()
}

/// Characters that take part in today's normalization and not in the reference's.
fn younger() -> Vec<(char, char)> {
    let differs = |text: String| text.nfc().collect::<String>() != reference_nfc(&text);
    let mut composes = std::collections::BTreeSet::new();
    let mut out: Vec<(char, char)> = Vec::new();
    let mut add = |c: char| match out.last_mut() {
        Some((_, last)) if (*last as u32) + 1 == c as u32 => *last = c,
        _ => out.push((c, c)),
    };
    for c in every_char() {
        // By itself; in an order that any combining class would change; what younger ones are composed of.
        let mut parts = Vec::new();
        decompose_canonical(c, |part| parts.push(part));
        if parts.len() > 1 && differs(parts.iter().collect()) {
            // What it begins with is as young as itself: a composition of older characters would not be younger.
            composes.extend([c, parts[0]]);
        }
    }
    for c in every_char() {
        if differs(c.to_string()) || differs(format!("a\u{345}{c}\u{334}")) || composes.contains(&c) {
            add(c);
        }
    }
    out
}

/// Runs of characters: a letter for what they are, and how many there are in base 36; no number for one.
fn runs(changes: &[(u32, char)]) -> String {
    let ends = changes.iter().map(|(start, _)| *start).skip(1).chain([0x11_0000]);
    let run = |((start, letter), end): (&(u32, char), u32)| {
        let mut rest = end - start;
        let mut digits = Vec::new();
        while rest > 0 {
            digits.push(char::from_digit(rest % 36, 36).unwrap());
            rest /= 36;
        }
        let digits: String = digits.into_iter().rev().collect();
        format!("{letter}{}", if digits == "1" { "" } else { &digits })
    };
    changes.iter().zip(ends).map(run).collect()
}

fn browser(classes: &[u32], younger: &[(char, char)]) -> String {
    let letters = ['O', 'L', 'M', 'N', 'S'];
    let classes: Vec<_> = classes.iter().map(|it| (it >> 3, letters[(it & 7) as usize])).collect();
    let mut changes = vec![(0, 'O')];
    changes.extend(younger.iter().flat_map(|(first, last)| [(*first as u32, 'Y'), (*last as u32 + 1, 'O')]));
    format!(
        "// Unicode, as the `tokenizers` crate has it: other versions of browsers have other versions of it. Made by\n\
         // `runtime/tests/unicode_tables.rs`; not to be edited. All characters in runs: a letter, and in base 36 how many, where not one.\n\n\
         /** Their classes: other, letter, mark, number, space. */\n\
         export const CLASSES =\n  '{}';\n\n\
         /** Those that take part in normalization today and not in Unicode 9. */\n\
         export const YOUNGER =\n  '{}';\n",
        runs(&classes),
        runs(&changes)
    )
}

/// Holds a file to what it should be, or writes it.
fn hold(file: &str, text: &str) {
    if std::env::var_os("QWENC_UPDATE_UNICODE").is_some() {
        std::fs::write(file, text).unwrap();
    } else {
        assert!(std::fs::read_to_string(file).unwrap() == text, "{file} is not what the reference says");
    }
}

#[test]
fn the_tables_are_those_of_the_reference() {
    let mut text = String::from(
        "//! Unicode, as the `tokenizers` crate has it. Made by `tests/unicode_tables.rs`; not to be edited.\n\n\
         /// Where the class of characters changes: code point * 8 + class (0 other, 1 letter, 2 mark, 3 number, 4 space).\n\
         #[rustfmt::skip]\npub(super) const CLASSES: &[u32] = &[",
    );
    let (classes, younger) = (classes(), younger());
    for (index, change) in classes.iter().enumerate() {
        text += if index % 12 == 0 { "\n    " } else { " " };
        write!(text, "{change:#x},").unwrap();
    }
    text += "\n];\n\n\
             /// Characters, first and last, that take part in normalization today and not in Unicode 9.\n\
             #[rustfmt::skip]\npub(super) const YOUNGER: &[(char, char)] = &[";
    for (index, (first, last)) in younger.iter().enumerate() {
        text += if index % 4 == 0 { "\n    " } else { " " };
        write!(text, "('\\u{{{:x}}}', '\\u{{{:x}}}'),", *first as u32, *last as u32).unwrap();
    }
    text += "\n];\n";
    hold(FILE, &text);
    hold(BROWSER, &browser(&classes, &younger));
}
