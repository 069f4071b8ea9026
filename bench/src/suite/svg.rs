//! Plots as SVG text: bars with intervals, percentiles on a logarithmic scale, lines over time. No script, no font, no link.

use std::fmt::Write as _;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 10.0;

/// Told apart also by those who see colours differently (Okabe and Ito).
pub(super) const COLOURS: [&str; 7] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#333333",
];

/// A bar: a mean, half its interval, the single runs.
pub(super) struct Bar<'a> {
    pub(super) name: &'a str,
    pub(super) mean: f64,
    pub(super) spread: Option<f64>,
    pub(super) runs: Vec<f64>,
}

/// A line through points whose distances are even.
pub(super) struct Line {
    /// Which colour.
    pub(super) place: usize,
    pub(super) points: Vec<f64>,
}

pub(super) fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

/// Bars from 0.
pub(super) fn bars(bars: &[Bar<'_>]) -> String {
    let tops = bars
        .iter()
        .flat_map(|bar| bar.runs.iter().copied().chain([bar.mean + bar.spread.unwrap_or(0.0)]));
    let most = tops.fold(0.0, f64::max);
    let scale = Scale {
        least: 0.0,
        most: nonzero(most),
    };
    let mut svg = opened();
    axis(&mut svg, &scale, &[0.0, most / 2.0, most], |value| value);
    let step = (WIDTH - LEFT) / bars.len().max(1) as f64;
    for (place, bar) in bars.iter().enumerate() {
        let (x, width) = (LEFT + step * (place as f64 + 0.2), step * 0.6);
        let (y, base) = (scale.y(bar.mean), scale.y(0.0));
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            base - y,
            colour(place)
        );
        let middle = x + width / 2.0;
        if let Some(spread) = bar.spread {
            let (low, high) = (scale.y((bar.mean - spread).max(0.0)), scale.y(bar.mean + spread));
            let _ = write!(
                svg,
                "<path d=\"M{middle:.1} {low:.1}V{high:.1}\" stroke=\"#000\" stroke-width=\"2\"/>"
            );
        }
        for run in &bar.runs {
            let _ = write!(
                svg,
                "<circle cx=\"{middle:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"#fff\" stroke=\"#000\"/>",
                scale.y(*run)
            );
        }
        label(&mut svg, middle, bar.name);
    }
    svg.push_str("</svg>");
    svg
}

/// Lines over named steps, on a logarithmic scale.
pub(super) fn percentiles(steps: &[&str], lines: &[Line]) -> String {
    let values = || {
        lines
            .iter()
            .flat_map(|line| &line.points)
            .copied()
            .filter(|value| *value > 0.0)
    };
    let logs = |value: f64| value.log10();
    let least = values().fold(f64::INFINITY, f64::min);
    let most = values().fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let (least, most) = (logs(least).floor(), logs(most).ceil());
    let scale = Scale {
        least,
        most: if most > least { most } else { least + 1.0 },
    };
    let mut svg = opened();
    let marks: Vec<f64> = (least as i32..=scale.most as i32).map(f64::from).collect();
    axis(&mut svg, &scale, &marks, |mark| 10_f64.powf(mark));
    let x = |place: usize| LEFT + (WIDTH - LEFT) * (place as f64 + 0.5) / steps.len() as f64;
    for (place, step) in steps.iter().enumerate() {
        label(&mut svg, x(place), step);
    }
    for line in lines {
        let points = line.points.iter().enumerate().filter(|(_, value)| **value > 0.0);
        let points: Vec<(f64, f64)> = points.map(|(place, value)| (x(place), scale.y(logs(*value)))).collect();
        path(&mut svg, &points, line.place);
        for (x, y) in points {
            let _ = write!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{}\"/>",
                colour(line.place)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Lines over seconds, from 0.
pub(super) fn over_time(lines: &[Line]) -> String {
    let most = lines.iter().flat_map(|line| &line.points).copied().fold(0.0, f64::max);
    let seconds = lines.iter().map(|line| line.points.len()).max().unwrap_or(0);
    if seconds < 2 {
        return String::new();
    }
    let scale = Scale {
        least: 0.0,
        most: nonzero(most),
    };
    let mut svg = opened();
    axis(&mut svg, &scale, &[0.0, most / 2.0, most], |value| value);
    let x = |place: usize| LEFT + (WIDTH - LEFT) * place as f64 / (seconds - 1) as f64;
    label(&mut svg, x(seconds - 1) - 20.0, &format!("{seconds} s"));
    for line in lines {
        let points: Vec<_> = line
            .points
            .iter()
            .enumerate()
            .map(|(place, value)| (x(place), scale.y(*value)))
            .collect();
        path(&mut svg, &points, line.place);
    }
    svg.push_str("</svg>");
    svg
}

/// Values to places.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn y(&self, value: f64) -> f64 {
        let share = (value - self.least) / (self.most - self.least);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }
}

fn nonzero(value: f64) -> f64 {
    if value > 0.0 { value } else { 1.0 }
}

fn opened() -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">")
}

fn axis(svg: &mut String, scale: &Scale, marks: &[f64], value: impl Fn(f64) -> f64) {
    for mark in marks {
        let y = scale.y(*mark);
        let text = crate::report::significant(value(*mark));
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{WIDTH}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            LEFT - 4.0,
            y + 4.0
        );
    }
}

fn label(svg: &mut String, x: f64, text: &str) {
    let y = HEIGHT - 8.0;
    let text = escaped(text);
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>"
    );
}

fn path(svg: &mut String, points: &[(f64, f64)], place: usize) {
    svg.push_str("<path d=\"");
    for (number, (x, y)) in points.iter().enumerate() {
        let letter = if number == 0 { 'M' } else { 'L' };
        let _ = write!(svg, "{letter}{x:.1} {y:.1}");
    }
    let _ = write!(
        svg,
        "\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>",
        colour(place)
    );
}

/// Text as HTML and SVG take it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
