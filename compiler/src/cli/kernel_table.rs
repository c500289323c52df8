//! Times of kernels as a table.

use std::fmt;

use qwenc_runtime::printable::printable;

use crate::bench::{KernelTime, KernelTimes};

/// Prints shaders by entry point: their time and its share, how many dispatches and what each takes, the shader's file, what
/// the first of them computes, the weights that they read and how fast.
pub(super) struct KernelTable<'a>(pub(super) &'a KernelTimes);

impl fmt::Display for KernelTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (entry, kernels) in self.0 {
            let sum: f64 = kernels.iter().map(|kernel| kernel.microseconds).sum();
            writeln!(f, "\n{entry}: {sum:.0} µs by time stamps")?;
            for kernel in kernels {
                row(f, kernel, sum)?;
            }
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, kernel: &KernelTime, sum: f64) -> fmt::Result {
    let each = kernel.microseconds / kernel.dispatches.max(1) as f64;
    write!(
        f,
        "{:>10.1} µs {:>5.1} % {:>4} x {each:>8.2}  {}  {}",
        kernel.microseconds,
        100.0 * kernel.microseconds / sum.max(1e-9),
        kernel.dispatches,
        printable(&kernel.shader, 80),
        printable(&kernel.label, 80),
    )?;
    match kernel.weight_bytes {
        0 => writeln!(f),
        bytes => {
            let rate = bytes as f64 / kernel.microseconds.max(1e-3) / 1e3;
            let digits = usize::from(rate < 10.0) * 2;
            writeln!(f, ", {:.2} MB of weights at {rate:.digits$} GB/s", bytes as f64 / 1e6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_time_share_count_and_bytes() {
        let kernel = |shader: &str, microseconds, weight_bytes| KernelTime {
            shader: shader.to_owned(),
            label: "linear_gemv · q\u{1b}[2J".to_owned(),
            dispatches: 4,
            microseconds,
            weight_bytes,
        };
        let times = KernelTimes::from([(
            "decode".to_owned(),
            vec![kernel("a.wgsl", 300.0, 3_000_000), kernel("b.wgsl", 100.0, 0)],
        )]);
        let text = KernelTable(&times).to_string();
        let lines: Vec<&str> = text.trim().lines().collect();
        assert_eq!(lines[0], "decode: 400 µs by time stamps");
        assert!(lines[1].contains("300.0 µs  75.0 %    4 x    75.00  a.wgsl"), "{text}");
        assert!(lines[1].ends_with("3.00 MB of weights at 10 GB/s"), "{text}");
        assert!(lines[2].contains("100.0 µs  25.0 %"), "{text}");
        assert!(!text.contains('\u{1b}'), "what a bundle says is not for the terminal");
    }
}
