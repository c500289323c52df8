//! Trying a table: it and the `tokenizers` crate must agree on every probe.

use qwenc_runtime::tokenizer::Tokenizer;

use super::shown;

/// Texts that each rule of the supported tokenizers has a say in.
const PROBES: [&str; 24] = [
    "Hello, world! It's 2024; we've said: don't. THEY'LL'VE 'S 'ſ",
    "  leading,  double   triple    spaces \t tabs\t\t and trailing   ",
    "lines\nof\r\ntext\n\n\n  indented\n \n\r\r\n",
    "fn main() {\n    println!(\"{:?}\", x[0..=9]); // comment\n}\n",
    "https://example.org/a_b?c=d&e=%20#f  a@b.c  C++ C# $1,234.56 -1e-9",
    "café cafe\u{301} Å A\u{30A} ﬁ \u{1E69} s\u{323}\u{307} s\u{307}\u{323}",
    "你好，世界。日本語のテキスト、한국어 텍스트 \u{1112}\u{1161}\u{11AB}",
    "हिन्दी में लिखा हुआ पाठ বাংলা தமிழ் ไทย ກາສາລາວ",
    "עִבְרִית مَرْحَبًا بِالعَالَم ١٢٣ ۴۵۶ ४५६",
    "Ελληνικά Русский Հայերեն ქართული አማርኛ",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ☺︎",
    "½ ² Ⅷ ㊿ 𝟙𝟚 ٠ 𑁦",
    "\u{A0}nbsp\u{2003}em\u{3000}wide\u{200B}zero\u{85}nel\u{2028}line\u{2029}par\u{FEFF}bom",
    "\0\u{1}\u{7F}\u{80}\u{9F}\u{FFFD}\u{10FFFF}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "................................................................................................",
    "\u{301}mark first \u{93E}\u{94D}",
    "a\u{345}\u{334}b \u{11935}\u{11930} \u{1E900}\u{1E94A}",
    "x=1;y=2\t#\u{FE0F}\u{20E3}",
    "'",
    "''s't",
    " ",
    "\n",
    "",
];

/// Compares the two; an error names the probe.
pub(super) fn compare(compiled: &Tokenizer, reference: &tokenizers::Tokenizer) -> Result<(), String> {
    let mut added: Vec<_> = reference.get_added_tokens_decoder().into_iter().collect();
    added.sort_unstable_by_key(|(id, _)| *id);
    let around = added.iter().map(|(_, token)| format!("a {0}{0}\n {0} b", token.content));
    for text in PROBES.into_iter().map(str::to_string).chain(around) {
        let expected =
            reference.encode(text.as_str(), true).map_err(|problem| shown(&problem.to_string()))?;
        let expected = expected.get_ids();
        let found = compiled.encode(&text);
        if found != expected {
            let place = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
            return Err(format!(
                "the compiled tokenizer encodes {} other than the tokenizers library, from token {place} on; \
                 this is a bug in qwenc, please report it with the file",
                shown(&text)
            ));
        }
        for skip in [false, true] {
            let expected = reference.decode(expected, skip).map_err(|problem| shown(&problem.to_string()))?;
            if compiled.decode(&found, skip) != expected {
                return Err(format!(
                    "the compiled tokenizer decodes the tokens of {} other than the tokenizers library; \
                     this is a bug in qwenc, please report it with the file",
                    shown(&text)
                ));
            }
        }
    }
    Ok(())
}
