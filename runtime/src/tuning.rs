//! Which variants of its kernels are the fastest on a device: what tuning finds, and loading goes by.

use crate::engine::Backend;
use crate::format::{BASELINE, Pipeline, Schedule, Variant};

/// A choice for pipelines, by the paths of their modules. Where nothing is chosen, and where the choice is not to be had, a
/// GPU takes the first variant if it can, or else the pipeline's own module; a renderer on a CPU takes the last variant that
/// it can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning(Vec<(String, String)>);

impl Tuning {
    /// Chooses a variant for the pipeline of a module.
    pub fn choose(&mut self, shader: &str, variant: &str) {
        let choice = (shader.to_owned(), variant.to_owned());
        match self.0.iter_mut().find(|(known, _)| known == shader) {
            Some(known) => *known = choice,
            None => self.0.push(choice),
        }
    }

    /// Modules and the names of their variants.
    pub fn choices(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(shader, variant)| (shader.as_str(), variant.as_str()))
    }

    /// From lines of a module's path and a name; what is no such line is left out.
    #[must_use]
    pub fn from_lines(text: &str) -> Self {
        let choice = |line: &str| line.split_once(' ').map(|(it, name)| (it.to_owned(), name.to_owned()));
        Self(text.lines().filter_map(choice).collect())
    }

    /// As such lines.
    #[must_use]
    pub fn to_lines(&self) -> String {
        self.choices().fold(String::new(), |text, (shader, name)| text + shader + " " + name + "\n")
    }

    /// Whether every choice is one that a schedule has: a tuning of another bundle is of no use.
    #[must_use]
    pub fn fits(&self, schedule: &Schedule) -> bool {
        self.choices().all(|(shader, name)| {
            let pipeline = schedule.pipelines.iter().find(|pipeline| pipeline.shader == shader);
            pipeline
                .is_some_and(|it| name == BASELINE || it.variants.iter().any(|variant| variant.name == name))
        })
    }

    /// What a device takes in a pipeline's place; none for the pipeline's own module.
    pub(crate) fn variant<'a, B: Backend>(&self, pipeline: &'a Pipeline, device: &B) -> Option<&'a Variant> {
        let usable = |variant: &&Variant| device.takes(variant);
        if let Some((_, name)) = self.choices().find(|(shader, _)| *shader == pipeline.shader) {
            if name == BASELINE {
                return None;
            }
            let chosen = pipeline.variants.iter().find(|variant| variant.name == name);
            if let Some(chosen) = chosen.filter(usable) {
                return Some(chosen);
            }
        }
        if device.is_software() {
            pipeline.variants.iter().rfind(usable)
        } else {
            pipeline.variants.first().filter(usable)
        }
    }
}
