//! Captions of boxes, of the background, and of what must not be there.

use sinopia_english::{CaptionAnalysis, End, NounClass, Nouns, Relation, RelationKind, Setting, Span, Thing};
use sinopia_layout::nouns::article;

/// The background of a caption that names no place.
const PLAIN: &str = "scene";

/// The style of a caption that names none: what the published layouts say.
const REALISTIC: &str = "A realistic photo of";

/// One of them is written as several.
const ONLY_PLURAL: &[&str] = &[
    "glasses",
    "sunglasses",
    "goggles",
    "scissors",
    "pants",
    "trousers",
    "jeans",
    "shorts",
    "tights",
    "leggings",
    "pajamas",
    "binoculars",
    "headphones",
    "tongs",
    "pliers",
    "stairs",
];

/// What stands before a noun and takes the place of an article.
const DETERMINERS: &[&str] = &[
    "a", "an", "the", "this", "that", "these", "those", "his", "her", "its", "their", "some", "my", "our", "your",
    "two", "many", "several",
];

/// Places that are all around and that no picture is of.
const WITHOUT_EDGES: &[&str] = &[
    "snow",
    "rain",
    "grass",
    "air",
    "sky",
    "water",
    "sand",
    "mud",
    "dark",
    "sun",
    "wind",
    "ground",
    "floor",
    "background",
];

/// Prepositions that lead to a place, as they are written.
const LEADING: &[&str] = &[
    "in", "on", "at", "under", "over", "near", "by", "along", "across", "through", "behind", "inside", "beside",
    "against", "past", "above", "below", "beneath", "around", "outside", "during", "among", "between", "with",
];

/// The caption of a box: an article and the thing in the singular with what it wears and has.
/// What a lifeless thing does is where it stands, and a deed with an object is told by both standing together; who sleeps or runs looks otherwise.
pub(crate) fn phrase(analysis: &CaptionAnalysis, i: usize) -> String {
    let thing = &analysis.things[i];
    let has_object = |relation: &Relation| {
        relation.subject == End::Thing(i)
            && matches!(
                relation.kind,
                RelationKind::Action | RelationKind::At | RelationKind::From | RelationKind::Against
            )
    };
    let is_told = thing.class.is_alive() && !analysis.relations.iter().any(has_object);
    let description = Thing { doing: thing.doing.clone().filter(|_| is_told), ..thing.clone() }.description();
    let named = if is_name(&description) || is_mass(thing) || ONLY_PLURAL.contains(&thing.head.as_str()) {
        description
    } else {
        format!("{} {description}", article(&description))
    };
    let texts = analysis.quotes.iter().filter(|quote| quote.thing == Some(i) && !quote.text.is_empty());
    texts.fold(named, |named, quote| format!("{named} that says \"{}\"", quote.text))
}

fn is_name(description: &str) -> bool {
    description.starts_with(char::is_uppercase)
}

/// `cheese`, written without article and number.
fn is_mass(thing: &Thing) -> bool {
    let is_bare = !thing.count.is_written && thing.count.max == 1;
    is_bare && matches!(thing.class, NounClass::Substance | NounClass::Food)
}

/// Style, place, weather and time in one sentence: `A realistic photo of a scene in the snow`.
pub(crate) fn background(caption: &str, analysis: &CaptionAnalysis) -> String {
    let places: Vec<&Setting> = analysis.places.iter().collect();
    // `a kitchen with …` before `… on a beach`; what has no place to itself surrounds a scene: `in the snow`.
    let main = places.iter().position(|place| place.preposition.is_empty());
    let main = main.or_else(|| places.iter().position(|place| is_whole(caption, place)));
    let subject = main.map_or_else(|| PLAIN.to_owned(), |i| bare(caption, &places[i].span));
    let subject =
        if has_article(&subject) || is_name(&subject) { subject } else { format!("{} {subject}", article(&subject)) };
    let mut text = format!("{} {subject}", medium(caption, analysis));
    let others = places.iter().enumerate().filter(|(i, _)| Some(*i) != main).map(|(_, place)| *place);
    for setting in others.chain(&analysis.weather).chain(&analysis.times) {
        text.push_str(&clause(caption, setting));
    }
    for manner in manners(caption, analysis) {
        text.push_str(&format!(", {manner}"));
    }
    text
}

