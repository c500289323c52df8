//! Texts to compare tokenizers on: seeded, the same in every run.

use super::vocabulary::workspace;

/// xorshift64*.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn char(&mut self, ranges: &[(u32, u32)]) -> char {
        loop {
            let (first, last) = *self.pick(ranges);
            let code = first + u32::try_from(self.below((last - first + 1) as usize)).unwrap();
            if let Some(c) = char::from_u32(code) {
                return c;
            }
        }
    }
}

/// Files of the workspace: prose, code, tables, JSON.
const FILES: [&str; 10] = [
    "README.md",
    "docs/architecture.md",
    "docs/operators.md",
    "docs/bundle.schema.json",
    "LICENSE-APACHE",
    "compiler/src/pipeline.rs",
    "ir/src/dim.rs",
    "codegen-wgsl/templates/linear_gemv.wgsl",
    "models/scripts/make_model.py",
    "models/scripts/make_genai.sh",
];

/// Sentences in many scripts: the first article of the Universal Declaration of Human Rights, and words.
const SENTENCES: [&str; 36] = [
    "All human beings are born free and equal in dignity and rights. They're endowed with reason.",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.",
    "మానవులందరు పుట్టుకతో స్వతంత్రులు.",
    "എല്ലാ മനുഷ്യരും സ്വതന്ത്രരായി ജനിക്കുന്നു.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "ມະນຸດທຸກຄົນເກີດມາມີສິດເສລີພາບ",
    "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း",
    "មនុស្សទាំងអស់កើតមកមានសេរីភាព",
    "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. وقد وُهِبُوا عقلاً وضميرًا",
    "تمام افراد بشر آزاد به دنیا می‌آیند و حیثیت و حقوقشان با هم برابر است.",
    "כל בני האדם נולדו בני חורין ושווים בערכם. בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "Բոլոր մարդիկ ծնվում են ազատ ու հավասար",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი",
    "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Straße, Ärger, GRÖẞE",
    "Tous les êtres humains naissent libres et égaux. L'été, c'est aujourd'hui: qu'est-ce?",
    "Todos los seres humanos nacen libres e iguales. ¿Dónde está el niño? ¡Aquí!",
    "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İIıi",
    "Allir menn eru bornir frjálsir og jafnir. Þetta er ekki rétt, sagði hún.",
    "O ka hānau kū'okoa 'ia nā kānaka apau loa; don't, won't, I'd, we'll, they've, you're, I'm, it's",
    "DON'T WON'T I'D WE'LL THEY'VE YOU'RE I'M IT'S 'Re 'vE 'lL 'Ve it'ſ it’s",
    "let x: Vec<_> = (0..10).map(|i| i * 2).collect(); assert_eq!(x.len(), 10); // ok?",
    "SELECT * FROM t WHERE a >= 3.14 AND b <> 'it''s' ORDER BY c DESC; -- comment",
    "{\"key\": [1, 2.50, -3e+10, null], \"nested\": {\"a\\n\": \"\\u00e9\"}}",
    "\\frac{\\partial f}{\\partial x} = \\sum_{i=0}^{n} x_i^2 \\leq \\infty",
    "192.168.0.1:8080 2024-02-29T23:59:60Z +49 (0)30 123456 0xDEADBEEF 1_000_000 50% #42 @user",
];

const CONTRACTIONS: [&str; 18] =
    ["s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "M", "lL", "D", "ſ", "rE", "l", "r"];

const EMOJI: [&str; 20] = [
    "😀",
    "👍🏽",
    "👩‍👩‍👧‍👦",
    "🧑🏿‍🚀",
    "❤️",
    "❤",
    "🏳️‍🌈",
    "🇩🇪",
    "🇫🇷🇯🇵",
    "🇦",
    "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "1️⃣",
    "#️⃣",
    "☺︎",
    "👨‍❤️‍💋‍👨",
    "🏽",
    "\u{200D}",
    "\u{FE0F}",
    "🫨",
    "🪿",
];

const SPACES: [&str; 24] = [
    " ", " ", " ", "  ", "    ", "\t", "\n", "\n", "\r\n", "\r", "\n\n", "\u{B}", "\u{C}", "\u{85}",
    "\u{A0}", "\u{1680}", "\u{2003}", "\u{2028}", "\u{2029}", "\u{202F}", "\u{205F}", "\u{3000}", "\u{200B}",
    "\u{FEFF}",
];

const SPECIAL: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_end|",
    "<|",
    "|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call",
    "<|image_pad|>",
    "<|vision_start|>",
    "<<|im_end|>>",
    "<|IM_END|>",
];

