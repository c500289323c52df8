//! The tokenizer's table: what it says is done, and a table made to do harm does none. (That results are those of the
//! `tokenizers` crate is tested where tables are made: `compiler/tests/tokenizer`.)
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Instant;

use qwenc_runtime::tokenizer::{
    AddedDraft, Detokenizer, Pattern, TableDraft, TableError, TokenDraft, Tokenizer,
};

/// Ids 0 to 255 are the bytes; then `ab`, `abc`, ` a`, and an id for nothing; special `<s>` and plain `<p>`.
fn draft() -> TableDraft {
    let token = |bytes: &[u8]| Some(TokenDraft { bytes: bytes.to_vec(), ..TokenDraft::default() });
    let mut tokens: Vec<_> = (0_u8..=255).map(|byte| token(&[byte])).collect();
    tokens.extend([token(b"ab"), token(b"abc"), token(b" a"), None]);
    tokens.push(Some(TokenDraft { bytes: b"<s>".to_vec(), special: true, whole: false }));
    tokens.push(token(b"<p>"));
    let added = |id, text: &str| AddedDraft {
        id,
        text: text.into(),
        lstrip: false,
        rstrip: false,
        normalized: false,
    };
    let byte = u32::from;
    TableDraft {
        pattern: Pattern::Qwen35,
        nfc: true,
        tokens,
        byte_ids: std::array::from_fn(|byte| u32::try_from(byte).unwrap()),
        merges: vec![[byte(b'a'), byte(b'b'), 256], [256, byte(b'c'), 257], [byte(b' '), byte(b'a'), 258]],
        added: vec![added(260, "<s>"), added(261, "<p>")],
    }
}

fn refused(change: impl FnOnce(&mut TableDraft)) -> String {
    let mut draft = draft();
    change(&mut draft);
    let error = draft.to_bytes().unwrap_err().to_string();
    assert!(error.starts_with("tokenizer.bin: ") && error.len() < 200, "{error}");
    error
}

/// Uses everything of a tokenizer.
fn exercise(tokenizer: &Tokenizer) {
    for text in ["", "abc abc<s>ab<p> a", "é e\u{301}\u{0}\r\n\r\n   x 12 'S", &"ab".repeat(100)] {
        let ids = tokenizer.encode(text);
        assert!(ids.len() <= text.len() * 2);
        let _ = tokenizer.decode(&ids, true);
        let mut detokenizer = Detokenizer::new(false);
        for id in ids.into_iter().chain([0, 255, 300, u32::MAX, tokenizer.id_bound()]) {
            let _ = (detokenizer.push(tokenizer, id), tokenizer.id_to_bytes(id), tokenizer.is_special(id));
        }
        let _ = (detokenizer.finish(), tokenizer.token_to_id(text), tokenizer.facts());
    }
}

#[test]
fn what_the_table_says() {
    let tokenizer = Tokenizer::from_bytes(&draft().to_bytes().unwrap()).unwrap();
    assert_eq!(tokenizer.encode("abc a<s>abx<p>"), [257, 258, 260, 256, 120, 261]);
    assert_eq!(tokenizer.encode("<s"), [60, 115]);
    // NFC: the two bytes of é.
    assert_eq!(tokenizer.encode("e\u{301}"), [0xC3, 0xA9]);
    assert_eq!(tokenizer.decode(&[257, 260, 261, 259, 999], false), "abc<s><p>");
    assert_eq!(tokenizer.decode(&[257, 260, 261], true), "abc<p>");
    assert_eq!(tokenizer.token_to_id("<s>"), Some(260));
    assert_eq!(tokenizer.token_to_id(" a"), Some(258));
    assert_eq!((tokenizer.token_to_id("zz"), tokenizer.token_to_id("")), (None, None));
    assert_eq!(tokenizer.id_to_bytes(258), Some(&b" a"[..]));
    assert_eq!((tokenizer.id_to_bytes(259), tokenizer.id_bound()), (None, 262));
    let facts = tokenizer.facts();
    assert_eq!((facts.tokens, facts.merges, facts.added, facts.nfc), (261, 3, 2, true));
    exercise(&tokenizer);
}

/// A word of a token's bytes whose merges do not give the token is not the token, unless the draft says so.
#[test]
fn tokens_that_no_merges_reach() {
    let mut draft = draft();
    draft.merges.remove(1);
    let encode =
        |draft: &TableDraft| Tokenizer::from_bytes(&draft.to_bytes().unwrap()).unwrap().encode("abc");
    assert_eq!(encode(&draft), [256, u32::from(b'c')]);
    draft.tokens[257].as_mut().unwrap().whole = true;
    assert_eq!(encode(&draft), [257]);
}

