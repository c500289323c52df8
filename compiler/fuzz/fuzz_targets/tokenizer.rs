//! The tokenizer's table: any bytes are a table or an error, and a table that is read encodes and decodes any text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qwenc_runtime::tokenizer::{Detokenizer, Tokenizer};

const TEXTS: [&str; 3] = [
    "It's 12 o'clock.\r\n\r\n  <|im_start|>user\n\u{2014} e\u{301}\u{323}",
    "人人生而自由 हिन्दी 👩\u{200D}🚀",
    "",
];

fuzz_target!(|data: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_bytes(data) else { return };
    // The table's own tokens, as a text: words of it are then found.
    let own = String::from_utf8_lossy(data);
    let end = own.floor_char_boundary(4096);
    for text in TEXTS.into_iter().chain([&own[..end]]) {
        let ids = tokenizer.encode(text);
        for skip in [false, true] {
            let mut detokenizer = Detokenizer::new(skip);
            let mut streamed: String = ids.iter().map(|id| detokenizer.push(&tokenizer, *id)).collect();
            streamed += &detokenizer.finish();
            assert_eq!(streamed, tokenizer.decode(&ids, skip));
        }
        let _ = tokenizer.token_to_id(text);
    }
});
