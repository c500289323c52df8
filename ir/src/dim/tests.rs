use super::*;

fn tokens() -> Dim {
    Dim::sym("tokens")
}

#[test]
fn equal_expressions_have_one_form() {
    let past = Dim::sym("past");
    let a = (past.clone() + tokens()) * Dim::constant(2) - tokens();
    let b = tokens() + past.clone() + past;
    assert_eq!(a, b);
    assert_eq!(a.to_string(), "tokens + past*2");
}

#[test]
fn division_simplifies_when_exact() {
    let dim = tokens() * Dim::constant(64);
    assert_eq!(dim.floor_div(&Dim::constant(16)), tokens() * Dim::constant(4));
    assert_eq!(dim.floor_div(&tokens()), Dim::constant(64));
    assert_eq!(dim.modulo(&Dim::constant(32)), Dim::constant(0));
    assert_eq!(tokens().ceil_div(64).to_string(), "floor_div(tokens + 63, 64)");
    assert_eq!(Dim::constant(-7).floor_div(&Dim::constant(2)), Dim::constant(-4));
}

#[test]
fn overflow_poisons() {
    let big = Dim::constant(1 << 40);
    let poison = big.clone() * big * tokens();
    assert!(poison.is_poison());
    assert!((poison + Dim::constant(1)).is_poison());
    assert!(Dim::constant(i64::MIN).is_poison());
    assert!(tokens().floor_div(&Dim::constant(0)).is_poison());
    let mut nested = tokens();
    for _ in 0..40 {
        nested = (nested + Dim::constant(1)).floor_div(&Dim::constant(3));
    }
    assert!(nested.is_poison());
}

#[test]
fn copies_of_copies_poison() {
    let sum = |seed: usize| (0..8).fold(Dim::constant(0), |sum, i| sum + Dim::sym(&format!("s{seed}_{i}")));
    let nested = (0..12).fold(tokens(), |inner, seed| (sum(seed) * inner).floor_div(&Dim::constant(3)));
    assert!(nested.is_poison());
}

#[test]
fn odd_symbols_print_quoted() {
    let dim = Dim::sym("past + 1") * Dim::constant(2) + Dim::sym("poison");
    assert_eq!(dim.to_string(), "\"poison\" + \"past + 1\"*2");
}

#[test]
fn ranges_bound_values() {
    let dim = (tokens() + Dim::constant(5)).floor_div(&Dim::constant(3)) * Dim::sym("past") - tokens();
    let ranges = Ranges::from([("tokens".into(), (1, 10)), ("past".into(), (0, 7))]);
    let (low, high) = dim.range(&ranges).unwrap();
    for t in 1..=10 {
        for p in 0..=7 {
            let bindings = Bindings::from([("tokens".into(), t), ("past".into(), p)]);
            let value = dim.eval(&bindings).unwrap();
            assert!(low <= value && value <= high);
        }
    }
    assert_eq!(dim.eval(&Bindings::new()), Err(EvalError::Unbound("past".into())));
}

#[test]
fn minimum_uses_that_symbols_are_sizes() {
    assert_eq!(tokens().min_with(&(tokens() + Dim::constant(3))), tokens());
    assert_eq!(tokens().max_with(&(tokens() + Dim::constant(3))), tokens() + Dim::constant(3));
    assert_eq!(tokens().min_with(&Dim::constant(3)).to_string(), "min(3, tokens)");
}

#[test]
fn substitution_simplifies() {
    let dim = (tokens() + Dim::constant(63)).floor_div(&Dim::constant(64)) * Dim::sym("past");
    let one = BTreeMap::from([("tokens".to_string(), Dim::constant(1))]);
    assert_eq!(dim.substitute(&one), Dim::sym("past"));
}
