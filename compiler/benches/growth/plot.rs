//! Panels as a picture.

use std::path::Path;

use plotters::prelude::*;

use super::series::{Panel, Series};

const WIDTH: u32 = 440;
const HEIGHT: u32 = 340;
/// Colours that are told apart also by those who see fewer.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 80, 74),
];

/// Draws panels side by side. Both axes begin at zero: what grows linearly is a straight line.
///
/// # Panics
/// When the file cannot be written.
pub(crate) fn draw(file: &Path, panels: &[(&str, Panel)]) {
    let count = u32::try_from(panels.len()).unwrap();
    let root = SVGBackend::new(file, (WIDTH * count, HEIGHT)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    for (area, (title, panel)) in root.split_evenly((1, panels.len())).iter().zip(panels) {
        draw_panel(area, title, panel);
    }
    root.present().unwrap();
    eprintln!("{}", file.display());
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>, title: &str, panel: &Panel) {
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max) * 1.05;
    let right = most(&mut points().map(|(size, _)| *size));
    let top = most(&mut points().map(|(_, time)| time.high));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..right, 0.0..top)
        .unwrap();
    let label =
        |value: &f64| if *value >= 10_000.0 { format!("{}k", value / 1000.0) } else { value.to_string() };
    chart
        .configure_mesh()
        .x_desc(panel.by)
        .y_desc("milliseconds")
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .light_line_style(TRANSPARENT)
        .draw()
        .unwrap();
    for (series, colour) in panel.series.iter().zip(COLOURS) {
        draw_series(&mut chart, series, colour);
    }
    if panel.series.len() > 1 {
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8));
        labels.border_style(BLACK.mix(0.2)).draw().unwrap();
    }
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Medians as a line with dots; from the least to the greatest as a stroke through each.
fn draw_series(chart: &mut Chart<'_, '_>, series: &Series, colour: RGBColor) {
    let medians = series.points.iter().map(|(size, time)| (*size, time.median));
    let line = chart.draw_series(LineSeries::new(medians.clone(), colour.stroke_width(2))).unwrap();
    line.label(series.name)
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
    chart.draw_series(medians.map(|point| Circle::new(point, 3, colour.filled()))).unwrap();
    let spread = |(size, time): &(f64, qwenc::bench::Measurement)| {
        PathElement::new([(*size, time.low), (*size, time.high)], colour)
    };
    chart.draw_series(series.points.iter().map(spread)).unwrap();
}
