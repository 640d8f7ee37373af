//! From logits and boxes to things seen: one label a candidate, scores above a threshold, nothing seen twice.

use candle_core::Tensor;

use super::config::OwlKind;
use crate::Result;

/// Something seen in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// The query that fits best.
    pub label: usize,
    /// How well, 0..=1.
    pub score: f32,
    /// Left, top, right, bottom in pixels of the image; may reach a little beyond it.
    pub corners: [f32; 4],
}

/// The candidates of each image whose best query scores at least `threshold`, in the order of patches.
///
/// `logits` are (B, N, Q), `boxes` (B, N, 4) as centre and size in proportions of the square the tower saw; `sizes` are the images' (width,
/// height). OWL-ViT stretched each image to that square, OWLv2 padded it, so its boxes scale by the longer side.
///
/// # Errors
/// If the shapes are others.
pub fn detections(
    logits: &Tensor,
    boxes: &Tensor,
    sizes: &[(usize, usize)],
    kind: OwlKind,
    threshold: f32,
) -> Result<Vec<Vec<Detection>>> {
    let (logits, boxes) = (logits.to_vec3::<f32>()?, boxes.to_vec3::<f32>()?);
    let of_image = |logits: &[Vec<f32>], boxes: &[Vec<f32>], size: (usize, usize)| {
        let (width, height) = match kind {
            OwlKind::OwlVit => size,
            OwlKind::Owlv2 => (size.0.max(size.1), size.0.max(size.1)),
        };
        let candidates = logits.iter().zip(boxes).filter_map(|(logits, bbox)| {
            let (label, logit) = best(logits)?;
            let score = 1.0 / (1.0 + (-logit).exp());
            let corners = corners(bbox, width as f32, height as f32);
            (score >= threshold).then_some(Detection { label, score, corners })
        });
        candidates.collect()
    };
    let images = logits.iter().zip(&boxes).zip(sizes);
    Ok(images.map(|((logits, boxes), size)| of_image(logits, boxes, *size)).collect())
}

/// The first of the largest values and its index.
fn best(logits: &[f32]) -> Option<(usize, f32)> {
    let indexed = logits.iter().copied().enumerate();
    indexed.reduce(|best, other| if other.1 > best.1 { other } else { best })
}

fn corners(bbox: &[f32], width: f32, height: f32) -> [f32; 4] {
    let [x, y, w, h] = [bbox[0], bbox[1], bbox[2], bbox[3]];
    [(x - 0.5 * w) * width, (y - 0.5 * h) * height, (x + 0.5 * w) * width, (y + 0.5 * h) * height]
}

/// Non-maximum suppression: by descending score, and none that overlaps a kept one of its group by `max_iou` or more.
///
/// `group` maps labels to groups; with the label itself this is the class-aware suppression of the published LMD benchmark.
pub fn suppress(mut detections: Vec<Detection>, group: impl Fn(usize) -> usize, max_iou: f32) -> Vec<Detection> {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable: equals stay in the order of patches
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in detections {
        let seen_twice =
            |other: &Detection| group(other.label) == group(candidate.label) && iou(other, &candidate) >= max_iou;
        if !kept.iter().any(seen_twice) {
            kept.push(candidate);
        }
    }
    kept
}

/// Overlap divided by union, 0..=1; 0 for boxes without area.
fn iou(a: &Detection, b: &Detection) -> f32 {
    let ([ax0, ay0, ax1, ay1], [bx0, by0, bx1, by1]) = (a.corners, b.corners);
    let area = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0).max(0.0) * (y1 - y0).max(0.0);
    let shared = area([ax0.max(bx0), ay0.max(by0), ax1.min(bx1), ay1.min(by1)]);
    let union = area(a.corners) + area(b.corners) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn detection(label: usize, score: f32, corners: [f32; 4]) -> Detection {
        Detection { label, score, corners }
    }

    #[test]
    fn the_highest_score_of_a_group_stays() {
        let all = vec![
            detection(0, 0.3, [0.0, 0.0, 10.0, 10.0]),
            detection(1, 0.9, [1.0, 0.0, 11.0, 10.0]),
            detection(0, 0.5, [0.0, 1.0, 10.0, 11.0]),
            detection(0, 0.2, [50.0, 50.0, 60.0, 60.0]),
        ];
        let labels = |kept: Vec<Detection>| kept.iter().map(|d| (d.label, d.score)).collect::<Vec<_>>();
        assert_eq!(labels(suppress(all.clone(), |label| label, 0.15)), [(1, 0.9), (0, 0.5), (0, 0.2)]);
        assert_eq!(labels(suppress(all.clone(), |_| 0, 0.15)), [(1, 0.9), (0, 0.2)]);
        assert_eq!(labels(suppress(all, |_| 0, 0.9)).len(), 4);
    }

    #[test]
    fn the_threshold_is_inclusive_and_boxes_scale_by_their_kind() {
        let logits = Tensor::new(&[[[0.0f32, -5.0], [-5.0, -4.0]]], &Device::Cpu).unwrap();
        let boxes = Tensor::new(&[[[0.5f32, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0]]], &Device::Cpu).unwrap();
        let found = |kind| detections(&logits, &boxes, &[(200, 100)], kind, 0.5).unwrap();
        assert_eq!(found(OwlKind::OwlVit), [[detection(0, 0.5, [50.0, 0.0, 150.0, 100.0])]]);
        assert_eq!(found(OwlKind::Owlv2), [[detection(0, 0.5, [50.0, 0.0, 150.0, 200.0])]]);
    }
}
