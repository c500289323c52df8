use qwenc_ir::Op;
use qwenc_ir::interp::HostTensor;
use qwenc_ir::op::Activation;

use crate::util::{assert_close, cut, eval_all, f, join, noise};

fn conv(activation: Activation, inputs: [Option<&HostTensor>; 4]) -> [HostTensor; 2] {
    eval_all(&Op::CausalConv { activation }, &inputs).try_into().unwrap()
}

#[test]
fn by_hand() {
    // Two channels, three taps; the newest column meets the last tap.
    let x = f(&[1, 3, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    let w = f(&[2, 3], &[0.5, 1.0, 2.0, 0.0, 0.0, 1.0]);
    let bias = f(&[2], &[100.0, 0.0]);
    let [y, present] = conv(Activation::Identity, [Some(&x), Some(&w), Some(&bias), None]);
    assert_eq!(y, f(&[1, 3, 2], &[102.0, 10.0, 105.0, 20.0, 108.5, 30.0]));
    assert_eq!(present, f(&[1, 2, 2], &[2.0, 3.0, 20.0, 30.0]));
    let past = f(&[1, 2, 2], &[4.0, 6.0, 0.0, 0.0]);
    let [y, _] = conv(Activation::Identity, [Some(&x), Some(&w), None, Some(&past)]);
    assert_eq!(cut(&y, 1, 0..1), f(&[1, 1, 2], &[0.5 * 4.0 + 6.0 + 2.0, 10.0]));
}

#[test]
fn a_wider_window_only_uses_its_newest_columns() {
    let (x, w) = (noise(1, &[2, 5, 3]), noise(2, &[3, 4]));
    let wide = noise(3, &[2, 3, 4]);
    let narrow = cut(&wide, 2, 1..4);
    let [y_wide, present_wide] = conv(Activation::Silu, [Some(&x), Some(&w), None, Some(&wide)]);
    let [y_narrow, present_narrow] = conv(Activation::Silu, [Some(&x), Some(&w), None, Some(&narrow)]);
    assert_eq!(y_wide, y_narrow);
    assert_eq!(cut(&present_wide, 2, 1..4), present_narrow);
    assert_eq!(present_wide.shape(), [2, 3, 4]);
}

#[test]
fn two_calls_equal_one() {
    let (x, w, bias) = (noise(1, &[2, 7, 3]), noise(2, &[3, 4]), noise(3, &[3]));
    let past = noise(4, &[2, 3, 3]);
    let call = |x: &HostTensor, past: &HostTensor| {
        conv(Activation::Silu, [Some(x), Some(&w), Some(&bias), Some(past)])
    };
    let [y, present] = call(&x, &past);
    // Splits shorter and longer than the window.
    for at in [1, 2, 5] {
        let [y0, between] = call(&cut(&x, 1, 0..at), &past);
        let [y1, after] = call(&cut(&x, 1, at..7), &between);
        assert_close(&join(1, &[&y0, &y1]), &y, 0.0);
        assert_eq!(after, present);
    }
}
