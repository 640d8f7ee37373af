//! Any text, as a caption: no panic, spans on its characters, ends that exist, and the same analysis again. Every thing describes itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_english::{CaptionAnalysis, End, Span, read};

fuzz_target!(|text: &str| {
    let analysis = read(text);
    check_spans(text, &analysis);
    check_ends(&analysis);
    for thing in &analysis.things {
        assert!(thing.count.min <= thing.count.max && !thing.name.is_empty());
        assert!(!thing.description().is_empty());
    }
    // Reading twice costs twice: a share of them will do.
    if text.len() % 8 == 0 {
        assert_eq!(read(text), analysis);
    }
});

fn check_spans(text: &str, analysis: &CaptionAnalysis) {
    let check = |span: &Span| assert!(text.get(span.clone()).is_some(), "{span:?} of {text:?}");
    analysis.things.iter().for_each(|thing| check(&thing.span));
    analysis.things.iter().flat_map(|thing| &thing.parts).for_each(|part| check(&part.span));
    let settings = [&analysis.places, &analysis.weather, &analysis.times, &analysis.styles];
    settings.into_iter().flatten().for_each(|setting| check(&setting.span));
    analysis.exclusions.iter().for_each(|exclusion| check(&exclusion.span));
    analysis.relations.iter().for_each(|relation| check(&relation.span));
    analysis.positions.iter().for_each(|position| check(&position.span));
    analysis.quotes.iter().for_each(|quote| check(&quote.span));
    analysis.controls.iter().for_each(|control| check(&control.span));
    analysis.not_understood.iter().for_each(check);
}

fn check_ends(analysis: &CaptionAnalysis) {
    let exists = |end: End| match end {
        End::Thing(i) => i < analysis.things.len(),
        End::Place(i) => i < analysis.places.len(),
    };
    assert!(analysis.relations.iter().all(|relation| exists(relation.subject) && exists(relation.object)));
    assert!(analysis.positions.iter().all(|position| position.thing < analysis.things.len()));
    assert!(analysis.quotes.iter().filter_map(|quote| quote.thing).all(|thing| thing < analysis.things.len()));
}
