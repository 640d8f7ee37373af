use proptest::prelude::*;

use super::*;
use crate::image::Image;

const FACTOR: usize = 8;

fn frame(dilate_cells: usize, feather_pixels: usize) -> MaskFrame {
    let latent = Grid::new(6, 8);
    let size = ImageSize { width: latent.width * FACTOR, height: latent.height * FACTOR };
    MaskFrame { latent, size, dilate_cells, feather_pixels }
}

fn cell_of(pixel: usize, frame: &MaskFrame) -> usize {
    pixel / frame.size.width / FACTOR * frame.latent.width + pixel % frame.size.width / FACTOR
}

/// Pixels set here and there, of 48 × 64.
fn pixels() -> impl Strategy<Value = Vec<bool>> {
    let size = frame(0, 0).size;
    let num_pixels = size.width * size.height;
    prop::collection::vec(0..num_pixels, 0..6).prop_map(move |set| {
        let mut pixels = vec![false; num_pixels];
        set.into_iter().for_each(|pixel| pixels[pixel] = true);
        pixels
    })
}

fn picture(seed: u64) -> Image {
    let size = frame(0, 0).size;
    let normals = crate::noise::Generator::new(crate::noise::Seed(seed)).normals(3 * size.width * size.height);
    Image::from_pixels(size, normals.into_iter().map(|x| (128.0 + 60.0 * x).clamp(0.0, 255.0) as u8).collect()).unwrap()
}

proptest! {
    #[test]
    fn a_pixel_set_has_its_cell_and_cells_have_all_their_pixels(
        pixels in pixels(), dilate in 0usize..3, feather in 0usize..20,
    ) {
        let frame = frame(dilate, feather);
        let mask = ChangeMask::of_pixels(&pixels, &frame).unwrap();
        for (pixel, set) in pixels.iter().enumerate() {
            let is_cell = mask.cells().cells()[cell_of(pixel, &frame)];
            prop_assert!(!set || is_cell, "pixel {pixel} has no cell");
            prop_assert_eq!(mask.alpha()[pixel] == 255, is_cell, "cells, and they alone, are wholly new");
        }
        prop_assert_eq!(mask.region_is_empty(), !pixels.contains(&true));
    }

    #[test]
    fn masks_grow_with_their_margins(pixels in pixels(), dilate in 0usize..3, feather in 0usize..20) {
        let small = ChangeMask::of_pixels(&pixels, &frame(dilate, feather)).unwrap();
        let wide = ChangeMask::of_pixels(&pixels, &frame(dilate + 1, feather)).unwrap();
        let soft = ChangeMask::of_pixels(&pixels, &frame(dilate, feather + 1)).unwrap();
        for larger in [&wide, &soft] {
            prop_assert!(small.cells().cells().iter().zip(larger.cells().cells()).all(|(a, b)| !a || *b));
            prop_assert!(small.alpha().iter().zip(larger.alpha()).all(|(a, b)| a <= b));
        }
        prop_assert_eq!(soft.cells(), small.cells());
        let both = small.union(&wide).unwrap();
        prop_assert_eq!(both, wide);
    }

    #[test]
    fn a_pasted_picture_has_the_old_bytes_outside_and_the_new_ones_in_the_cells(
        pixels in pixels(), dilate in 0usize..3, feather in 0usize..20, seed in 0u64..1000,
    ) {
        let mask = ChangeMask::of_pixels(&pixels, &frame(dilate, feather)).unwrap();
        let (old, new) = (picture(seed), picture(seed + 1));
        let pasted = paste(&old, &new, &mask).unwrap();
        let triples = pasted.image.pixels().chunks(3).zip(old.pixels().chunks(3).zip(new.pixels().chunks(3)));
        for ((found, (old, new)), alpha) in triples.zip(mask.alpha()) {
            match alpha {
                0 => prop_assert_eq!(found, old),
                255 => prop_assert_eq!(found, new),
                _ => for channel in 0..3 {
                    let (low, high) = (old[channel].min(new[channel]), old[channel].max(new[channel]));
                    prop_assert!((low..=high).contains(&found[channel]));
                }
            }
        }
        let same = paste(&old, &old, &mask).unwrap();
        prop_assert_eq!(&same.image, &old);
        prop_assert_eq!(same.seam, 0.0);
    }

    #[test]
    fn the_margin_is_as_wide_as_asked(pixels in pixels(), feather in 0usize..20) {
        let frame = frame(0, feather);
        let mask = ChangeMask::of_pixels(&pixels, &frame).unwrap();
        let width = frame.size.width;
        let squared = |a: usize, b: usize| (a / width).abs_diff(b / width).pow(2) + (a % width).abs_diff(b % width).pow(2);
        let inside: Vec<usize> = (0..pixels.len()).filter(|pixel| mask.alpha()[*pixel] == 255).collect();
        for pixel in (0..pixels.len()).step_by(7) {
            let nearest = inside.iter().map(|other| squared(pixel, *other)).min();
            let is_near = nearest.is_some_and(|nearest| nearest < (feather + 1).pow(2));
            prop_assert_eq!(mask.alpha()[pixel] > 0, is_near);
        }
    }
}

