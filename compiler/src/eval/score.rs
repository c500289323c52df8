//! Counting right answers by task and by family of tasks.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The family of a task: its name up to the first `-`.
pub fn family(task: &str) -> &str {
    task.split_once('-').map_or(task, |(family, _)| family)
}

/// Right answers among cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Cases answered right.
    pub right: usize,
    /// Cases.
    pub cases: usize,
}

impl Count {
    /// Counts a case.
    pub fn add(&mut self, right: bool) {
        self.cases += 1;
        self.right += usize::from(right);
    }

    /// Right answers of a hundred; 0 without cases.
    #[expect(clippy::cast_precision_loss, reason = "counts of cases are small")]
    pub fn percent(self) -> f64 {
        if self.cases == 0 { 0.0 } else { 100.0 * self.right as f64 / self.cases as f64 }
    }
}

/// Counts of all tasks of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scores {
    /// By task.
    pub tasks: BTreeMap<String, Count>,
}

impl Scores {
    /// Counts a case of a task.
    pub fn add(&mut self, task: &str, right: bool) {
        self.tasks.entry(task.to_owned()).or_default().add(right);
    }

    /// All cases.
    pub fn overall(&self) -> Count {
        let sum = |sum: Count, count: &Count| Count {
            right: sum.right + count.right,
            cases: sum.cases + count.cases,
        };
        self.tasks.values().fold(Count::default(), sum)
    }

    /// By family.
    pub fn families(&self) -> BTreeMap<String, Count> {
        let mut families: BTreeMap<String, Count> = BTreeMap::new();
        for (task, count) in &self.tasks {
            let sum = families.entry(family(task).to_owned()).or_default();
            sum.right += count.right;
            sum.cases += count.cases;
        }
        families
    }

    /// Families below their floor, with the percentage that was wanted. The last floor that names a family decides, else
    /// the last that names none.
    pub fn below(&self, floors: &[Floor]) -> Vec<(String, Count, f64)> {
        let floor = |family: &str| {
            let of = |name: Option<&str>| floors.iter().rev().find(|floor| floor.family.as_deref() == name);
            of(Some(family)).or_else(|| of(None)).map(|floor| floor.percent)
        };
        let families = self.families().into_iter();
        families
            .filter_map(|(family, count)| {
                let wanted = floor(&family)?;
                // Of counts, so that 95 of 100 is 95 percent whatever floats say.
                (count.percent() + 1e-9 < wanted).then_some((family, count, wanted))
            })
            .collect()
    }
}

/// What a family must reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Floor {
    /// The family; `None` for all that no other floor names.
    pub family: Option<String>,
    /// Right answers of a hundred, 0 to 100.
    pub percent: f64,
}

impl FromStr for Floor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (family, percent) = match text.split_once('=') {
            Some((family, percent)) => (Some(family.to_owned()), percent),
            None => (None, text),
        };
        match percent.trim_end_matches('%').parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self { family, percent }),
            _ => Err(format!("`{text}`: expected PERCENT or FAMILY=PERCENT, of 0 to 100")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        let mut scores = Scores::default();
        for (task, right, cases) in [("count-dots", 19, 20), ("count-bars", 10, 20), ("lookup", 9, 10)] {
            for at in 0..cases {
                scores.add(task, at < right);
            }
        }
        scores
    }

    #[test]
    fn families_are_sums_of_tasks() {
        let scores = scores();
        let count = |right, cases| Count { right, cases };
        assert_eq!(scores.overall(), count(38, 50));
        let families: Vec<(String, Count)> = scores.families().into_iter().collect();
        assert_eq!(families, [("count".to_owned(), count(29, 40)), ("lookup".to_owned(), count(9, 10))]);
        assert!((scores.tasks["count-dots"].percent() - 95.0).abs() < 1e-9);
        assert!(Count::default().percent().abs() < 1e-9);
    }

    #[test]
    fn a_floor_holds_for_every_family_but_those_that_have_their_own() {
        let below = |floors: &[&str]| -> Vec<String> {
            let floors: Vec<Floor> = floors.iter().map(|text| text.parse().unwrap()).collect();
            scores().below(&floors).into_iter().map(|(family, ..)| family).collect()
        };
        assert_eq!(below(&[]), Vec::<String>::new());
        assert_eq!(below(&["95"]), ["count", "lookup"]);
        assert_eq!(below(&["95", "lookup=90"]), ["count"]);
        assert_eq!(below(&["72.5", "lookup=90%"]), Vec::<String>::new());
        for wrong in ["", "x", "101", "-1", "a=", "NaN"] {
            assert!(wrong.parse::<Floor>().is_err(), "{wrong}");
        }
    }
}
