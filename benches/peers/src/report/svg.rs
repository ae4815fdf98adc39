//! Two kinds of picture, written by hand: bars, and lines on linear or logarithmic axes. No
//! dependency, no script, no font but the reader's; legible on light and dark pages.

use super::number::shown;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 110.0;

/// One line of a picture.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

pub(super) struct Axes {
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) log_x: bool,
    pub(super) log_y: bool,
}

/// The same colour for an engine in every picture; batched by hand, a paler one.
fn colour(engine: &str) -> &'static str {
    match engine {
        "milepost" => "#d9480f",
        "redb" => "#1864ab",
        "sqlite" => "#2b8a3e",
        "fjall" => "#862e9c",
        "lmdb" => "#0b7285",
        "files" => "#5c5f66",
        "redb-batch100" => "#74c0fc",
        "sqlite-batch100" => "#8ce99a",
        "fjall-batch100" => "#e599f7",
        "lmdb-batch100" => "#66d9e8",
        "redb-on-milepost-file" => "#f783ac",
        _ => "#adb5bd",
    }
}

pub(super) fn bars(title: &str, bars: &[(String, f64)]) -> String {
    let most = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut body = String::new();
    let mut y = 44.0;
    for (engine, value) in bars {
        let width = (value / most * (WIDTH - LEFT - RIGHT)).max(1.0);
        text(&mut body, LEFT - 8.0, y + 14.0, "end", engine);
        let fill = colour(engine);
        element(
            &mut body,
            &format!(r#"<rect x="{LEFT}" y="{y}" width="{width:.1}" height="18" fill="{fill}"/>"#),
        );
        text(&mut body, LEFT + width + 6.0, y + 14.0, "start", &shown(Some(*value)));
        y += 26.0;
    }
    page(title, y + 10.0, &body)
}

pub(super) fn lines(title: &str, axes: &Axes, lines: &[Line]) -> String {
    let height = 400.0;
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let x = Scale::new(points().map(|p| p.0), axes.log_x, (80.0, WIDTH - 190.0));
    let y = Scale::new(points().map(|p| p.1), axes.log_y, (height - 50.0, 44.0));
    let mut body = String::new();
    for (value, at) in x.ticks() {
        rule(&mut body, (at, 44.0), (at, height - 50.0));
        text(&mut body, at, height - 32.0, "middle", &shown(Some(value)));
    }
    for (value, at) in y.ticks() {
        rule(&mut body, (80.0, at), (WIDTH - 190.0, at));
        text(&mut body, 74.0, at + 4.0, "end", &shown(Some(value)));
    }
    text(&mut body, f64::midpoint(80.0, WIDTH - 190.0), height - 12.0, "middle", axes.x);
    text(&mut body, 8.0, 40.0, "start", axes.y);
    let mut legend = 60.0;
    for line in lines {
        let path: Vec<String> =
            line.points.iter().map(|p| format!("{:.1},{:.1}", x.at(p.0), y.at(p.1))).collect();
        let stroke = colour(&line.name);
        let path = path.join(" ");
        element(
            &mut body,
            &format!(
                r#"<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2"/>"#
            ),
        );
        let (at, y) = (WIDTH - 178.0, legend - 1.5);
        element(
            &mut body,
            &format!(r#"<rect x="{at}" y="{y}" width="20" height="3" fill="{stroke}"/>"#),
        );
        text(&mut body, WIDTH - 152.0, legend + 4.0, "start", &line.name);
        legend += 20.0;
    }
    page(title, height, &body)
}

/// From values to pixels.
struct Scale {
    low: f64,
    high: f64,
    log: bool,
    pixels: (f64, f64),
}

impl Scale {
    fn new(values: impl Iterator<Item = f64>, log: bool, pixels: (f64, f64)) -> Self {
        let positive = values.filter(|value| !log || *value > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in positive {
            (low, high) = (low.min(value), high.max(value));
        }
        if log {
            (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
        } else {
            low = low.min(0.0);
        }
        if high <= low || !(low.is_finite() && high.is_finite()) {
            (low, high) = if log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        Self { low, high, log, pixels }
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// Powers of ten, or five steps of a round size.
    fn ticks(&self) -> Vec<(f64, f64)> {
        let mut ticks = Vec::new();
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|n| *n >= rough);
        let step = step.unwrap_or(rough);
        let mut value = self.low;
        while value <= self.high * 1.000_1 && ticks.len() < 20 {
            ticks.push((value, self.at(value)));
            value = if self.log { value * 10.0 } else { value + step };
        }
        ticks
    }
}

fn rule(body: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    element(
        body,
        &format!(
            r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#dee2e6"/>"##
        ),
    );
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    element(body, &format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#));
}

fn element(body: &mut String, element: &str) {
    body.push_str(element);
    body.push('\n');
}

fn page(title: &str, height: f64, body: &str) -> String {
    let mut svg = String::new();
    let font = r##"font-family="system-ui, sans-serif" font-size="13" fill="#212529""##;
    let size = format!(r#"xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}""#);
    element(&mut svg, &format!("<svg {size} {font}>"));
    element(&mut svg, r##"<rect width="100%" height="100%" fill="#ffffff"/>"##);
    element(
        &mut svg,
        &format!(r#"<text x="8" y="22" font-size="16" font-weight="600">{title}</text>"#),
    );
    svg.push_str(body);
    element(&mut svg, "</svg>");
    svg
}