/// All ways to put three bytes of every kind together, one at a time and at once.
#[test]
fn streaming_gives_what_decoding_gives() {
    let tokenizer = Tokenizer::from_bytes(&draft().to_bytes().unwrap()).unwrap();
    let kinds = [
        0x41, 0x80, 0xBF, 0xC0, 0xC3, 0xE0, 0xE2, 0xED, 0xA0, 0x82, 0xAC, 0xF0, 0x9F, 0x98, 0xF4, 0x90, 0xFF,
        260,
    ];
    let mut ids = [0; 5];
    for number in 0..kinds.len().pow(4) {
        let mut rest = number;
        for id in &mut ids[..4] {
            *id = kinds[rest % kinds.len()];
            rest /= kinds.len();
        }
        ids[4] = kinds[number % 7];
        for skip in [false, true] {
            let mut detokenizer = Detokenizer::new(skip);
            let mut text = String::new();
            for id in ids {
                text += &detokenizer.push(&tokenizer, id);
                // What is given is final: nothing is held back that is complete.
                assert!(tokenizer.decode(&ids, skip).starts_with(&text));
            }
            text += &detokenizer.finish();
            assert_eq!(text, tokenizer.decode(&ids, skip), "{ids:?}");
        }
    }
}

#[test]
fn tables_that_say_what_no_table_may() {
    assert!(refused(|draft| draft.merges[1][2] = 259).contains("merge 1 has an id that stands for nothing"));
    assert!(refused(|draft| draft.merges[0][0] = u32::MAX).contains("merge 0"));
    assert!(refused(|draft| draft.byte_ids[7] = 8).contains("byte 7"));
    assert!(refused(|draft| draft.tokens[9] = None).contains("byte 9"));
    assert!(refused(|draft| draft.added[0].id = 262).contains("added token 0"));
    assert!(refused(|draft| draft.added[1].text.clear()).contains("added token 1 is empty"));
    assert!(refused(|draft| draft.added[1].text = "<s>".into()).contains("has the text of another one"));
    assert!(
        refused(|draft| draft.tokens[256].as_mut().unwrap().bytes = vec![0; 1 << 16])
            .contains("bytes of a token")
    );
    assert!(refused(|draft| draft.tokens.resize((1 << 20) + 1, None)).contains("1048577 tokens"));
    assert!(refused(|draft| draft.merges = vec![[1, 1, 1]; (1 << 20) + 1]).contains("1048577 merges"));
    // Pairs that are the same fall together.
    assert!(refused(|draft| draft.merges = vec![[1, 1, 1]; 100]).contains("fall together"));
    let same = |draft: &mut TableDraft| draft.tokens.extend(vec![draft.tokens[256].clone(); 100]);
    assert!(refused(same).contains("fall together"));
}

#[test]
fn headers_that_lie() {
    let good = draft().to_bytes().unwrap();
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Tokenizer::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 7), TableError::NoTable);
    assert_eq!(with(4, 2), TableError::Version { found: 2, expected: 1 });
    assert!(matches!(with(8, 3), TableError::Invalid { .. }));
    assert!(matches!(with(12, 2), TableError::Invalid { .. }));
    for at in [16, 20, 24, 28, 32] {
        assert!(matches!(with(at, u32::MAX), TableError::TooMany { .. }), "{at}");
        assert!(matches!(with(at, 0), TableError::Size { .. }), "{at}");
        assert!(matches!(with(at, 300), TableError::Size { .. }), "{at}");
    }
    assert_eq!(Tokenizer::from_bytes(&[]).unwrap_err(), TableError::NoTable);
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(Tokenizer::from_bytes(&longer), Err(TableError::Size { .. })));
    for length in 0..good.len() {
        let error = Tokenizer::from_bytes(&good[..length]).unwrap_err();
        assert!(matches!(error, TableError::NoTable | TableError::Size { .. }), "{length}");
    }
}

/// Every byte of a table, and pairs of them, changed to what hurts: it is refused, or it is used without a panic.
#[test]
fn tables_with_damage() {
    let good = draft().to_bytes().unwrap();
    let (mut used, mut state) = (0, 1_u64);
    let mut check = |bytes: &[u8]| {
        if let Ok(tokenizer) = Tokenizer::from_bytes(bytes) {
            used += 1;
            exercise(&tokenizer);
        }
    };
    for at in 0..good.len() {
        for value in [0, 1, 2, 0x7F, 0x80, 0xFF, good[at] ^ 1, good[at].wrapping_add(1)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            check(&bytes);
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let other = usize::try_from(state >> 33).unwrap() % good.len();
            bytes[other] = value.wrapping_sub(1);
            check(&bytes);
        }
    }
    // Not all damage can be told from a tokenizer: a merge may lead to any token.
    assert!(used > 100, "{used}");
}

/// Words that merge to the end, and long words that merge in the worst order, in no quadratic time.
#[test]
fn a_megabyte_without_a_space() {
    let mut draft = draft();
    // a a -> aa -> aaaa ..
    let mut left = u32::from(b'a');
    for power in 1..16 {
        let id = u32::try_from(draft.tokens.len()).unwrap();
        draft
            .tokens
            .push(Some(TokenDraft { bytes: vec![b'a'; 1 << power.min(15)], ..TokenDraft::default() }));
        draft.merges.push([left, left, id]);
        left = id;
    }
    let tokenizer = Tokenizer::from_bytes(&draft.to_bytes().unwrap()).unwrap();
    let start = Instant::now();
    assert_eq!(tokenizer.encode(&"a".repeat(1 << 20)), vec![left; 1 << 5]);
    assert_eq!(tokenizer.encode(&"<".repeat(1 << 20)).len(), 1 << 20);
    assert_eq!(tokenizer.encode(&"\u{301}\u{323}".repeat(1 << 18)).len(), 1 << 20);
    // A quadratic method takes hours.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
