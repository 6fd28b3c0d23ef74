//! Plain bar charts in SVG, which follow the reader's light or dark theme.

use std::fmt::Write;

pub struct Bar {
    pub label: String,
    /// Median, least and most.
    pub value: (f64, f64, f64),
    /// Ours stands out.
    pub ours: bool,
}

pub struct Chart<'a> {
    pub title: &'a str,
    /// The unit, and which way is better.
    pub unit: &'a str,
    pub bars: Vec<Bar>,
    /// Where it was measured, and what else to know.
    pub note: &'a str,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 62.0;
const ROW: f64 = 30.0;

const STYLE: &str = "\
text{font:14px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:16px}.unit{fill:#59636e;font-size:12px}\
.bar{fill:#8c959f}.ours{fill:#0969da}.spread{stroke:#1f2328;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.unit{fill:#9198a1}.bar{fill:#656c76}.ours{fill:#4493f8}\
.spread{stroke:#f0f6fc}}";

impl Chart<'_> {
    /// A bar a row, from zero, with the runs' spread as a line.
    pub fn svg(&self) -> String {
        let height = TOP + ROW * self.bars.len() as f64 + 30.0;
        let most = self.bars.iter().map(|bar| bar.value.2).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / most;
        let said: Vec<String> = self.bars.iter().map(|bar| format!("{} {}", bar.label, number(bar.value.0))).collect();
        let said = escaped(&format!("{} ({}): {}", self.title, self.unit, said.join(", ")));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" aria-label=\"{said}\">\n<style>{STYLE}</style>\n<text class=\"title\" x=\"12\" y=\"24\">{}</text>\n\
             <text class=\"unit\" x=\"12\" y=\"44\">{}</text>\n",
            escaped(self.title),
            escaped(self.unit)
        );
        for (place, bar) in self.bars.iter().enumerate() {
            let y = TOP + ROW * place as f64;
            let (middle, text) = (y + 10.0, y + 15.0);
            let (median, least, most) = bar.value;
            let class = if bar.ours { "ours" } else { "bar" };
            let _ = writeln!(
                svg,
                "<text x=\"{:.0}\" y=\"{text:.0}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"20\"/>\
                 <line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.0}\" y2=\"{middle:.0}\"/>\
                 <text x=\"{:.1}\" y=\"{text:.0}\">{}</text>",
                LEFT - 10.0,
                escaped(&bar.label),
                median * scale,
                LEFT + least * scale,
                LEFT + most * scale,
                LEFT + most * scale + 8.0,
                number(median)
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"unit\" x=\"12\" y=\"{:.0}\">{}</text>\n</svg>",
            height - 12.0,
            escaped(self.note)
        );
        svg
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Three digits, or all of a large number.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) =
        plain.split_once('.').map_or((&*plain, String::new()), |(whole, rest)| (whole, format!(".{rest}")));
    let grouped: Vec<&str> =
        whole.as_bytes().rchunks(3).rev().map(|digits| std::str::from_utf8(digits).unwrap_or_default()).collect();
    format!("{}{rest}", grouped.join(","))
}
