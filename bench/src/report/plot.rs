//! The findings as pictures: SVG that reads on light and dark pages.

use std::path::{Path, PathBuf};

use plotters::prelude::*;

use super::{Data, Finding, HostsResult};
use crate::failure::Failure;
use crate::latency::{LatencyResult, PERCENTILES};
use crate::measure::Series;
use crate::workload::{HOSTS_FEW, HOSTS_MANY};

/// Draws what there is to draw into `directory`; the files.
pub(crate) fn all(directory: &Path, findings: &[Finding]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let costs: Vec<(&str, &[Series])> = findings
        .iter()
        .filter_map(|finding| match &finding.data {
            Data::Cost(all) => Some((finding.workload.title(), all.as_slice())),
            _ => None,
        })
        .collect();
    if costs.iter().any(|(_, all)| all.len() > 2) {
        files.push(directory.join("ratios.svg"));
        ratios(&files[files.len() - 1], &costs).map_err(failed)?;
    }
    for finding in findings {
        match &finding.data {
            Data::Hosts(all) => {
                files.push(directory.join("hosts.svg"));
                hosts(&files[files.len() - 1], all).map_err(failed)?;
            }
            Data::Latency(all) => {
                files.push(directory.join("latency.svg"));
                latency(&files[files.len() - 1], all).map_err(failed)?;
            }
            _ => {}
        }
    }
    Ok(files)
}

/// For each workload and peer a bar: the subject's cost as a part of the peer's, with its interval.
fn ratios(path: &Path, costs: &[(&str, &[Series])]) -> Result<(), Box<dyn std::error::Error>> {
    let rows: usize = costs.iter().map(|(_, all)| all.len()).sum();
    let height = TOP + rows as u32 * ROW + 8;
    let root = canvas(path, height)?;
    let scale = |ratio: f64| {
        LEFT + (ratio.clamp(0.0, RATIO_MAX) / RATIO_MAX * f64::from(WIDTH - RIGHT - LEFT as u32)) as i32
    };
    for mark in [0.0, 0.5, 1.0, 1.5, 2.0] {
        let style = if mark == 1.0 { TEXT.stroke_width(1) } else { FAINT.stroke_width(1) };
        root.draw(&PathElement::new([(scale(mark), 24), (scale(mark), height as i32 - 8)], style))?;
        root.draw(&Text::new(format!("{mark:.1}"), (scale(mark) - 8, 8), font(12, &TEXT)))?;
    }
    let mut y = TOP as i32;
    for (title, all) in costs {
        let Some(subject) = all.first() else { continue };
        root.draw(&Text::new((*title).to_owned(), (8, y), font(14, &TEXT)))?;
        y += ROW as i32;
        for (place, series) in all.iter().enumerate().skip(1) {
            let Some(ratio) = subject.ratio_to(series) else { continue };
            let color = color(&series.label, place);
            let middle = y + 7;
            root.draw(&Text::new(series.label.clone(), (24, y), font(13, &TEXT)))?;
            root.draw(&Rectangle::new(
                [(scale(0.0), y), (scale(ratio.median), y + 13)],
                color.mix(0.7).filled(),
            ))?;
            root.draw(&PathElement::new(
                [(scale(ratio.low), middle), (scale(ratio.high), middle)],
                TEXT.stroke_width(2),
            ))?;
            let text = (scale(ratio.median.max(ratio.high)) + 6, y);
            root.draw(&Text::new(format!("{:.2}", ratio.median), text, font(13, &TEXT)))?;
            y += ROW as i32;
        }
    }
    root.present()?;
    Ok(())
}

