//! Which object of a picture somebody means.

use sinopia_layout::{BBox, Canvas, Layout, nouns};

use super::EditError;
use super::context::{Object, ObjectSearch};
use super::error::KnownNames;
use super::place::{Place, shown};
use crate::Result;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Found {
    /// The object of the layout with this index.
    Listed(usize),
    /// The same, and it was said to be where it is.
    PointedAt(usize),
    /// Something that the layout does not name, and that was seen or pointed at.
    Seen(Object),
}

/// The objects that can be meant, and who looks for others.
pub(super) struct Finder<'a> {
    pub(super) objects: &'a [Object],
    pub(super) canvas: Canvas,
    pub(super) search: Option<&'a dyn ObjectSearch>,
}

/// The objects of a layout as shares of its canvas. Boxes without area are left out by repair before.
pub(super) fn objects_of(layout: &Layout) -> Vec<Object> {
    let of = |object: &sinopia_layout::LayoutObject| {
        let bbox = BBox::from_clipped(&object.bbox, layout.canvas)?;
        Some(Object { phrase: object.phrase.clone(), bbox })
    };
    layout.objects.iter().filter_map(of).collect()
}

impl Finder<'_> {
    /// The one that `typed` means: an object's words or the end of them, `the left …`, `… #2`, or `…@X,Y,W,H` for whatever is there.
    pub(super) fn find(&self, typed: &str) -> Result<Found> {
        let (phrase, place) = self.with_place(typed)?;
        if let Some(bbox) = place {
            return Ok(self.pointed_at(&phrase, bbox));
        }
        // An object may be called `the left shoe`.
        let (name, choice) = match self.named(&phrase).is_empty() {
            true => chosen_by(&phrase),
            false => (phrase.clone(), Choice::None),
        };
        let listed = self.named(&name);
        if !listed.is_empty() {
            let boxes: Vec<&Object> = listed.iter().map(|index| &self.objects[*index]).collect();
            return Ok(Found::Listed(listed[self.one_of(&boxes, &name, choice)?]));
        }
        self.refuse_several(&phrase)?;
        let seen = self.search.map(|search| search.search(&name)).transpose()?;
        match seen.as_deref() {
            None | Some([]) => Err(EditError::Unknown {
                phrase: phrase.clone(),
                known: KnownNames {
                    wanted: name,
                    phrases: self.objects.iter().map(|object| object.phrase.clone()).collect(),
                    is_looked_for: seen.is_some(),
                },
            }
            .into()),
            Some(seen) => {
                let index = self.one_of(&seen.iter().collect::<Vec<_>>(), &name, choice)?;
                Ok(self.pointed_at(&seen[index].phrase, seen[index].bbox))
            }
        }
    }

    /// Each change is of one object: words for more would go to whoever looks as if they were a name.
    fn refuse_several(&self, phrase: &str) -> Result<()> {
        let lower = phrase.to_lowercase();
        let mut words = lower.split_whitespace().filter(|word| !is_determiner(word));
        let first = words.next().unwrap_or_default();
        let is_of_more = ["both", "all", "every", "each", "two", "three", "four", "everything"].contains(&first);
        let are_two = lower.split_once(" and ").is_some_and(|(one, other)| {
            let starts_anew = other.split_whitespace().next().is_some_and(is_determiner);
            starts_anew || !self.named(one).is_empty() && !self.named(other).is_empty()
        });
        match is_of_more || are_two {
            true => Err(EditError::Several { phrase: phrase.to_owned() }.into()),
            false => Ok(()),
        }
    }

    /// Takes `@X,Y,W,H` off the end.
    fn with_place(&self, typed: &str) -> Result<(String, Option<BBox>)> {
        match typed.rsplit_once('@') {
            Some((phrase, place)) if !phrase.trim().is_empty() => {
                let (bbox, _) = Place::read(place, self.canvas)?.on(self.canvas)?;
                Ok((phrase.trim().to_owned(), Some(bbox)))
            }
            _ => Ok((typed.trim().to_owned(), None)),
        }
    }

    /// Whatever is at a place: an object of the layout, if one of that name is mostly there.
    fn pointed_at(&self, phrase: &str, bbox: BBox) -> Found {
        const SAME: f64 = 0.5;
        let overlap = |index: &usize| self.objects[*index].bbox.iou(&bbox);
        let there = self.named(phrase).into_iter().filter(|index| overlap(index) >= SAME);
        match there.max_by(|a, b| overlap(a).total_cmp(&overlap(b))) {
            Some(index) => Found::PointedAt(index),
            None => Found::Seen(Object { phrase: phrase.to_owned(), bbox }),
        }
    }

    /// The objects of a name: all that are called exactly so, else all of whose words these are some, the noun among them.
    fn named(&self, phrase: &str) -> Vec<usize> {
        let wanted = words(phrase);
        if wanted.is_empty() {
            return Vec::new();
        }
        let of = |is_meant: &dyn Fn(&[String], &str) -> bool| -> Vec<usize> {
            let meant =
                |(index, object): (usize, &Object)| is_meant(&words(&object.phrase), &object.phrase).then_some(index);
            self.objects.iter().enumerate().filter_map(meant).collect()
        };
        let exact = of(&|words, _| words == wanted);
        if !exact.is_empty() {
            return exact;
        }
        of(&|words, phrase| {
            let head = nouns::singular(&nouns::head(phrase).to_lowercase());
            wanted.contains(&head) && wanted.iter().all(|word| words.contains(word))
        })
    }

    /// The index of the one that is meant.
    fn one_of(&self, objects: &[&Object], name: &str, choice: Choice) -> Result<usize> {
        let listed = || -> Vec<String> {
            let each = objects.iter().enumerate();
            each.map(|(index, object)| {
                format!("#{} `{}` at {}", index + 1, object.phrase, shown(&object.bbox, self.canvas))
            })
            .collect()
        };
        match choice {
            Choice::None if objects.len() == 1 => Ok(0),
            Choice::None => Err(EditError::Ambiguous { phrase: words(name).join(" "), choices: listed() }.into()),
            Choice::Number(number) => match number.checked_sub(1).filter(|index| *index < objects.len()) {
                Some(index) => Ok(index),
                None => Err(EditError::NoSuchNumber { phrase: name.to_owned(), number, choices: listed() }.into()),
            },
            Choice::Most(measure) => {
                let of = |index: &usize| measure(&objects[*index].bbox);
                let best = (0..objects.len()).max_by(|a, b| of(a).total_cmp(&of(b)));
                Ok(best.unwrap_or_default())
            }
        }
    }
}