/// Letters of Latin and Greek, Vietnamese vowels, jamo, and Indic vowels, with marks that compose with some of them.
const BASES: &[(u32, u32)] = &[
    (0x41, 0x7A),
    (0xC0, 0x17F),
    (0x370, 0x3FF),
    (0x400, 0x45F),
    (0x1E00, 0x1EFF),
    (0x1F00, 0x1FFF),
    (0x5D0, 0x5EA),
    (0x621, 0x64A),
    (0x905, 0x939),
    (0x9C7, 0x9C7),
    (0xB47, 0xB47),
    (0xBC6, 0xBC7),
    (0x3042, 0x30FF),
    (0x1100, 0x1112),
    (0xAC00, 0xD7A3),
    (0x212A, 0x212B),
    (0xF900, 0xFA6A),
    (0x2F800, 0x2FA1D),
    (0x1D15E, 0x1D164),
    (0x11935, 0x11938),
    (0x105D2, 0x105DA),
    (0x16D63, 0x16D6A),
    (0x1E900, 0x1E943),
];
const MARKS: &[(u32, u32)] = &[
    (0x300, 0x36F),
    (0x300, 0x345),
    (0x483, 0x487),
    (0x591, 0x5C7),
    (0x610, 0x61A),
    (0x64B, 0x65F),
    (0x93C, 0x94D),
    (0x9BC, 0x9D7),
    (0xB3E, 0xB57),
    (0xBBE, 0xBD7),
    (0x1161, 0x1175),
    (0x11A7, 0x11C2),
    (0x3099, 0x309A),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20F0),
    (0x7EB, 0x7FD),
    (0x8CA, 0x8FF),
    (0x1AB0, 0x1ACE),
    (0xFE20, 0xFE2F),
    (0x11930, 0x11930),
    (0x10EAB, 0x10EFF),
    (0x1E8D0, 0x1E94A),
    (0x1D165, 0x1D172),
];

/// Digits and numbers of every kind.
const NUMBERS: &[(u32, u32)] = &[
    (0x30, 0x39),
    (0x30, 0x39),
    (0xB2, 0xB3),
    (0xBC, 0xBE),
    (0x660, 0x669),
    (0x6F0, 0x6F9),
    (0x966, 0x96F),
    (0x9E6, 0x9EF),
    (0xE50, 0xE59),
    (0x2150, 0x2189),
    (0x2460, 0x249B),
    (0x3007, 0x3007),
    (0x3021, 0x3029),
    (0xFF10, 0xFF19),
    (0x1D7CE, 0x1D7FF),
    (0x10107, 0x10133),
    (0x1F100, 0x1F10C),
    (0x12400, 0x12431),
];

/// Where characters lie thick.
const PLANES: &[(u32, u32)] = &[
    (0, 0x7F),
    (0, 0x24F),
    (0x250, 0x1FFF),
    (0x2000, 0x2BFF),
    (0x2C00, 0xABFF),
    (0xE000, 0xFFFF),
    (0x10000, 0x1FFFF),
    (0x20000, 0x323AF),
    (0xE0000, 0xE01EF),
    (0, 0x10_FFFF),
];

const PUNCTUATION: &[(u32, u32)] = &[
    (0x21, 0x2F),
    (0x3A, 0x40),
    (0x5B, 0x60),
    (0x7B, 0x7E),
    (0xA1, 0xBF),
    (0x2010, 0x2027),
    (0x3001, 0x3011),
];

