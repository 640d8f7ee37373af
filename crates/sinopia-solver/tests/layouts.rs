//! What a person would see in a layout: everything there, where the caption puts it, on any canvas and with any seed.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use proptest::prelude::*;
use sinopia_english::{CaptionAnalysis, End, read};
use sinopia_layout::{Canvas, PixelBox};
use sinopia_solver::geometry::{Verdict, group_holds, stands_at};
use sinopia_solver::{MOST_BOXES, Remark, Solution, SolveOptions, Unsolvable, solve};

const CANVASES: [(u32, u32); 4] = [(512, 512), (128, 128), (1024, 576), (640, 1136)];

fn solved(caption: &str, canvas: (u32, u32), seed: u64) -> (CaptionAnalysis, Solution) {
    let canvas = Canvas::new(canvas.0, canvas.1).unwrap();
    let analysis = read(caption);
    let solution = solve(caption, &analysis, &SolveOptions { canvas, seed }).unwrap();
    (analysis, solution)
}

fn boxes(solution: &Solution, thing: usize) -> Vec<PixelBox> {
    solution.boxes[thing].iter().map(|i| solution.layout.objects[*i].bbox).collect()
}

/// A caption for every way of standing; no relation and no position of it may be broken.
const STANDING: &[&str] = &[
    "a cat to the left of a dog",
    "a cup to the right of a plate and a fork to the left of the plate",
    "a bird above a house",
    "a ball below a chair",
    "a red cube on top of a blue sphere, left of a green cone",
    "a vase on a table",
    "two books and a lamp on a desk",
    "four cats on four chairs",
    "a dog under a table and a cat on the table",
    "a boat under a bridge",
    "three eggs in a basket",
    "a child in a box",
    "a car behind a truck",
    "a boy in front of a castle",
    "a teapot between two cups",
    "a tree between a house and a barn",
    "eight candles around a cake",
    "a bench next to a fountain",
    "a ladder leaning against a wall",
    "a man riding a horse",
    "two men riding horses",
    "a woman holding an umbrella",
    "a girl flying a kite",
    "a cat chasing a mouse",
    "a duck followed by three ducklings",
    "a mouse bigger than an elephant",
    "a cat on the left, a dog in the middle and a rabbit on the right",
    "a moon in the top left corner and a boat in the bottom right corner",
    "five cups in a row",
    "six penguins standing in a row on an iceberg",
    "a kite above a tree, and a bird above the kite",
    "a blue cube directly above a red cube with a vase on the left of them",
    "an apple left of a pear, the pear left of a plum, the plum left of a fig",
];

#[test]
fn things_stand_as_the_caption_says() {
    for caption in STANDING {
        for canvas in CANVASES {
            for seed in 0..4 {
                let (analysis, solution) = solved(caption, canvas, seed);
                let canvas = solution.layout.canvas;
                assert!(!analysis.relations.is_empty() || !analysis.positions.is_empty(), "{caption}");
                for relation in &analysis.relations {
                    let (End::Thing(subject), End::Thing(object)) = (relation.subject, relation.object) else {
                        continue;
                    };
                    let (subjects, objects) = (boxes(&solution, subject), boxes(&solution, object));
                    // What is between two things has a relation to each; their verdict is that of all boxes together.
                    let verdict = group_holds(relation.kind, &subjects, &objects, canvas);
                    assert_ne!(
                        verdict,
                        Verdict::Broken,
                        "{caption} on {canvas}, seed {seed}: {relation:?} {:?}",
                        solution.layout
                    );
                }
                for position in &analysis.positions {
                    let verdict = stands_at(position.at, &boxes(&solution, position.thing), canvas);
                    assert_ne!(verdict, Verdict::Broken, "{caption} on {canvas}, seed {seed}: {position:?}");
                }
            }
        }
    }
}

