use proptest::prelude::*;
use qwenc_ir::text::{ConstPool, ParseError, parse, print};

fn fault(text: &str) -> ParseError {
    match parse(text, &ConstPool::new()) {
        Err(error) => error,
        Ok(graph) => panic!("read as\n{}", print(&graph)),
    }
}

/// The error inside of a graph that has an input `%x: f32[2, tokens]`; lines count from the body's first.
fn body_fault(body: &str) -> (usize, usize, String) {
    let error = fault(&format!("graph \"g\" {{ input %x: f32[2, tokens]\n{body}\n}}"));
    (error.line - 1, error.column, error.message)
}

#[test]
fn faults_are_placed_and_named() {
    for (body, line, column, message) in [
        ("%y = nope(%x)", 1, 6, "no operator"),
        ("%y = softmax(%x)", 1, 6, "`axis` is missing"),
        ("%y = softmax(%x) {axis = 1, axes = 2}", 1, 29, "no attribute `axes`"),
        ("%y = softmax(%x) {axis = 1, axis = 1}", 1, 29, "given twice"),
        ("%y = softmax(%x) {axis = 1 2}", 1, 28, "should end here"),
        ("%y = softmax(%x) {axis = -1}", 1, 26, "no integer"),
        ("%y = softmax(%x) {axis = 2}", 1, 6, "axis 2 does not exist"),
        ("%y = softmax(%z) {axis = 0}", 1, 14, "`%z` is not defined yet"),
        ("\n  %x = l2_norm(%x) {eps = 0.0}", 2, 3, "defined twice"),
        ("%y, %y = l2_norm(%x) {eps = 0.0}", 1, 5, "defined twice"),
        ("%y, %z = l2_norm(%x) {eps = 0.0}", 1, 10, "1 results, not 2"),
        ("%y = l2_norm(%x) {eps = 0.0} : f32[2, 3]", 1, 32, "the results are f32[2, tokens]"),
        ("%y = l2_norm(%x) {eps = [0.0", 2, 2, "do not end"),
        ("%y = elementwise(%x) {expr = foo(a0)}", 1, 30, "no function"),
        ("%y = elementwise(%x) {expr = add(a0)}", 1, 36, "`,` is expected"),
        ("%y = elementwise(%x) {expr = not(a0)}", 1, 6, "Not on f32"),
        ("%y = expand(%x) {shape = [poison]}", 1, 27, "poisoned"),
        ("%y = expand(%x) {shape = [9007199254740993]}", 1, 27, "overflows"),
        ("%y = expand(%x) {shape = [99999999999999999999]}", 1, 27, "no integer of 64 bits"),
        ("%y = expand(%x) {shape = [sqrt(4, 2)]}", 1, 27, "no function of dimensions"),
        ("const %c: f32[2] = dense(1)", 1, 20, "does not have 1 elements"),
        ("const %c: i8[1] = dense(128)", 1, 19, "outside of i8"),
        ("const %c: i8[1] = dense(1.5)", 1, 19, "`1.5` is no i8"),
        ("const %c: f32[tokens] = dense(1)", 1, 11, "constant dimensions"),
        ("const %c: f32[1] = extern \"00\"", 1, 20, "no constant of this hash"),
        ("const %c: f32[65536, 65536] = seeded(1)", 1, 31, "elements of seeded"),
        ("const %c: f32[1] = seeded(x)", 1, 20, "seeded(seed)"),
        ("input %z: f31[2]", 1, 11, "no element type"),
        ("input %z: f32[1,1,1,1,1,1,1,1,1]", 1, 11, "rank"),
        ("output \"o\" = %y", 1, 14, "not defined"),
        ("state heap \"s\" past=%x present=%x", 1, 7, "no kind of state"),
        ("%y = softmax(%x) {axis = 1} \"open", 1, 34, "does not end"),
        ("%y = softmax(%x) {axis = 1} \"\\q\"", 1, 32, "escape"),
        ("?", 1, 1, "unexpected character"),
        ("%", 1, 2, "name must follow"),
    ] {
        let (at, column_at, text) = body_fault(body);
        assert_eq!((at, column_at), (line, column), "{body}: {text}");
        assert!(text.contains(message), "{body}: {text}");
    }
    assert_eq!(fault("").to_string(), "line 1, column 1: `graph` is expected, not the end of the text");
    assert!(fault("graph \"g\" {").message.contains("the end of the text"));
    assert!(fault("graph \"g\" {} x").message.contains("the end of the text is expected"));
}

#[test]
fn hostile_depth_and_size_are_refused_quickly() {
    let deep = |open: &str, close: &str, count: usize| {
        format!("{}tokens{}", open.repeat(count), close.repeat(count))
    };
    let dim = |dim: &str| body_fault(&format!("%y = expand(%x) {{shape = [{dim}]}}")).2;
    assert!(dim(&deep("(", ")", 100_000)).contains("nested"));
    assert!(dim(&deep("floor_div(", ", 3)", 100_000)).contains("nested"));
    assert!(dim(&deep("floor_div(1 + ", ", 3)", 40)).contains("too large"));
    // Each level copies the level below eight times.
    let copies = deep("floor_div((a + b + c + d + e + f + g + h) * ", ", 3)", 12);
    assert!(dim(&copies).contains("too large"));
    let expr = |expr: String| body_fault(&format!("%y = elementwise(%x) {{expr = {expr}}}")).2;
    assert!(expr(format!("{}a0{}", "neg(".repeat(100_000), ")".repeat(100_000))).contains("256"));
    let wide = (0..200).fold("a0".to_owned(), |expr, _| format!("add({expr}, a0)"));
    assert!(expr(wide).contains("256"));
    assert!(expr("a65535".into()).contains("missing"));
}

const SEED_TEXT: &str = r#"graph "g" { input %x: f32[1, tokens, 4] "a\u{1f}" const %c: f32[4] = seeded(7, -1, 2)
  const %d: i4[3] = dense(1, -2, 3) %h = rms_norm(%x, %c) {eps = 1e-6} : f32[1, tokens, 4] "n"
  %y, %p("w") = causal_conv(%h, %c, _) {activation = silu} %e = elementwise(%h) {expr = select(lt(a0, 0.5), a0, bits(0x7fc00001))}
  %q = pad(%x) {before = [0, max(tokens, 2), 0], after = [1, 2, mod(tokens, 3)], value = -inf} output "o" = %e }"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any damage to a text gives a graph or an error, never a panic.
    #[test]
    fn damaged_text_never_panics(at in 0usize..700, len in 0usize..12, insert in "[%a-z0-9{}()\\[\\],:=+*\"\\\\ _.-]{0,6}") {
        let start = at.min(SEED_TEXT.len());
        let end = (start + len).min(SEED_TEXT.len());
        let damaged = format!("{}{insert}{}", &SEED_TEXT[..start], &SEED_TEXT[end..]);
        if let Ok(graph) = parse(&damaged, &ConstPool::new()) {
            let again = parse(&print(&graph), &ConstPool::of(&graph));
            prop_assert!(again.is_ok(), "{:?}", again.err());
        }
    }

    #[test]
    fn noise_never_panics(text in "\\PC{0,200}") {
        let _ = parse(&text, &ConstPool::new());
        let _ = parse(&format!("graph \"g\" {{ {text} }}"), &ConstPool::new());
    }
}