/// Whether a picture can be of that place: of a beach, not of the snow nor of what something is near to.
fn is_whole(caption: &str, place: &Setting) -> bool {
    let leads_in = ["in", "on", "at", "inside", "through", "across", "along"].contains(&place.preposition.as_str());
    let class = Nouns::embedded().class(&place.name);
    leads_in
        && has_article(&bare(caption, &place.span))
        && !matches!(class, Some(NounClass::Weather | NounClass::Substance | NounClass::Time))
        && !WITHOUT_EDGES.contains(&place.name.as_str())
}

/// How the picture is made, as the beginning of the background's caption: `A watercolor painting of`.
fn medium(caption: &str, analysis: &CaptionAnalysis) -> String {
    let styles = || analysis.styles.iter();
    let Some(medium) = styles().find(|style| is_medium(style)) else {
        // A manner of drawing and a realistic photo would contradict each other.
        let is_manner = |style: &Setting| ["style", "anime"].contains(&style.name.as_str());
        return if styles().any(is_manner) { "A picture of".to_owned() } else { REALISTIC.to_owned() };
    };
    let named = bare(caption, &medium.span).trim_end_matches(" of").to_owned();
    let pointing = ["this ", "that ", "the ", "these "].iter().find_map(|word| named.strip_prefix(word));
    let named = pointing.map_or(named.clone(), str::to_owned);
    let is_material = ["oil", "acrylic", "gouache", "ink"].iter().any(|word| named.to_lowercase().ends_with(word));
    let named = if is_material { format!("{named} painting") } else { named };
    let is_mass = ["art", "artwork", "photography", "anime"].iter().any(|word| named.to_lowercase().ends_with(word));
    let full = if is_mass || has_article(&named) { named } else { format!("{} {named}", article(&named)) };
    let mut letters = full.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{first}{} of", letters.as_str())
}

/// A painting, not its light nor its sharpness.
fn is_medium(style: &Setting) -> bool {
    !["lighting", "style", "quality", "lens", "anime"].contains(&style.name.as_str())
}

/// What else is said of how it looks: `shallow depth of field`.
fn manners<'a>(caption: &'a str, analysis: &'a CaptionAnalysis) -> impl Iterator<Item = String> + 'a {
    let medium = analysis.styles.iter().position(is_medium);
    let others = analysis.styles.iter().enumerate().filter(move |(i, _)| Some(*i) != medium);
    others.map(|(_, style)| bare(caption, &style.span))
}

fn clause(caption: &str, setting: &Setting) -> String {
    let phrase = bare(caption, &setting.span);
    let preposition = setting.preposition.split_whitespace().last().unwrap_or_default();
    match setting.preposition.as_str() {
        "" => format!(", {phrase}"),
        _ if LEADING.contains(&preposition) => format!(" {preposition} {phrase}"),
        "into" | "inside of" => format!(" in {phrase}"),
        "onto" | "crossing" | "down" | "up" | "off" => format!(" on {phrase}"),
        "surrounded by" => format!(" surrounded by {phrase}"),
        _ => format!(" at {phrase}"),
    }
}

/// The caption's own words, in one line.
fn bare(caption: &str, span: &Span) -> String {
    let text = caption.get(span.clone()).unwrap_or_default();
    let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    // A sentence may begin with it, and here it stands inside one.
    if let Some(first) = words.first_mut()
        && DETERMINERS.contains(&first.to_lowercase().as_str())
    {
        *first = first.to_lowercase();
    }
    words.join(" ")
}

fn has_article(phrase: &str) -> bool {
    let first = phrase.split_whitespace().next().unwrap_or_default().to_lowercase();
    DETERMINERS.contains(&first.as_str())
}

/// What is excluded, each once, separated by commas.
pub(crate) fn negative(analysis: &CaptionAnalysis) -> String {
    let mut phrases: Vec<&str> = Vec::new();
    for exclusion in &analysis.exclusions {
        if !phrases.contains(&exclusion.phrase.as_str()) {
            phrases.push(&exclusion.phrase);
        }
    }
    phrases.join(", ")
}
