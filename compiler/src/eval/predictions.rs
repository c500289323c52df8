//! Answers of a run as a file, and the difference between two runs.
//!
//! One line for each case: `{"task", "id", "answer", "got", "right"}`. `right` is as the run counted it; another program may
//! write the file, such as one that asks transformers.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::cases::{CaseError, name_field, object, read_lines, text_field};
use super::score::{Count, Scores};

/// What was answered to one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// The task.
    pub task: String,
    /// The case.
    pub id: String,
    /// The answer that counts.
    pub answer: String,
    /// What the model said.
    pub got: String,
    /// Whether that is right.
    pub right: bool,
}

/// Predictions that cannot be read or compared.
#[derive(Debug, thiserror::Error)]
pub enum PredictionError {
    /// A file of predictions.
    #[error(transparent)]
    Read(#[from] CaseError),
    /// Two runs over other cases.
    #[error(
        "the runs are not over the same cases: {only} has `{id}` of task `{task}`, {other} has not (or another answer)"
    )]
    OtherCases {
        /// The run that has the case.
        only: String,
        /// The one that has not.
        other: String,
        /// The task.
        task: String,
        /// The case.
        id: String,
    },
}

/// Reads the predictions of a run.
///
/// # Errors
/// [`PredictionError::Read`], with file and line.
pub fn read_predictions(path: &Path) -> Result<Vec<Prediction>, PredictionError> {
    let shown = path.display().to_string();
    let refuse = |message: String| CaseError::File { file: shown.clone(), message };
    let file = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    if !file.metadata().map_err(|error| refuse(error.to_string()))?.is_file() {
        return Err(refuse("it is no regular file".to_owned()).into());
    }
    let mut predictions = BTreeMap::new();
    read_lines(file, &shown, &mut |line, text| {
        let wrong = |message: String| CaseError::Line { file: shown.clone(), line, message };
        let prediction = read_prediction(text).map_err(wrong)?;
        let key = (prediction.task.clone(), prediction.id.clone());
        match predictions.insert(key, prediction) {
            Some(twice) => Err(wrong(format!("the id `{}` is there twice", twice.id))),
            None => Ok(()),
        }
    })?;
    if predictions.is_empty() {
        return Err(refuse("it has no predictions".to_owned()).into());
    }
    Ok(predictions.into_values().collect())
}

fn read_prediction(text: &str) -> Result<Prediction, String> {
    let object = object(text)?;
    let right = match object.get("right") {
        Some(Value::Bool(right)) => *right,
        _ => return Err("`right` must be true or false".to_owned()),
    };
    Ok(Prediction {
        task: name_field(&object, "task")?,
        id: name_field(&object, "id")?,
        answer: text_field(&object, "answer")?,
        got: text_field(&object, "got")?,
        right,
    })
}

/// Two runs over one task, a family, or all cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The first run.
    pub before: Count,
    /// The second.
    pub after: Count,
    /// Cases that the two answered differently.
    pub changed: usize,
}

impl Change {
    /// What the second run loses against the first, in points of a hundred; negative where it gains.
    pub fn loss(self) -> f64 {
        self.before.percent() - self.after.percent()
    }
}

/// The difference between two runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// By task.
    pub tasks: BTreeMap<String, Change>,
    /// Over all cases.
    pub overall: Change,
}

/// Compares two runs over the same cases; the pairs are names for errors, and predictions.
///
/// # Errors
/// [`PredictionError::OtherCases`].
pub fn compare(
    (first, before): (&str, &[Prediction]),
    (second, after): (&str, &[Prediction]),
) -> Result<Comparison, PredictionError> {
    let keyed = |run: &[Prediction]| -> BTreeMap<(String, String, String), Prediction> {
        let key = |one: &Prediction| (one.task.clone(), one.id.clone(), one.answer.trim().to_owned());
        run.iter().map(|one| (key(one), one.clone())).collect()
    };
    let (before, after) = (keyed(before), keyed(after));
    let missing = |only: &str, other: &str, key: &(String, String, String)| {
        let (only, other) = (only.to_owned(), other.to_owned());
        PredictionError::OtherCases { only, other, task: key.0.clone(), id: key.1.clone() }
    };
    if let Some(key) = after.keys().find(|key| !before.contains_key(key)) {
        return Err(missing(second, first, key));
    }
    let (mut scores, mut changed) = ((Scores::default(), Scores::default()), Scores::default());
    for (key, old) in &before {
        let new = after.get(key).ok_or_else(|| missing(first, second, key))?;
        scores.0.add(&old.task, old.right);
        scores.1.add(&old.task, new.right);
        changed.add(&old.task, old.got.trim() != new.got.trim());
    }
    let of = |name: &str, scores: &Scores| scores.tasks.get(name).copied().unwrap_or_default();
    let tasks = changed.tasks.iter().map(|(name, changed)| {
        let (before, after) = (of(name, &scores.0), of(name, &scores.1));
        (name.clone(), Change { before, after, changed: changed.right })
    });
    Ok(Comparison {
        tasks: tasks.collect(),
        overall: Change {
            before: scores.0.overall(),
            after: scores.1.overall(),
            changed: changed.overall().right,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(task: &str, id: &str, answer: &str, got: &str) -> Prediction {
        let [task, id, answer, got] = [task, id, answer, got].map(str::to_owned);
        let right = answer == got;
        Prediction { task, id, answer, got, right }
    }

    #[test]
    fn runs_are_compared_case_by_case() {
        let first =
            [prediction("a", "1", "x", "x"), prediction("a", "2", "y", "z"), prediction("b", "1", "x", "x")];
        let second =
            [prediction("b", "1", "x", "x"), prediction("a", "1", "x", "q"), prediction("a", "2", "y", "w")];
        let comparison = compare(("A", &first), ("B", &second)).unwrap();
        let count = |right, cases| Count { right, cases };
        let a = Change { before: count(1, 2), after: count(0, 2), changed: 2 };
        let b = Change { before: count(1, 1), after: count(1, 1), changed: 0 };
        assert_eq!(comparison.tasks.values().copied().collect::<Vec<_>>(), [a, b]);
        assert!((a.loss() - 50.0).abs() < 1e-9);
        assert_eq!(comparison.overall, Change { before: count(2, 3), after: count(1, 3), changed: 2 });
        for (left, right) in [(&first[..], &second[..2]), (&first[..2], &second[..])] {
            let error = compare(("A", left), ("B", right)).unwrap_err().to_string();
            assert!(error.contains("same cases"), "{error}");
        }
    }

    #[test]
    fn files_are_read_back_and_mistakes_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.jsonl");
        let line = |one: &Prediction| serde_json::to_string(one).unwrap() + "\n";
        let run = [prediction("a", "1", "x", "\u{1b}[2J"), prediction("a", "2", "x", "x")];
        std::fs::write(&path, line(&run[0]) + &line(&run[1])).unwrap();
        assert_eq!(read_predictions(&path).unwrap(), run);
        for (text, expected) in [
            (line(&run[0]) + &line(&run[0]), "p.jsonl:2: the id `1` is there twice"),
            (line(&run[0]).replace("false", "0"), "p.jsonl:1: `right` must be"),
            (line(&run[0]).replace("got", "gut"), "no `got`"),
            (String::new(), "no predictions"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read_predictions(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(read_predictions(dir.path()).is_err() && read_predictions(&dir.path().join("q")).is_err());
    }
}
