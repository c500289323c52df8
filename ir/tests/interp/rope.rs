use qwenc_ir::Op;
use qwenc_ir::interp::{HostTensor, OpError};
use qwenc_ir::op::{RopeAttrs, RopeSource};

use crate::util::{assert_close, eval, eval_err, f, i, noise};

fn attrs(rotary_dim: usize, interleaved: bool, source: RopeSource) -> Op {
    Op::Rope(RopeAttrs { rotary_dim, interleaved, source })
}

#[test]
fn a_quarter_turn_by_hand() {
    // One head of width 5, 4 of them rotated: slot 0 by 90 degrees, slot 1 not at all.
    let x = f(&[1, 1, 1, 5], &[1.0, 2.0, 3.0, 4.0, 5.0]);
    let (cos, sin) = (f(&[1, 1, 2], &[0.0, 1.0]), f(&[1, 1, 2], &[1.0, 0.0]));
    let halves = eval(&attrs(4, false, RopeSource::Direct), &[&x, &cos, &sin]);
    assert_eq!(halves, f(&[1, 1, 1, 5], &[-3.0, 2.0, 1.0, 4.0, 5.0]));
    let pairs = eval(&attrs(4, true, RopeSource::Direct), &[&x, &cos, &sin]);
    assert_eq!(pairs, f(&[1, 1, 1, 5], &[-2.0, 1.0, 3.0, 4.0, 5.0]));
}

/// Tables of angles `position * 10^-slot`.
fn tables(rows: usize, half: usize) -> (HostTensor, HostTensor) {
    let angle = |at: usize| ((at / half) as f64 * 10f64.powi(-i32::try_from(at % half).unwrap())) as f32;
    let cos: Vec<f32> = (0..rows * half).map(|at| angle(at).cos()).collect();
    let sin: Vec<f32> = (0..rows * half).map(|at| angle(at).sin()).collect();
    (f(&[rows, half], &cos), f(&[rows, half], &sin))
}

#[test]
fn every_frequency_reads_its_own_axis() {
    let (batch, sequence, heads, width, half) = (2usize, 3usize, 2usize, 8usize, 3usize);
    let x = noise(1, &[batch, sequence, heads, width]);
    let positions: Vec<i64> = (0..18).map(|at| (at * 7 + 3) % 11).collect();
    let axes = vec![0u8, 2, 1];
    let (cos, sin) = tables(11, half);
    let op = attrs(2 * half, false, RopeSource::Table { axes: axes.clone() });
    let rotated = eval(&op, &[&x, &i(&[3, batch, sequence], &positions), &cos, &sin]);

    // Complex multiplication by e^(i angle), written out from the definition.
    let mut expected = x.as_f32().unwrap().to_vec();
    for b in 0..batch {
        for s in 0..sequence {
            for h in 0..heads {
                for slot in 0..half {
                    let position = positions[usize::from(axes[slot]) * 6 + b * sequence + s];
                    let angle = position as f64 * 10f64.powi(-i32::try_from(slot).unwrap());
                    let base = ((b * sequence + s) * heads + h) * width;
                    let (re, im) =
                        (f64::from(expected[base + slot]), f64::from(expected[base + half + slot]));
                    let (length, phase) = (re.hypot(im), im.atan2(re) + angle);
                    expected[base + slot] = (length * phase.cos()) as f32;
                    expected[base + half + slot] = (length * phase.sin()) as f32;
                }
            }
        }
    }
    assert_close(&rotated, &f(x.shape(), &expected), 2e-6);
}

#[test]
fn positions_outside_the_table_are_errors() {
    let x = noise(1, &[1, 1, 1, 4]);
    let (cos, sin) = tables(5, 2);
    let op = attrs(4, false, RopeSource::Table { axes: vec![0, 0] });
    for position in [5, -1] {
        let error = eval_err(&op, &[&x, &i(&[1, 1, 1], &[position]), &cos, &sin]);
        assert_eq!(error, OpError::OutOfRange { index: position, size: 5 });
    }
}