#[test]
fn things_without_a_relation_do_not_overlap() {
    for caption in [
        "2 cats, 1 dog, and 3 mice",
        "a bench, a stop sign and a fire hydrant",
        "seven bottles and four books",
        "an airplane, a car, a dog and a sun",
    ] {
        for canvas in CANVASES {
            for seed in 0..4 {
                let (_, solution) = solved(caption, canvas, seed);
                let objects = &solution.layout.objects;
                for (i, a) in objects.iter().enumerate() {
                    for b in &objects[i + 1..] {
                        assert_eq!(a.bbox.intersection(&b.bbox), 0.0, "{caption}: {a:?} {b:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn every_number_has_its_boxes() {
    for (word, count) in
        [("one", 1), ("two", 2), ("five", 5), ("seven", 7), ("ten", 10), ("twelve", 12), ("twenty", 20)]
    {
        let (_, solution) = solved(&format!("{word} apples"), (512, 512), 0);
        assert_eq!(solution.layout.objects.len(), count);
        assert!(solution.remarks.is_empty());
        // Large enough to be told: half a cell of the coarsest grid.
        assert!(solution.layout.objects.iter().all(|object| object.bbox.width() > 16.0 && object.bbox.height() > 16.0));
    }
}

#[test]
fn more_than_can_be_told_is_said() {
    let (_, solution) = solved("a hundred sheep and a dog", (512, 512), 0);
    assert!(solution.layout.objects.len() <= MOST_BOXES as usize);
    assert_eq!(solution.boxes[1].len(), 1);
    assert!(matches!(&solution.remarks[0], Remark::Fewer { asked: 100, .. }), "{:?}", solution.remarks);
}

#[test]
fn sizes_are_those_of_the_world() {
    let areas = |caption: &str| {
        let (_, solution) = solved(caption, (512, 512), 0);
        solution.layout.objects.iter().map(|object| object.bbox.area()).collect::<Vec<_>>()
    };
    for caption in [
        "an elephant and a cat",
        "a house and a bicycle",
        "a tree and a dog",
        "a man and a bottle",
        "a bus and a chair",
        "a pumpkin and a cherry",
    ] {
        let areas = areas(caption);
        assert!(areas[0] > 1.3 * areas[1], "{caption}: {areas:?}");
    }
    let alone = areas("a cat");
    assert!((0.15..0.4).contains(&(alone[0] / (512.0 * 512.0))), "{alone:?}");
}

#[test]
fn what_flies_is_above_what_stands() {
    for caption in
        ["a balloon and a house", "a tree and the sun", "a bird flying over a field and a horse", "a plane and a car"]
    {
        let (_, solution) = solved(caption, (512, 512), 0);
        let mut bottoms: Vec<(String, f64)> =
            solution.layout.objects.iter().map(|object| (object.phrase.clone(), object.bbox.bottom())).collect();
        bottoms.sort_by(|a, b| a.1.total_cmp(&b.1));
        let highest = &bottoms[0].0;
        assert!(
            ["balloon", "sun", "bird", "plane"].iter().any(|word| highest.contains(word)),
            "{caption}: {bottoms:?}"
        );
    }
}

#[test]
fn contradictions_are_told_and_what_comes_first_holds() {
    let caption = "a cat to the left of a dog, and the dog is to the left of the cat";
    let (analysis, solution) = solved(caption, (512, 512), 0);
    assert_eq!(analysis.things.len(), 2);
    assert!(matches!(&solution.remarks[..], [Remark::Contradiction { .. }]), "{:?}", solution.remarks);
    assert!(boxes(&solution, 0)[0].right() <= boxes(&solution, 1)[0].x());
}

#[test]
fn backgrounds_and_negatives_are_what_the_caption_says() {
    for (caption, background, negative) in [
        ("three cats and a dog in the snow", "A realistic photo of a scene in the snow", ""),
        ("a lighthouse at night, no people", "A realistic photo of a scene at night", "people"),
        ("watercolor painting of a sailboat on the sea", "A watercolor painting of the sea", ""),
        ("a blue dog on a beach at night", "A realistic photo of a beach at night", ""),
        ("a kitchen with a stove, no windows and no cats", "A realistic photo of a kitchen", "windows, cats"),
        ("a dog", "A realistic photo of a scene", ""),
    ] {
        let (_, solution) = solved(caption, (512, 512), 0);
        assert_eq!(
            (solution.layout.background.as_str(), solution.layout.negative.as_str()),
            (background, negative),
            "{caption}"
        );
    }
}

#[test]
fn boxes_say_what_belongs_to_their_thing() {
    let phrases = |caption: &str| {
        let (_, solution) = solved(caption, (512, 512), 0);
        solution.layout.objects.iter().map(|object| object.phrase.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        phrases("a man in a red shirt and a woman in a blue dress"),
        ["a man wearing a red shirt", "a woman wearing a blue dress"]
    );
    assert_eq!(phrases("two red balloons and an orange"), ["a red balloon", "a red balloon", "an orange"]);
    assert_eq!(phrases("a sleeping cat"), ["a sleeping cat"]);
}

#[test]
fn the_same_seed_gives_the_same_layout_and_others_vary() {
    let caption = "two dogs chase cats in a park, a bench beside a tree";
    let layouts: Vec<_> = (0..6).map(|seed| solved(caption, (512, 512), seed).1.layout).collect();
    assert_eq!(layouts[3], solved(caption, (512, 512), 3).1.layout);
    assert!((1..6).any(|seed| layouts[seed] != layouts[0]));
}

#[test]
fn nothing_to_draw_is_refused() {
    for caption in ["", "   ", "?!"] {
        assert_eq!(solve(caption, &read(caption), &SolveOptions::default()), Err(Unsolvable::Nothing), "{caption:?}");
    }
}

/// Each of these was once built twice a level, or multiplied with every level.
#[test]
fn deep_trees_and_shared_out_things_stay_small() {
    for word in [
        "a cat on ",
        "two cats on ",
        "a box in ",
        "a cup on a cat and ",
        "a man holding ",
        "three cats on three horses, ",
        "a cat behind ",
    ] {
        let caption: String = word.chars().cycle().take(1500).collect();
        let (_, solution) = solved(&caption, (512, 512), 0);
        assert!(solution.layout.objects.len() <= MOST_BOXES as usize, "{word}");
    }
    let (_, solution) = solved("three cats on three horses, three birds on the cats", (512, 512), 0);
    let counts: Vec<usize> = solution.boxes.iter().map(Vec::len).collect();
    assert_eq!(counts, [3, 3, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever is read is laid out inside the canvas.
    #[test]
    fn any_order_of_words_is_laid_out_inside(
        indices in prop::collection::vec(0_usize..40, 1..24),
        canvas in 0_usize..4,
        seed in 0_u64..1000,
    ) {
        const WORDS: [&str; 40] = [
            "a", "two", "twelve", "the", "cat", "dogs", "table", "house", "balloon", "man", "horse", "box", "on", "in", "under", "above", "left", "of", "to", "the",
            "right", "behind", "between", "around", "next", "to", "holding", "riding", "bigger", "than", "and", ",", "no", "with", "in", "the", "middle", "in a row", "each", "it",
        ];
        let caption = indices.into_iter().map(|i| WORDS[i]).collect::<Vec<_>>().join(" ");
        let (width, height) = CANVASES[canvas];
        let options = SolveOptions { canvas: Canvas::new(width, height).unwrap(), seed };
        let analysis = read(&caption);
        match solve(&caption, &analysis, &options) {
            Ok(solution) => {
                prop_assert!(solution.layout.is_inside_canvas(), "{caption}: {:?}", solution.layout);
                prop_assert_eq!(solution.boxes.len(), analysis.things.len());
                prop_assert_eq!(solution.boxes.iter().map(Vec::len).sum::<usize>(), solution.layout.objects.len());
            }
            Err(Unsolvable::Nothing) => prop_assert!(analysis.things.is_empty()),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