/// A line as thin as a pixel, at each of the eight places in its cell. Taking the nearest pixel of a cell would lose seven of them.
#[test]
fn a_thin_line_is_never_lost() {
    let frame = frame(0, 0);
    for phase in 0..FACTOR {
        let column = 2 * FACTOR + phase;
        let num_pixels = frame.size.width * frame.size.height;
        let line: Vec<bool> = (0..num_pixels).map(|pixel| pixel % frame.size.width == column).collect();
        let mask = ChangeMask::of_pixels(&line, &frame).unwrap();
        let columns: Vec<usize> = (0..frame.latent.width).filter(|column| mask.cells().contains(3, *column)).collect();
        assert_eq!((columns, mask.cells().count()), (vec![2], frame.latent.height), "phase {phase}");
    }
}

#[test]
fn boxes_have_every_cell_that_they_touch() {
    let bbox = |x0, y0, x1, y1| BBox::new(x0, y0, x1, y1).unwrap();
    // From a pixel before the border of cells 1 and 2 to a pixel beyond that of 3 and 4, of 64 × 48 pixels.
    let touching = bbox(15.0 / 64.0, 17.0 / 48.0, 33.0 / 64.0, 23.0 / 48.0);
    let mask = ChangeMask::of_boxes(&[touching], &frame(0, 0)).unwrap();
    let cells: Vec<usize> = (0..48).filter(|cell| mask.cells().cells()[*cell]).collect();
    assert_eq!(cells, [17, 18, 19, 20]);
    let tiny = bbox(0.5, 0.5, 0.5001, 0.5001);
    assert_eq!(ChangeMask::of_boxes(&[tiny], &frame(0, 0)).unwrap().cells().count(), 1);
    let grown = ChangeMask::of_boxes(&[tiny], &frame(1, 0)).unwrap();
    assert_eq!(grown.cells().count(), 9);
    assert!(ChangeMask::of_boxes(&[], &frame(3, 9)).unwrap().region_is_empty());
}

#[test]
fn dilation_stops_at_the_edges() {
    let corner = GridMask::from_cells(Grid::new(3, 4), (0..12).map(|cell| cell == 0).collect()).unwrap();
    let inside = |by| (0..12).filter(|cell| dilated(&corner, by).cells()[*cell]).collect::<Vec<_>>();
    assert_eq!(inside(0), [0]);
    assert_eq!(inside(1), [0, 1, 4, 5]);
    assert_eq!(inside(usize::MAX).len(), 12);
}

#[test]
fn the_seam_is_measured_where_old_and_new_meet() {
    let (size, grid) = (frame(0, 0).size, frame(0, 0).latent);
    let flat = |value: u8| Image::from_pixels(size, vec![value; 3 * size.width * size.height]).unwrap();
    let cell = GridMask::from_cells(grid, (0..grid.cells()).map(|cell| cell == 20).collect()).unwrap();
    for feather in [0, 8, 16] {
        let mask = ChangeMask::of_cells(&cell, &frame(0, feather)).unwrap();
        assert_eq!(paste(&flat(100), &flat(130), &mask).unwrap().seam, 30.0, "{feather}");
    }
    // A change that stays in the cell leaves no seam.
    let mask = ChangeMask::of_cells(&cell, &frame(0, 8)).unwrap();
    let pixels = flat(100).into_pixels().into_iter().enumerate().map(|(at, old)| match mask.alpha()[at / 3] {
        255 => 250,
        _ => old,
    });
    let pasted = paste(&flat(100), &Image::from_pixels(size, pixels.collect()).unwrap(), &mask).unwrap();
    assert_eq!(pasted.seam, 0.0);
    assert_eq!(pasted.image.pixels().iter().filter(|byte| **byte == 250).count(), 3 * FACTOR * FACTOR);
    // Where everything is new, nothing meets.
    let all = GridMask::from_cells(grid, vec![true; grid.cells()]).unwrap();
    let whole = ChangeMask::of_cells(&all, &frame(0, 8)).unwrap();
    assert_eq!(paste(&flat(100), &flat(130), &whole).unwrap().seam, 0.0);
}

#[test]
fn what_is_of_another_size_is_refused() {
    let other = ImageSize { width: 32, height: 32 };
    let message = |result: Result<ChangeMask>| result.unwrap_err().to_string();
    assert!(message(ChangeMask::of_pixels(&[true; 9], &frame(0, 0))).contains("9 pixels, expected 64 × 48 pixels"));
    let cells = GridMask::empty(Grid::new(2, 2));
    assert!(message(ChangeMask::of_cells(&cells, &frame(0, 0))).contains("2×2"));
    let uneven = MaskFrame { size: ImageSize { width: 65, height: 48 }, ..frame(0, 0) };
    assert!(message(ChangeMask::of_boxes(&[], &uneven)).contains("65 × 48"));
    let mask = ChangeMask::of_boxes(&[], &frame(0, 0)).unwrap();
    let small = MaskFrame { latent: Grid::new(4, 4), size: other, ..frame(0, 0) };
    assert!(message(mask.union(&ChangeMask::of_boxes(&[], &small).unwrap())).contains("32 × 32"));
    let image = Image::from_pixels(other, vec![0; 3 * 32 * 32]).unwrap();
    let message = paste(&picture(1), &image, &mask).unwrap_err().to_string();
    assert!(message.contains("the painted picture: 32 × 32 pixels"), "{message}");
}
