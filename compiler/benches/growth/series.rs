//! Times at several sizes.

use std::fmt::Write as _;
use std::time::Duration;

use qwenc::bench::Measurement;

/// Times of the same thing at growing sizes.
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// A size, and the milliseconds that it takes.
    pub(crate) points: Vec<(f64, Measurement)>,
}

/// Series over the same sizes.
pub(crate) struct Panel {
    /// What the sizes count.
    pub(crate) by: &'static str,
    pub(crate) series: Vec<Series>,
}

impl Panel {
    /// Measures `names` at `sizes`, in rounds: what disturbs the machine for a while disturbs all sizes alike. The first round
    /// does not count.
    pub(crate) fn measure(
        by: &'static str,
        names: &[&'static str],
        sizes: &[f64],
        runs: u32,
        mut run: impl FnMut(usize) -> Vec<Duration>,
    ) -> Self {
        let mut times = vec![vec![Vec::new(); sizes.len()]; names.len()];
        for round in 0..=runs {
            for at in 0..sizes.len() {
                let found = run(at);
                assert_eq!(found.len(), names.len());
                for (series, time) in times.iter_mut().zip(found) {
                    series[at].extend((round > 0).then_some(time));
                }
            }
        }
        let point = |(size, times): (&f64, &Vec<Duration>)| (*size, Measurement::milliseconds(by, times));
        let series = names
            .iter()
            .zip(&times)
            .map(|(name, times)| Series { name, points: sizes.iter().zip(times).map(point).collect() });
        Self { by, series: series.collect() }
    }

    /// Rows of a table.
    pub(crate) fn rows(&self, title: &str) -> String {
        let mut out = String::new();
        for series in &self.series {
            let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { continue };
            let cell = |(size, time): &(f64, Measurement)| {
                format!("{size}: {:.2} ms ({:.2} to {:.2})", time.median, time.low, time.high)
            };
            let _ = writeln!(
                out,
                "| {title}: {} | {} | {} | {} | n^{:.2} |",
                series.name,
                self.by,
                cell(first),
                cell(last),
                series.exponent()
            );
        }
        out
    }
}

impl Series {
    /// The exponent with which times grow at the larger sizes: 1 is linear. From the last point and the one nearest to a
    /// quarter of its size.
    pub(crate) fn exponent(&self) -> f64 {
        let Some((size, time)) = self.points.last() else { return f64::NAN };
        let distance = |(other, _): &&(f64, Measurement)| (other / size * 4.0).ln().abs();
        let quarter = self.points.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        quarter.map_or(f64::NAN, |(other, less)| (time.median / less.median).ln() / (size / other).ln())
    }
}
