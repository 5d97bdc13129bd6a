//! Pictures of how costs grow with the store: an SVG of a few lines, written by hand, readable on light and on dark.

use std::fmt::Write as _;

/// The commands that are drawn, in the order of their colours.
pub const DRAWN: [&str; 4] = ["create", "next", "done", "brief"];

/// The size of a panel that stands alone, and of one of several.
const ALONE: (f64, f64) = (720.0, 400.0);
const ONE_OF_SEVERAL: (f64, f64) = (380.0, 290.0);
/// Around the drawing of a panel: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (64.0, 84.0, 40.0, 48.0);
const COLOURS: [&str; 4] = ["#1a9850", "#d9772b", "#4a7fd4", "#b5489e"];

/// The lines of some names, under a title.
pub struct Panel<'a> {
    pub title: &'a str,
    pub names: &'a [&'a str],
    /// Milliseconds of a name at a size.
    pub cost: &'a dyn Fn(&str, usize) -> Option<f64>,
}

impl Panel<'_> {
    fn costs(&self, sizes: &[usize]) -> Vec<f64> {
        self.names.iter().flat_map(|name| sizes.iter().filter_map(|n| (self.cost)(name, *n))).collect()
    }
}

/// Draws panels, two in a row, with the same logarithmic axes.
pub fn draw(label: &str, sizes: &[usize], panels: &[Panel]) -> Option<String> {
    let all: Vec<f64> = panels.iter().flat_map(|panel| panel.costs(sizes)).collect();
    if sizes.len() < 2 || all.is_empty() {
        return None;
    }
    let least = all.iter().copied().fold(f64::INFINITY, f64::min).log10().floor();
    let most = all.iter().copied().fold(0.0, f64::max).log10().ceil().max(least + 1.0);
    let (columns, (width, height)) = if panels.len() == 1 { (1, ALONE) } else { (2, ONE_OF_SEVERAL) };
    let (full_width, full_height) = (width * columns as f64, height * panels.len().div_ceil(columns) as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {full_width} {full_height}\" role=\"img\" \
         aria-label=\"{label}\">\n\
         <style>text{{font:13px sans-serif;fill:#57606a}}line{{stroke:#8c959f;stroke-opacity:.35}}\
         @media(prefers-color-scheme:dark){{text{{fill:#adb5bd}}}}</style>\n"
    );
    for (n, panel) in panels.iter().enumerate() {
        let (left, top) = ((n % columns) as f64 * width, (n / columns) as f64 * height);
        if panels.len() > 1 {
            let _ = writeln!(svg, "<g transform=\"translate({left} {top})\">");
        }
        svg += &draw_panel(panel, sizes, (width, height), (least, most));
        if panels.len() > 1 {
            svg += "</g>\n";
        }
    }
    svg += "</svg>\n";
    Some(svg)
}

/// One panel, with powers of ten from `least` to `most`.
fn draw_panel(panel: &Panel, sizes: &[usize], (width, height): (f64, f64), (least, most): (f64, f64)) -> String {
    let (first, last) = ((sizes[0] as f64).log10(), (sizes[sizes.len() - 1] as f64).log10());
    let x = |n: f64| MARGIN.0 + (n.log10() - first) / (last - first) * (width - MARGIN.0 - MARGIN.1);
    let y = |ms: f64| height - MARGIN.3 - (ms.log10() - least) / (most - least) * (height - MARGIN.2 - MARGIN.3);

    let mut svg = format!("<text x=\"{}\" y=\"22\">{}</text>\n", MARGIN.0, panel.title);
    for power in (least as i32)..=(most as i32) {
        let (ms, right) = (10f64.powi(power), width - MARGIN.1);
        let label = match ms {
            ms if ms < 1.0 => format!("{ms:.1} ms"),
            ms if ms < 1_000.0 => format!("{ms:.0} ms"),
            ms => format!("{:.0} s", ms / 1_000.0),
        };
        let _ = writeln!(
            svg,
            "<line x1=\"{}\" x2=\"{right}\" y1=\"{2:.1}\" y2=\"{2:.1}\"/><text x=\"{1}\" y=\"{3:.1}\" text-anchor=\"end\">{label}</text>",
            MARGIN.0,
            MARGIN.0 - 8.0,
            y(ms),
            y(ms) + 4.0
        );
    }
    for n in sizes {
        let (at, bottom) = (x(*n as f64), height - MARGIN.3);
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{bottom}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            MARGIN.2,
            bottom + 22.0,
            grouped(*n)
        );
    }
    // Labels that would lie upon each other are moved apart, the lowest first.
    let mut labels = Vec::new();
    for (name, colour) in panel.names.iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> =
            sizes.iter().filter_map(|n| (panel.cost)(name, *n).map(|ms| (x(*n as f64), y(ms)))).collect();
        let Some(end) = points.last() else { continue };
        labels.push((*end, name, colour));
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.5\" points=\"{}\"/>",
            line.join(" ")
        );
        for (x, y) in points {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
    }
    labels.sort_by(|a, b| b.0.1.total_cmp(&a.0.1));
    let mut below = f64::INFINITY;
    for ((end, at), name, colour) in labels {
        let at = at.min(below - 15.0);
        below = at;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" style=\"fill:{colour};font-weight:600\">{name}</text>",
            end + 10.0,
            at + 4.0
        );
    }
    svg
}

/// A number with a space between thousands.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or_default()).collect();
    groups.join(" ")
}
