//! What `qwenc eval` prints: a run's counts, and the difference between two runs.

use std::fmt;
use std::path::Path;

use qwenc_runtime::chat::Usage;
use qwenc_runtime::printable::printable;
use serde_json::{Map, Value, json};

use crate::eval::{Change, Comparison, Count, Prediction, Scores};

/// Misses that the table shows.
const SHOWN_MISSES: usize = 10;
/// Misses that the JSON lists; `--predictions` has all.
const LISTED_MISSES: usize = 100;
/// Characters of an answer that are shown.
const SHOWN_ANSWER: usize = 60;

/// A run.
pub(super) struct Report {
    bundle: String,
    adapter: String,
    pub(super) scores: Scores,
    misses: Vec<Prediction>,
    prompt_tokens: usize,
    generated_tokens: usize,
    /// Seconds after the first token of every answer.
    decode_seconds: f64,
    /// Seconds of the whole run, without loading.
    pub(super) seconds: f64,
    /// Families that have less than was asked for.
    pub(super) below: Vec<(String, Count, f64)>,
}

impl Report {
    /// A run that begins.
    pub(super) fn new(bundle: &Path, adapter: String) -> Self {
        Self {
            bundle: bundle.display().to_string(),
            adapter,
            scores: Scores::default(),
            misses: Vec::new(),
            prompt_tokens: 0,
            generated_tokens: 0,
            decode_seconds: 0.0,
            seconds: 0.0,
            below: Vec::new(),
        }
    }

    /// Counts a case.
    pub(super) fn add(&mut self, prediction: Prediction, usage: &Usage) {
        self.scores.add(&prediction.task, prediction.right);
        self.prompt_tokens += usage.prompt_tokens - usage.reused_tokens;
        self.generated_tokens += usage.generated_tokens;
        self.decode_seconds += usage.seconds - usage.first_token_seconds;
        if !prediction.right && self.misses.len() < LISTED_MISSES {
            self.misses.push(prediction);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are small")]
    fn tokens_per_second(&self) -> f64 {
        let after_first = self.generated_tokens.saturating_sub(self.scores.overall().cases);
        if self.decode_seconds > 0.0 { after_first as f64 / self.decode_seconds } else { 0.0 }
    }

    /// As JSON.
    pub(super) fn value(&self) -> Value {
        let overall = self.scores.overall();
        let tasks: Map<String, Value> =
            self.scores.tasks.iter().map(|(name, count)| (name.clone(), counted(*count))).collect();
        let families: Map<String, Value> =
            self.scores.families().into_iter().map(|(name, count)| (name, counted(count))).collect();
        let below: Vec<Value> = self
            .below
            .iter()
            .map(|(family, count, wanted)| {
                json!({ "family": family, "percent": count.percent(), "wanted": wanted })
            })
            .collect();
        json!({
            "bundle": self.bundle,
            "adapter": self.adapter,
            "right": overall.right,
            "cases": overall.cases,
            "percent": overall.percent(),
            "tasks": tasks,
            "families": families,
            "below": below,
            "misses": self.misses,
            "seconds": self.seconds,
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": self.generated_tokens,
            "tokens_per_second": self.tokens_per_second(),
        })
    }
}

fn counted(count: Count) -> Value {
    json!({ "right": count.right, "cases": count.cases, "percent": count.percent() })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let families = self.scores.families();
        let names = self.scores.tasks.keys().chain(families.keys());
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(f, "{} on {}\n", self.bundle, self.adapter)?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, count: Count| {
            writeln!(f, "{name:<width$}  {:>5}  {:>5}  {:>6.1} %", count.right, count.cases, count.percent())
        };
        writeln!(f, "{:<width$}  right  cases", "task")?;
        for (name, count) in &self.scores.tasks {
            row(f, name, *count)?;
        }
        // One task a family would say everything twice.
        if families.len() < self.scores.tasks.len() {
            writeln!(f, "\n{:<width$}  right  cases", "family")?;
            for (name, count) in &families {
                row(f, name, *count)?;
            }
        }
        writeln!(f)?;
        let overall = self.scores.overall();
        row(f, "all", overall)?;
        writeln!(
            f,
            "\n{:.1} s: {} tokens of prompts, {} of answers, {:.1} a second",
            self.seconds,
            self.prompt_tokens,
            self.generated_tokens,
            self.tokens_per_second()
        )?;
        let missed = overall.cases - overall.right;
        if missed > 0 {
            writeln!(f, "\nmisses:")?;
        }
        let shown = |text: &str| printable(text.trim(), SHOWN_ANSWER);
        for miss in self.misses.iter().take(SHOWN_MISSES) {
            let (task, id) = (&miss.task, &miss.id);
            writeln!(f, "  {task} {id}: expected `{}`, got `{}`", shown(&miss.answer), shown(&miss.got))?;
        }
        if missed > SHOWN_MISSES {
            writeln!(f, "  and {} more (--predictions writes all)", missed - SHOWN_MISSES)?;
        }
        for (family, count, wanted) in &self.below {
            writeln!(f, "\nFAIL: {family} has {:.1} %, at least {wanted} % was asked for", count.percent())?;
        }
        Ok(())
    }
}

/// Two runs.
pub(super) struct ComparisonReport {
    pub(super) names: [String; 2],
    pub(super) comparison: Comparison,
    pub(super) lose_at_most: Option<f64>,
}

impl ComparisonReport {
    /// As JSON.
    pub(super) fn value(&self) -> Value {
        let change = |change: &Change| {
            json!({
                "before": counted(change.before),
                "after": counted(change.after),
                "loss": change.loss(),
                "changed": change.changed,
            })
        };
        let tasks: Map<String, Value> =
            self.comparison.tasks.iter().map(|(name, one)| (name.clone(), change(one))).collect();
        json!({
            "before": self.names[0],
            "after": self.names[1],
            "tasks": tasks,
            "overall": change(&self.comparison.overall),
            "lose_at_most": self.lose_at_most,
        })
    }
}

impl fmt::Display for ComparisonReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.comparison.tasks.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(4);
        writeln!(f, "before: {}\nafter:  {}\n", self.names[0], self.names[1])?;
        writeln!(f, "{:<width$}  cases    before     after   points  changed answers", "task")?;
        let rows = self.comparison.tasks.iter().map(|(name, change)| (name.as_str(), change));
        for (name, change) in rows.chain([("all", &self.comparison.overall)]) {
            writeln!(
                f,
                "{name:<width$}  {:>5}  {:>6.1} %  {:>6.1} %  {:>+7.2}  {:>15}",
                change.before.cases,
                change.before.percent(),
                change.after.percent(),
                // No loss is +0.00, not -0.00.
                0.0 - change.loss(),
                change.changed
            )?;
        }
        if let Some(points) = self.lose_at_most {
            let loss = self.comparison.overall.loss();
            if loss > points + 1e-9 {
                writeln!(f, "\nFAIL: {loss:.2} points are lost, at most {points} was asked for")?;
            }
        }
        Ok(())
    }
}
