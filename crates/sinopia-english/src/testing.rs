//! What the rules' tests share: a caption's analysis as lines of text.

use crate::analysis::{CaptionAnalysis, End};
use crate::read::read;

/// Compares the analysis of `caption`, a line for each thing, part, setting, exclusion, relation and position, with `expected`.
pub(crate) fn check(caption: &str, expected: &[&str]) {
    assert_eq!(lines(&read(caption)), expected, "{caption}");
}

fn lines(analysis: &CaptionAnalysis) -> Vec<String> {
    let mut lines = Vec::new();
    for thing in &analysis.things {
        let count = if thing.count.min == thing.count.max {
            thing.count.min.to_string()
        } else {
            format!("{}-{}", thing.count.min, thing.count.max)
        };
        let contents = thing.contents.as_ref().map_or(String::new(), |contents| format!(" of {contents}"));
        lines.push(format!("{count} {}{contents}", thing.name));
        lines.extend(
            thing.parts.iter().map(|part| format!("{} {:?} {}", thing.name, part.kind, part.phrase).to_lowercase()),
        );
    }
    lines.extend(
        analysis.places.iter().map(|place| format!("{} {}", place.preposition, place.phrase).trim().to_owned()),
    );
    lines.extend(analysis.weather.iter().map(|weather| format!("weather {}", weather.name)));
    lines.extend(analysis.times.iter().map(|time| format!("time {}", time.name)));
    lines.extend(analysis.styles.iter().map(|style| format!("style {}", style.phrase)));
    lines.extend(analysis.exclusions.iter().map(|exclusion| format!("no {}", exclusion.name)));
    for relation in &analysis.relations {
        lines.push(format!(
            "{} {:?} {}",
            name(analysis, relation.subject),
            relation.kind,
            name(analysis, relation.object)
        ));
    }
    lines.extend(
        analysis.positions.iter().map(|position| format!("{} {:?}", analysis.things[position.thing].name, position.at)),
    );
    lines
}

fn name(analysis: &CaptionAnalysis, end: End) -> &str {
    match end {
        End::Thing(i) => &analysis.things[i].name,
        End::Place(i) => &analysis.places[i].name,
    }
}
