//! The report as text and as the tables of docs/speed.md.

use std::fmt::Write as _;

use crate::docs;
use crate::picture::{self, Panel, grouped};
use crate::table::{Line, Most, Report, Unit};

/// For the terminal.
pub fn as_text(report: &Report) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{:>6} {:>7}  {:<52} {:>8} {:>10} {:>10}", "ratio", "at most", "", "tasks", "ours", "floor");
    for line in &report.lines {
        let _ = writeln!(
            out,
            "{:>6} {:>7}  {:<52} {:>8} {:>10} {:>10}  {}",
            ratio(line),
            most(line),
            line.what.replace('`', ""),
            line.tasks.map(grouped).unwrap_or_default(),
            value(line.unit, line.ours.median),
            line.floor.map(|floor| value(line.unit, floor.median)).unwrap_or_default(),
            line.verdict(),
        );
        if let Some((ours, floor)) = line.cold {
            let _ = writeln!(
                out,
                "{:>6.2} {:>7}  {:<52} {:>8} {:>10} {:>10}",
                ours.median / floor.median,
                "",
                "  cold",
                "",
                value(line.unit, ours.median),
                value(line.unit, floor.median)
            );
        }
    }
    for text in [growth(report), crowd(report), peaks(report)].into_iter().flatten() {
        let _ = write!(out, "\n{text}");
    }
    out
}

/// That everything can be printed, and how much it is. The figures of a small run mean nothing and are not shown.
pub fn is_whole(report: &Report) -> String {
    let page = whole(report);
    let drawn = growth_picture(report).is_some();
    for part in [as_text(report), page] {
        assert!(!part.contains("NaN") && !part.contains("inf "), "{part}");
    }
    let (lines, peaks) = (report.lines.len(), report.peaks.len());
    assert!(!report.is_everything || (drawn && peaks > 0 && report.crowd.is_some()), "a part is missing");
    format!("{lines} lines, the memory of {peaks} commands, all of it too small to mean anything")
}

/// Into docs/speed.md between its markers, and the picture next to it.
pub fn write(report: &Report) {
    assert!(report.is_everything, "only a run of everything is written down");
    docs::write_section("speed.md", "speed", &whole(report));
    if let Some(svg) = growth_picture(report) {
        docs::write("growth.svg", &svg);
    }
}

/// How costs grow with the store.
fn growth_picture(report: &Report) -> Option<String> {
    let panel = Panel {
        title: "milliseconds a command takes, median of whole processes, by tasks in the store",
        names: &picture::DRAWN,
        cost: &|name, tasks| report.cost(name, tasks),
    };
    picture::draw("milliseconds of create, next, done and brief by tasks in the store", &report.sizes, &[panel])
}

/// Everything, as the tables of a page.
fn whole(report: &Report) -> String {
    let mut out = format!(
        "{}\n## Warm\n\n\
         | ratio | at most | what | compared with | tasks | ours | floor | rounds | |\n|---:|---:|---|---|---:|---:|---:|---:|---|\n",
        docs::machine()
    );
    for line in &report.lines {
        let spread = |f: crate::run::Figures| {
            let median = value(line.unit, f.median);
            if f.rounds < 3 { median } else { format!("{median} ({:.1} – {:.1})", f.p10, f.p90) }
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            ratio(line),
            most(line),
            line.what,
            line.beside,
            line.tasks.map_or_else(|| "–".into(), grouped),
            spread(line.ours),
            line.floor.map_or_else(|| "–".into(), spread),
            line.ours.rounds,
            line.verdict()
        );
    }
    out += "\n## Cold\n\nNothing of the store and of git's folder in memory; the programs themselves are warm.\n\n\
            | ratio | what | compared with | tasks | ours | floor |\n|---:|---|---|---:|---:|---:|\n";
    for line in &report.lines {
        let Some((ours, floor)) = line.cold else { continue };
        let _ = writeln!(
            out,
            "| {:.2} | {} | {} | {} | {} | {} |",
            ours.median / floor.median,
            line.what,
            line.beside,
            line.tasks.map_or_else(|| "–".into(), grouped),
            value(line.unit, ours.median),
            value(line.unit, floor.median)
        );
    }
    for (title, text) in [
        ("Growth\n\n![milliseconds by tasks in the store](growth.svg)", growth(report)),
        ("Writers at once", crowd(report)),
        ("Memory", peaks(report)),
    ] {
        if let Some(text) = text {
            let _ = write!(out, "\n## {title}\n\n{text}");
        }
    }
    out
}

/// Milliseconds by command and size.
fn growth(report: &Report) -> Option<String> {
    let mut out = String::from("| ms |");
    for n in &report.sizes {
        let _ = write!(out, " {} |", grouped(*n));
    }
    let _ = writeln!(out, "\n|---|{}", "---:|".repeat(report.sizes.len()));
    let mut rows = 0;
    for name in picture::DRAWN {
        let costs: Vec<Option<f64>> = report.sizes.iter().map(|n| report.cost(name, *n)).collect();
        if costs.iter().any(Option::is_some) {
            rows += 1;
            let costs: Vec<String> = costs.iter().map(|c| c.map_or("–".into(), |ms| format!("{ms:.1}"))).collect();
            let _ = writeln!(out, "| `{name}` | {} |", costs.join(" | "));
        }
    }
    (rows > 0).then_some(out)
}

/// What many writers did.
fn crowd(report: &Report) -> Option<String> {
    let crowd = report.crowd.as_ref()?;
    Some(format!(
        "{} changes, on a store of {} tasks: by {} processes at once, and by one. Each is a new task, a note or a label on one of four\n\
         tasks that all writers share; {} of {} were found afterwards, and `lint` found nothing wrong.\n\n\
         | | changes a second | wait p50 | wait p99 | longest |\n|---|---:|---:|---:|---:|\n\
         | {} processes | {:.0} | {:.1} ms | {:.1} ms | {:.1} ms |\n\
         | one process | {:.0} | {:.1} ms | | |\n",
        grouped(crowd.commands),
        grouped(report.sizes[0]),
        crowd.writers,
        grouped(crowd.kept),
        grouped(crowd.commands),
        crowd.writers,
        crowd.together,
        crowd.p50,
        crowd.p99,
        crowd.longest,
        crowd.alone,
        crowd.alone_p50
    ))
}

/// Memory by command.
fn peaks(report: &Report) -> Option<String> {
    if report.peaks.is_empty() {
        return None;
    }
    let mut out = format!(
        "At {} tasks, each command once; at most 150 MB, and 300 MB for `import`, `export`, `compact`, `search` and `lint`.\n\n\
         | command | most memory at once | took |\n|---|---:|---:|\n",
        grouped(report.peaks_at)
    );
    for peak in &report.peaks {
        let _ = writeln!(out, "| {} | {:.1} MB | {:.0} ms |", peak.command, peak.megabytes, peak.ms);
    }
    Some(out)
}

fn ratio(line: &Line) -> String {
    line.ratio().map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}"))
}

fn most(line: &Line) -> String {
    match line.most {
        // Thirds are shown in two places, others as they are.
        Most::Times(most) => format!("{:.2}", most).trim_end_matches('0').trim_end_matches('.').to_owned(),
        Most::Flat(most) => value(line.unit, most),
        Most::Anything => "–".into(),
    }
}

fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ms if value < 10.0 => format!("{value:.2} ms"),
        Unit::Ms => format!("{value:.0} ms"),
        Unit::Bytes => format!("{} B", grouped(value as usize)),
        Unit::Megabytes => format!("{value:.0} MB"),
    }
}