/// How one of several is chosen.
#[derive(Clone, Copy)]
enum Choice {
    None,
    /// Counted from 1.
    Number(usize),
    /// The one of which there is most of something.
    Most(fn(&BBox) -> f64),
}

/// `apple #2` as the name and the number.
fn numbered(phrase: &str) -> (String, Choice) {
    match phrase.rsplit_once('#').and_then(|(name, number)| Some((name.trim(), number.trim().parse().ok()?))) {
        Some((name, number)) if !name.is_empty() => (name.to_owned(), Choice::Number(number)),
        _ => (phrase.to_owned(), Choice::None),
    }
}

/// `the left apple`, `apple on the left` or `apple #2` as the name and how one of that name is chosen.
fn chosen_by(phrase: &str) -> (String, Choice) {
    if let (name, choice @ Choice::Number(_)) = numbered(phrase) {
        return (name, choice);
    }
    let mut words: Vec<&str> = phrase.split_whitespace().collect();
    let first = words.iter().position(|word| !is_determiner(&word.to_lowercase())).unwrap_or(0);
    let choice = words.get(first).and_then(|word| ordinal(word).or_else(|| measure_of(word).map(Choice::Most)));
    if let Some(choice) = choice.filter(|_| words.len() > first + 1) {
        words.drain(..=first);
        return (words.join(" "), choice);
    }
    if let Some(measure) = words.last().and_then(|word| measure_of(word)) {
        let rest = &words[..words.len() - 1];
        let is_small = |word: &&&str| ["on", "at", "in", "to", "the"].contains(&word.to_lowercase().as_str());
        let kept = rest.len() - rest.iter().rev().take_while(is_small).count();
        if kept > 0 && kept < rest.len() {
            return (words[..kept].join(" "), Choice::Most(measure));
        }
    }
    (phrase.to_owned(), Choice::None)
}

/// `second` and `2nd`, as the numbers of a list.
fn ordinal(word: &str) -> Option<Choice> {
    const ORDINALS: [&str; 6] = ["first", "second", "third", "fourth", "fifth", "sixth"];
    let word = word.to_lowercase();
    let number = match ORDINALS.iter().position(|ordinal| *ordinal == word) {
        Some(index) => Some(index + 1),
        None => ["st", "nd", "rd", "th"].iter().find_map(|ending| word.strip_suffix(ending)?.parse().ok()),
    };
    number.map(Choice::Number)
}

/// Of what a word of place or size says that there is most.
fn measure_of(word: &str) -> Option<fn(&BBox) -> f64> {
    Some(match word.to_lowercase().as_str() {
        "left" | "leftmost" => |bbox| -bbox.center().0,
        "right" | "rightmost" => |bbox| bbox.center().0,
        "top" | "upper" | "uppermost" | "topmost" | "highest" => |bbox| -bbox.center().1,
        "bottom" | "lower" | "lowest" | "bottommost" => |bbox| bbox.center().1,
        "middle" | "center" | "centre" | "central" => |bbox| {
            let (x, y) = bbox.center();
            -(x - 0.5).hypot(y - 0.5)
        },
        "largest" | "biggest" | "larger" | "bigger" => BBox::area,
        "smallest" | "smaller" => |bbox| -bbox.area(),
        _ => return None,
    })
}

