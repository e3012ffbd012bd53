//! What was found, as tables.

use std::{fmt::Write as _, fs, time::Duration};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// All measurements, in the order of their names.
#[derive(Default, Serialize, Deserialize)]
pub struct Report(Vec<Section>);

#[derive(Serialize, Deserialize)]
struct Section {
    name: String,
    findings: Vec<Finding>,
}

/// One figure.
#[derive(Serialize, Deserialize)]
pub struct Finding {
    what: String,
    value: f64,
    unit: String,
    /// What it should be, where something is said about it.
    goal: Option<Goal>,
}

#[derive(Serialize, Deserialize)]
struct Goal {
    at_most: f64,
}

/// Figures as they are found.
#[derive(Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn add(&mut self, what: impl Into<String>, value: f64, unit: &str) {
        self.push(what.into(), value, unit, None);
    }

    /// One that should be no more than `goal`.
    pub fn goal(&mut self, what: impl Into<String>, value: f64, unit: &str, goal: f64) {
        self.push(what.into(), value, unit, Some(Goal { at_most: goal }));
    }

    fn push(&mut self, what: String, value: f64, unit: &str, goal: Option<Goal>) {
        eprintln!("  {what}: {value:.2} {unit}");
        self.0.push(Finding { what, value, unit: unit.to_owned(), goal });
    }
}

impl Report {
    /// What was measured before, if anything was.
    pub fn read(results: &str) -> Result<Self> {
        match fs::read_to_string(format!("{results}.json")) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(_) => Ok(Self::default()),
        }
    }

    pub fn replace(&mut self, name: &str, Findings(findings): Findings) {
        let new = Section { name: name.to_owned(), findings };
        match self.0.iter_mut().find(|section| section.name == name) {
            Some(section) => *section = new,
            None => self.0.push(new),
        }
    }

    pub fn write(&self, results: &str) -> Result<()> {
        fs::write(format!("{results}.json"), serde_json::to_string_pretty(self)?)?;
        fs::write(format!("{results}.md"), self.markdown(None))?;
        Ok(())
    }

    /// All tables, or one.
    pub fn markdown(&self, only: Option<&str>) -> String {
        let mut text = String::new();
        for Section { name, findings } in &self.0 {
            if only.is_some_and(|only| only != name) {
                continue;
            }
            let _ = writeln!(text, "| {name} | | at most |\n|---|---:|---:|");
            for Finding { what, value, unit, goal } in findings {
                let goal = match goal {
                    Some(Goal { at_most }) if value > at_most => format!("**{at_most} {unit}**"),
                    Some(Goal { at_most }) => format!("{at_most} {unit}"),
                    None => String::new(),
                };
                let digits = if value.fract() == 0.0 { 0 } else { 2 };
                let _ = writeln!(text, "| {what} | {value:.digits$} {unit} | {goal} |");
            }
            text.push('\n');
        }
        text
    }
}

/// The value below which so many of a hundred lie; 0 where there is none.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) as f64 * percent / 100.0).ceil() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