/// The cost of a request against the number of hosts.
fn hosts(path: &Path, all: &[HostsResult]) -> Result<(), Box<dyn std::error::Error>> {
    let root = canvas(path, CHART)?;
    let top = all.iter().map(|result| result.most.cost_us().max(result.many.cost_us())).fold(1.0, f64::max);
    let most = all.iter().map(|result| result.most_hosts).max().unwrap_or(HOSTS_MANY) as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption("CPU time of a request against the number of hosts", font(16, &TEXT))
        .margin(12)
        .margin_right(36)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d((HOSTS_FEW as f64..most * 1.4).log_scale(), 0.0..top * 1.2)?;
    axes(chart.configure_mesh().x_desc("hosts").y_desc("µs"))?;
    for (place, result) in all.iter().enumerate() {
        let color = color(&result.few.label, place + 1);
        let points =
            [(HOSTS_FEW, &result.few), (HOSTS_MANY, &result.many), (result.most_hosts, &result.most)]
                .map(|(hosts, series)| (hosts as f64, series.cost_us()));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))?
            .label(result.few.label.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    legend(&mut chart)?;
    root.present()?;
    Ok(())
}

/// Latencies by percentile, at one rate of requests.
fn latency(path: &Path, all: &[LatencyResult]) -> Result<(), Box<dyn std::error::Error>> {
    let root = canvas(path, CHART)?;
    let top = all.iter().flat_map(|result| result.milliseconds.iter().copied()).fold(0.1, f64::max);
    let rate = all.first().map_or(0, |result| result.rate);
    let last = PERCENTILES.len() as f64 - 1.0;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("Latency at {rate} requests a second"), font(16, &TEXT))
        .margin(12)
        .margin_right(36)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..last, (0.01..top * 1.5).log_scale())?;
    let name = |place: &f64| format!("{} %", PERCENTILES[(*place as usize).min(PERCENTILES.len() - 1)]);
    axes(chart.configure_mesh().x_labels(PERCENTILES.len()).x_label_formatter(&name).y_desc("ms"))?;
    for (place, result) in all.iter().enumerate() {
        let color = color(&result.label, place);
        let points = result.milliseconds.iter().enumerate().map(|(at, time)| (at as f64, time.max(0.01)));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))?
            .label(result.label.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    legend(&mut chart)?;
    root.present()?;
    Ok(())
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn canvas(path: &Path, height: u32) -> Result<Canvas<'_>, Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&PAPER)?;
    Ok(root)
}

fn axes<X: plotters::coord::ranged1d::ValueFormatter<f64> + Ranged<ValueType = f64>, Y>(
    mesh: &mut plotters::chart::MeshStyle<'_, '_, X, Y, SVGBackend<'_>>,
) -> Result<(), Box<dyn std::error::Error>>
where
    Y: plotters::coord::ranged1d::ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    mesh.axis_style(TEXT).label_style(font(12, &TEXT)).axis_desc_style(font(12, &TEXT));
    mesh.bold_line_style(FAINT).light_line_style(TRANSPARENT).draw()?;
    Ok(())
}

fn legend<'a, C>(chart: &mut ChartContext<'a, SVGBackend<'a>, C>) -> Result<(), Box<dyn std::error::Error>>
where
    C: CoordTranslate + 'a,
{
    let position = SeriesLabelPosition::UpperLeft;
    chart
        .configure_series_labels()
        .position(position)
        .label_font(font(12, &TEXT))
        .border_style(FAINT)
        .background_style(PAPER)
        .draw()?;
    Ok(())
}

fn font(size: u32, color: &RGBColor) -> TextStyle<'_> {
    ("sans-serif", size).into_font().color(color)
}

/// A program has the same colour in every picture; they differ in brightness too.
fn color(label: &str, place: usize) -> RGBColor {
    let known = ["vestibule", "nginx", "haproxy", "envoy", "caddy", "pingora", "null relay", "no proxy"];
    let at = known.iter().position(|name| label.starts_with(name)).unwrap_or(place);
    COLORS[at % COLORS.len()]
}

fn failed(error: Box<dyn std::error::Error>) -> Failure {
    Failure::Load(format!("a picture could not be drawn: {error}"))
}

/// Okabe and Ito's colours, which those who see few colours can tell apart.
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
    RGBColor(60, 60, 60),
];
const PAPER: RGBColor = RGBColor(255, 255, 255);
const TEXT: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(220, 220, 220);
const RATIO_MAX: f64 = 2.0;
const WIDTH: u32 = 760;
const CHART: u32 = 420;
const LEFT: i32 = 150;
const RIGHT: u32 = 60;
const TOP: u32 = 32;
const ROW: u32 = 20;
