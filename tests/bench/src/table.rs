//! The table of ratios.

use crate::load::Sample;
use std::fmt;
use std::time::Duration;

/// The runs of one scenario, one for each round.
#[derive(Debug, Default)]
pub(crate) struct Series(Vec<Sample>);

impl Series {
    /// One more round.
    pub(crate) fn add(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    fn rate(&self) -> f64 {
        median(self.0.iter().map(|sample| sample.rate))
    }

    fn seconds(&self, of: impl Fn(&Sample) -> Duration) -> f64 {
        median(self.0.iter().map(|sample| of(sample).as_secs_f64()))
    }

    /// How fast this is, measured by the fastest of the ceilings in the same round.
    fn ratio(&self, ceilings: &[&Series]) -> f64 {
        let rounds = self.0.iter().enumerate().map(|(round, sample)| {
            let rates = ceilings.iter().filter_map(|ceiling| ceiling.0.get(round));
            sample.rate / rates.map(|ceiling| ceiling.rate).fold(f64::EPSILON, f64::max)
        });
        median(rounds)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values = values.collect::<Vec<_>>();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The table, in Markdown.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<[String; 9]>,
}

impl Table {
    /// A ceiling: stands for itself.
    pub(crate) fn ceiling(&mut self, scenario: impl Into<String>, series: &Series) {
        self.line(scenario.into(), series, ["".into(), "".into(), "".into(), "".into()]);
    }

    /// A scenario beside the best of its ceilings, which are called so; the goal is the least ratio.
    pub(crate) fn ratio(
        &mut self,
        scenario: impl Into<String>,
        series: &Series,
        (name, ceilings): (&str, &[&Series]),
        goal: Option<f64>,
    ) {
        let ratio = series.ratio(ceilings);
        let judged = goal.map_or([String::new(), String::new()], |goal| {
            [format!("≥ {goal:.2}"), met(ratio >= goal)]
        });
        let [goal, met] = judged;
        self.line(scenario.into(), series, [format!("{ratio:.2}"), name.into(), goal, met]);
    }

    /// Delays, and how long all but one in a hundred may be.
    pub(crate) fn delay(&mut self, scenario: impl Into<String>, series: &Series, goal: Duration) {
        let goal_met = met(series.seconds(|sample| sample.p99) <= goal.as_secs_f64());
        let goal = format!("p99 ≤ {} ms", goal.as_millis());
        self.line(scenario.into(), series, ["".into(), "".into(), goal, goal_met]);
    }

    fn line(&mut self, scenario: String, series: &Series, [ratio, to, goal, met]: [String; 4]) {
        let milliseconds = |seconds: f64| format!("{:.2}", seconds * 1e3);
        let cpu = series.seconds(|sample| sample.cpu.unwrap_or_default());
        self.lines.push([
            scenario,
            format!("{:.0}", series.rate()),
            milliseconds(series.seconds(|sample| sample.p50)),
            milliseconds(series.seconds(|sample| sample.p99)),
            if cpu > 0.0 {
                format!("{:.0}", cpu * 1e6)
            } else {
                String::new()
            },
            ratio,
            to,
            goal,
            met,
        ]);
    }
}

fn met(met: bool) -> String {
    if met { "yes" } else { "**no**" }.to_owned()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = "scenario|req/s|p50 ms|p99 ms|cpu µs|ratio|to|goal|met";
        writeln!(f, "| {} |", head.replace('|', " | "))?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---|---|---|")?;
        for line in &self.lines {
            writeln!(f, "| {} |", line.join(" | "))?;
        }
        Ok(())
    }
}
