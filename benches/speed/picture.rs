//! The picture of how costs grow with the store: an SVG of a few lines, written by hand, readable on light and on dark.

use std::fmt::Write as _;

/// The commands that are drawn, in the order of their colours.
pub const DRAWN: [&str; 4] = ["create", "next", "done", "brief"];

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Around the drawing: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (64.0, 84.0, 40.0, 48.0);
const COLOURS: [&str; 4] = ["#1a9850", "#d9772b", "#4a7fd4", "#b5489e"];

/// Draws the costs in milliseconds of each command at each size; both axes are logarithmic.
pub fn growth(sizes: &[usize], cost: impl Fn(&str, usize) -> Option<f64>) -> Option<String> {
    let all: Vec<f64> = DRAWN.iter().flat_map(|name| sizes.iter().filter_map(|n| cost(name, *n))).collect();
    if sizes.len() < 2 || all.is_empty() {
        return None;
    }
    let least = all.iter().copied().fold(f64::INFINITY, f64::min).log10().floor();
    let most = all.iter().copied().fold(0.0, f64::max).log10().ceil().max(least + 1.0);
    let (first, last) = ((sizes[0] as f64).log10(), (sizes[sizes.len() - 1] as f64).log10());
    let x = |n: f64| MARGIN.0 + (n.log10() - first) / (last - first) * (WIDTH - MARGIN.0 - MARGIN.1);
    let y = |ms: f64| HEIGHT - MARGIN.3 - (ms.log10() - least) / (most - least) * (HEIGHT - MARGIN.2 - MARGIN.3);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"milliseconds of create, next, done and brief by tasks in the store\">\n\
         <style>text{{font:13px sans-serif;fill:#57606a}}line{{stroke:#8c959f;stroke-opacity:.35}}\
         @media(prefers-color-scheme:dark){{text{{fill:#adb5bd}}}}</style>\n\
         <text x=\"{}\" y=\"22\">milliseconds a command takes, median of whole processes, by tasks in the store</text>\n",
        MARGIN.0
    );
    for power in (least as i32)..=(most as i32) {
        let (ms, right) = (10f64.powi(power), WIDTH - MARGIN.1);
        let _ = writeln!(
            svg,
            "<line x1=\"{}\" x2=\"{right}\" y1=\"{2:.1}\" y2=\"{2:.1}\"/><text x=\"{1}\" y=\"{3:.1}\" text-anchor=\"end\">{4} ms</text>",
            MARGIN.0,
            MARGIN.0 - 8.0,
            y(ms),
            y(ms) + 4.0,
            if ms < 1.0 { format!("{ms:.1}") } else { grouped(ms as usize) }
        );
    }
    for n in sizes {
        let (at, bottom) = (x(*n as f64), HEIGHT - MARGIN.3);
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
    for (name, colour) in DRAWN.into_iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> =
            sizes.iter().filter_map(|n| cost(name, *n).map(|ms| (x(*n as f64), y(ms)))).collect();
        let Some(end) = points.last() else { continue };
        labels.push((end.1, name, colour));
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
    labels.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut below = f64::INFINITY;
    for (at, name, colour) in labels {
        let at = at.min(below - 15.0);
        below = at;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" style=\"fill:{colour};font-weight:600\">{name}</text>",
            WIDTH - MARGIN.1 + 10.0,
            at + 4.0
        );
    }
    svg += "</svg>\n";
    Some(svg)
}

/// A number with a space between thousands.
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or_default()).collect();
    groups.join(" ")
}
