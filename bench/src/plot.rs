//! A plot of all samples of a measurement, in the order they were taken: one dot each.

use std::fmt::Write as _;

use crate::{results::Results, statistics::Summary};

const WIDTH: u64 = 720;
const HEIGHT: u64 = 300;
const LEFT: u64 = 70;
const TOP: u64 = 34;
const BOTTOM: u64 = 24;
/// One for each series; told apart by people who see colours differently, too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// The plot as SVG.
pub(crate) fn svg(results: &Results) -> String {
    let all: Vec<u64> =
        results.series.iter().flat_map(|series| series.samples.iter().copied()).collect();
    // What lies far out is drawn at the edge: the rest shall be seen.
    let top = Summary::of(&all).map_or(1, |summary| summary.p99 * 11 / 10).max(1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    for step in 0..=4 {
        let value = top * step / 4;
        let y = height(value, top);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 6,
            y + 4,
            results.unit.show(value)
        );
    }
    for (index, (series, colour)) in results.series.iter().zip(COLOURS).enumerate() {
        let x = LEFT + 200 * index as u64;
        let name = &series.name;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"14\" r=\"4\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"18\">{name}</text>",
            x + 10
        );
        dots(&mut svg, &series.samples, top, colour);
    }
    svg.push_str("</svg>\n");
    svg
}

fn dots(svg: &mut String, micros: &[u64], top: u64, colour: &str) {
    let count = micros.len().max(1) as u64;
    let _ = writeln!(svg, "<g fill=\"{colour}\" fill-opacity=\"0.5\">");
    for (index, value) in (0_u64..).zip(micros) {
        let x = LEFT + (WIDTH - LEFT - 10) * index / count + 5;
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"{}\" r=\"2\"/>", height(*value, top));
    }
    svg.push_str("</g>\n");
}

/// Where a value is drawn.
fn height(value: u64, top: u64) -> u64 {
    HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value.min(top) / top
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn every_sample_is_a_dot_inside_the_picture() {
        let samples: Vec<u64> = (0..200).chain([9_999_999]).collect();
        let svg = svg(&results("clone", &[("ioctl", &samples), ("driver", &[5])]));
        assert_eq!(svg.matches("r=\"2\"").count(), 202);
        let heights = svg.split("cy=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for height in heights {
            assert!(height.parse::<u64>().unwrap() <= HEIGHT, "{height}");
        }
    }

    #[test]
    fn no_samples_are_an_empty_plot() {
        assert!(svg(&results("clone", &[("ioctl", &[])])).ends_with("</svg>\n"));
    }
}
