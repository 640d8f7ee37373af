//! Boxes that cannot hold their objects, corrected before anything is painted.

use sinopia_diffusion::ImageSize;
use sinopia_layout::{Canvas, Layout, PixelBox};

/// The shortest side of a box that something can be seen in, in pixels of the picture: two latent cells.
const SHORTEST_SIDE: f64 = 16.0;
/// Of a box, the share that has to be free of the smaller boxes, which are painted above it.
const SHOWN_SHARE: f64 = 0.15;
/// By how much a hidden box is enlarged at a time, and how often.
const ENLARGEMENTS: [f64; 2] = [1.25, 1.5625];
/// Points along a side of a box at which is looked what covers it.
const POINTS: usize = 32;

/// A layout whose boxes can hold their objects, as far as that can be had by enlarging them around their centres, and what was changed or is still wrong, a sentence each.
/// A box that is left alone keeps its numbers to the bit.
pub fn with_room(layout: &Layout, picture: ImageSize) -> (Layout, Vec<String>) {
    let mut corrected = layout.clone();
    let mut told = Vec::new();
    let canvas = layout.canvas;
    let shortest = |pixels: usize, side: u32| SHORTEST_SIDE * f64::from(side) / pixels.max(1) as f64;
    let shortest = (shortest(picture.width, canvas.width()), shortest(picture.height, canvas.height()));
    for index in 0..corrected.objects.len() {
        let object = &corrected.objects[index];
        let phrase = object.phrase.clone();
        let (width, height) = (object.bbox.width().max(shortest.0), object.bbox.height().max(shortest.1));
        if (width, height) != (object.bbox.width(), object.bbox.height())
            && let Some(bbox) = around(&object.bbox, width, height, canvas)
        {
            corrected.objects[index].bbox = bbox;
            told.push(format!("the box of `{phrase}` is too small to paint in: it was enlarged"));
        }
    }
    for index in 0..corrected.objects.len() {
        let phrase = corrected.objects[index].phrase.clone();
        if !is_hidden(index, &corrected) {
            continue;
        }
        match enlarged(index, &corrected) {
            Some(bbox) => {
                corrected.objects[index].bbox = bbox;
                told.push(format!("the box of `{phrase}` is hidden by others: it was enlarged"));
            }
            None => told.push(format!("the box of `{phrase}` is hidden by others")),
        }
    }
    (corrected, told)
}

/// A hidden box enlarged until enough of it is seen, if that helps.
fn enlarged(index: usize, layout: &Layout) -> Option<PixelBox> {
    let bbox = layout.objects[index].bbox;
    ENLARGEMENTS.iter().find_map(|factor| {
        let larger = around(&bbox, bbox.width() * factor, bbox.height() * factor, layout.canvas)?;
        let mut tried = layout.clone();
        tried.objects[index].bbox = larger;
        (!is_hidden(index, &tried)).then_some(larger)
    })
}

/// A box of another size with the same centre, moved into the canvas; nothing if it does not fit into it.
fn around(bbox: &PixelBox, width: f64, height: f64, canvas: Canvas) -> Option<PixelBox> {
    let (x, y) = bbox.center();
    let (across, down) = (f64::from(canvas.width()), f64::from(canvas.height()));
    if width > across || height > down {
        return None;
    }
    let left = (x - width / 2.0).clamp(0.0, across - width);
    let top = (y - height / 2.0).clamp(0.0, down - height);
    PixelBox::new(left, top, width, height).ok().map(|bbox| bbox.rounded(canvas))
}

/// Whether hardly anything of a box is free of those that are painted above it: smaller ones, and of equals the later.
fn is_hidden(index: usize, layout: &Layout) -> bool {
    let bbox = &layout.objects[index].bbox;
    let others = layout.objects.iter().enumerate();
    let above = others.filter(|(other, object)| {
        let (area, own) = (object.bbox.area(), bbox.area());
        area < own || (area == own && *other > index)
    });
    let above: Vec<PixelBox> = above.map(|(_, object)| object.bbox).collect();
    if above.is_empty() || !bbox.has_area() {
        return false;
    }
    let at = |start: f64, length: f64, point: usize| start + length * (point as f64 + 0.5) / POINTS as f64;
    let points = (0..POINTS * POINTS)
        .map(|point| (at(bbox.x(), bbox.width(), point % POINTS), at(bbox.y(), bbox.height(), point / POINTS)));
    let holds = |other: &PixelBox, (x, y): (f64, f64)| {
        (other.x()..other.right()).contains(&x) && (other.y()..other.bottom()).contains(&y)
    };
    let free = points.filter(|point| !above.iter().any(|other| holds(other, *point))).count();
    (free as f64) < SHOWN_SHARE * (POINTS * POINTS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: ImageSize = ImageSize { width: 512, height: 512 };

    fn layout(boxes: &[(&str, [i32; 4])]) -> Layout {
        let boxes: Vec<String> = boxes.iter().map(|(phrase, bbox)| format!("('{phrase}', {bbox:?})")).collect();
        sinopia_layout::parse_answer(&format!("[{}]\nBackground prompt: A table", boxes.join(", "))).unwrap()
    }

    #[test]
    fn what_has_room_is_left_alone() {
        let good = layout(&[("a plate", [50, 50, 300, 300]), ("an apple", [100, 100, 90, 90])]);
        assert_eq!(with_room(&good, PICTURE), (good, Vec::new()));
    }

    #[test]
    fn a_box_of_a_few_pixels_is_enlarged_inside_the_canvas() {
        let tiny = layout(&[("a bee", [500, 200, 8, 20])]);
        let (corrected, told) = with_room(&tiny, PICTURE);
        assert_eq!(corrected.objects[0].bbox, PixelBox::new(496.0, 200.0, 16.0, 20.0).unwrap());
        assert_eq!(told, ["the box of `a bee` is too small to paint in: it was enlarged"]);
        // A small picture has fewer cells: what is enough at 512 pixels is not at 128.
        let small = ImageSize { width: 128, height: 128 };
        assert_eq!(with_room(&layout(&[("a bee", [200, 200, 40, 70])]), small).0.objects[0].bbox.width(), 64.0);
    }

    #[test]
    fn what_others_hide_is_enlarged_if_that_helps() {
        let hidden = layout(&[
            ("a plate", [100, 100, 200, 200]),
            ("two apples", [98, 98, 102, 204]),
            ("a pear", [200, 98, 102, 204]),
        ]);
        let (corrected, told) = with_room(&hidden, PICTURE);
        assert!(corrected.objects[0].bbox.width() > 240.0 && corrected.objects[1..] == hidden.objects[1..]);
        assert_eq!(told, ["the box of `a plate` is hidden by others: it was enlarged"]);
        let whole = layout(&[("a wall", [0, 0, 512, 512]), ("a door", [0, 0, 512, 511])]);
        let (corrected, told) = with_room(&whole, PICTURE);
        assert_eq!((corrected, told), (whole, vec!["the box of `a wall` is hidden by others".to_owned()]));
    }
}