/// Makes texts.
pub(crate) struct Corpus {
    files: Vec<String>,
}

impl Corpus {
    pub(crate) fn new() -> Self {
        let read =
            |path: &str| std::fs::read_to_string(workspace(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        Self { files: FILES.into_iter().map(read).collect() }
    }

    /// The text of this number.
    pub(crate) fn text(&self, number: u64) -> String {
        let mut rng = Rng::new(number);
        match number % 12 {
            0 | 1 => {
                let file = rng.pick(&self.files).as_str();
                let length = 20 + rng.below(200);
                cut(file, rng.below(file.len()), length).to_string()
            }
            2 => {
                let (a, b) = (*rng.pick(&SENTENCES), *rng.pick(&SENTENCES));
                format!("{}{}{}", a, rng.pick(&SPACES), cut(b, rng.below(b.len()), 40))
            }
            3 => decomposed(rng.pick::<&str>(&SENTENCES)),
            4 => {
                pieces(&mut rng, |rng| format!("{}{}", rng.pick(&EMOJI), rng.pick(&["", "", " ", "a", "\n"])))
            }
            5 => pieces(&mut rng, |rng| {
                let spaces: String = (0..rng.below(4)).map(|_| *rng.pick(&SPACES)).collect();
                format!("{spaces}{}", rng.pick(&["", "a", "x1", "é", ".", "'s", "中", "9", "\u{301}"]))
            }),
            6 => pieces(&mut rng, |rng| {
                let marks: String = (0..rng.below(4)).map(|_| rng.char(MARKS)).collect();
                format!("{}{marks}", rng.char(BASES))
            }),
            7 => pieces(&mut rng, |rng| {
                let digits: String = (0..1 + rng.below(5)).map(|_| rng.char(NUMBERS)).collect();
                format!("{digits}{}", rng.pick(&["", " ", ".", ",", "a", "-", "\u{301}"]))
            }),
            8 => pieces(&mut rng, |rng| {
                let quote = rng.pick(&["'", "'", "’", "''"]);
                format!(
                    "{}{quote}{}",
                    rng.pick(&["it", " ", "", "A", "9", "\n", "é"]),
                    rng.pick(&CONTRACTIONS)
                )
            }),
            9 => pieces(&mut rng, |rng| {
                let sentence = *rng.pick(&SENTENCES);
                let at = rng.below(sentence.len());
                format!("{}{}{}", rng.pick(&SPACES), rng.pick(&SPECIAL), cut(sentence, at, 12))
            }),
            10 => pieces(&mut rng, |rng| rng.char(PLANES).to_string()),
            _ => pieces(&mut rng, |rng| match rng.below(5) {
                0 => rng.char(PUNCTUATION).to_string().repeat(1 + rng.below(40)),
                1 => rng.pick(&["a", "ab", " ", "\n", "0", "é", "的"]).repeat(1 + rng.below(60)),
                2 => (0..1 + rng.below(12)).map(|_| rng.char(&[(0x61, 0x7A)])).collect(),
                3 => rng.char(PUNCTUATION).to_string(),
                _ => format!(" {}", rng.char(&[(0x4E00, 0x9FFF), (0x3041, 0x30FF), (0xAC00, 0xD7A3)])),
            }),
        }
    }
}

fn pieces(rng: &mut Rng, mut piece: impl FnMut(&mut Rng) -> String) -> String {
    (0..1 + rng.below(12)).map(|_| piece(rng)).collect()
}

/// About `length` bytes from byte `at` on.
fn cut(text: &str, at: usize, length: usize) -> &str {
    let start = text.floor_char_boundary(at);
    &text[start..text.ceil_char_boundary((start + length).min(text.len()))]
}

fn decomposed(text: &str) -> String {
    let mut text = tokenizers::NormalizedString::from(text);
    text.nfd();
    text.get().to_string()
}