/// Lower-case words, the noun in the singular, without articles.
pub(super) fn words(phrase: &str) -> Vec<String> {
    let singular = nouns::singular(&phrase.trim().to_lowercase());
    let words = singular.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
    words.filter(|word| !is_determiner(word)).map(str::to_owned).collect()
}

pub(super) fn is_determiner(word: &str) -> bool {
    ["a", "an", "the", "this", "that", "my", "our", "one", "some"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn objects(named: &[(&str, [f64; 4])]) -> Vec<Object> {
        let object = |(phrase, [x0, y0, x1, y1]): &(&str, [f64; 4])| Object {
            phrase: (*phrase).to_owned(),
            bbox: BBox::new(*x0, *y0, *x1, *y1).unwrap(),
        };
        named.iter().map(object).collect()
    }

    fn scene() -> Vec<Object> {
        objects(&[
            ("a red apple", [0.1, 0.5, 0.2, 0.6]),
            ("a green apple", [0.5, 0.4, 0.7, 0.6]),
            ("a blue dog", [0.7, 0.1, 0.9, 0.4]),
            ("a bowl of soup", [0.3, 0.7, 0.5, 0.9]),
            ("a red apple", [0.8, 0.6, 0.9, 0.7]),
        ])
    }

    /// Sees the same things whatever is asked for.
    struct Sees(Vec<Object>);

    impl ObjectSearch for Sees {
        fn search(&self, _phrase: &str) -> Result<Vec<Object>> {
            Ok(self.0.clone())
        }
    }

    fn find(typed: &str, search: Option<&dyn ObjectSearch>) -> Result<Found> {
        Finder { objects: &scene(), canvas: Canvas::PUBLISHED, search }.find(typed)
    }

    #[track_caller]
    fn refused(typed: &str, search: Option<&dyn ObjectSearch>) -> String {
        match find(typed, search) {
            Err(error @ Error::Editing(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_object_is_known_by_its_words_or_some_of_them() {
        for (typed, index) in [
            ("a blue dog", 2),
            ("the dog", 2),
            ("Dog", 2),
            ("blue dogs", 2),
            ("green apple", 1),
            ("the bowl", 3),
            ("soup bowl", 3),
            ("the left apple", 0),
            ("the apple on the right", 4),
            ("largest apple", 1),
            ("red apple #2", 4),
            ("apple #2", 1),
            ("the second apple", 1),
            ("2nd red apple", 4),
            ("the first dog", 2),
        ] {
            assert_eq!(find(typed, None).unwrap(), Found::Listed(index), "{typed}");
        }
        assert_eq!(find("red apple@400,300,60,60", None).unwrap(), Found::PointedAt(4));
    }

    #[test]
    fn several_are_refused_with_the_choices() {
        let message = refused("the red apple", None);
        assert!(
            message.contains("any of 2: #1 `a red apple` at 51,256,51,51; #2 `a red apple` at 410,307,51,51"),
            "{message}"
        );
        assert!(refused("apple", None).contains("any of 3"));
        assert!(refused("red apple #3", None).contains("#2 `a red apple`"));
    }

    #[test]
    fn nothing_is_refused_with_what_there_is() {
        let message = refused("the red dog", None);
        assert!(
            message.contains("`a blue dog`") && message.contains("--detector") && message.contains("red dog@X,Y,W,H"),
            "{message}"
        );
        assert!(refused("a blue dgo", None).contains("did you mean `a blue dog`?"));
        let message = refused("unicorn", Some(&Sees(Vec::new())));
        assert!(message.contains("the detector sees none") && !message.contains("--detector"), "{message}");
        // What is counted is counted, and what is more than one thing is no name of one.
        let sees_all = Sees(scene());
        assert!(refused("the second dog", Some(&sees_all)).contains("there is no `dog #2`"));
        for typed in ["both apples", "all dogs", "the dog and the bowl", "dog and bowl", "two red balls"] {
            assert!(refused(typed, Some(&sees_all)).contains("names more than one thing"), "{typed}");
        }
        assert!(refused("of", None).contains("there is no `of`"));
    }

    #[test]
    fn what_the_layout_does_not_name_is_looked_for() {
        let seen = objects(&[("cat", [0.0, 0.0, 0.2, 0.2]), ("cat", [0.6, 0.0, 0.9, 0.2])]);
        assert_eq!(find("the cat", Some(&Sees(seen[..1].to_vec()))).unwrap(), Found::Seen(seen[0].clone()));
        assert!(refused("the cat", Some(&Sees(seen.clone()))).contains("any of 2"));
        assert_eq!(find("the right cat", Some(&Sees(seen.clone()))).unwrap(), Found::Seen(seen[1].clone()));
    }

    #[test]
    fn a_place_points_at_what_is_there() {
        let Found::Seen(object) = find("the lamp@0,0,256,128", None).unwrap() else { panic!() };
        assert_eq!((object.phrase.as_str(), object.bbox.corners()), ("the lamp", (0.0, 0.0, 0.5, 0.25)));
        assert!(refused("the lamp@here", None).contains("X,Y,W,H"));
    }
}
