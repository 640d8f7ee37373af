//! Every number of an edit, each with its source.

/// How operations are done. Shares of the steps and cells of the latents, so that they hold for pictures of every size and schedule.
///
/// A picture's recipe names the edits that were done to it and not these, which are the build's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EditOptions {
    /// Whether the pipeline's segmentation model, if it has one, says where objects are. Where it is not to be part of the recipe it must not be asked.
    pub uses_segmentation: bool,
    /// Cells by which what changes is grown on every side beyond the object or its box. InvokeAI and ComfyUI grow masks by 6 to 12 pixels; a cell has 8.
    pub grow_cells: usize,
    /// The margin in which old and new pixels are mixed, in cells. Usual: 8 to 16 pixels.
    pub feather_cells: f64,
    /// Levels of 255 by which old and new may differ where they meet before the margin is made a cell wider.
    pub max_seam: f64,
    /// Share of the steps that are taken again where something is removed. AttentiveEraser: 0.8.
    pub remove_strength: f64,
    /// s of [`Removal`](crate::masked::Removal) in a pass of 40 calls, as in AttentiveEraser's code: 9. Shorter passes have less in proportion, and 1 at least: pulled as far in
    /// few calls, colours overshoot (on the miniature, in 16 calls, 3 removes as much as 9 and leaves less behind).
    pub erase_scale: f64,
    /// Factor of erased queries' scores in the first steps. AttentiveEraser: 0.3.
    pub suppression: f64,
    /// Share of the steps taken that count as the first. AttentiveEraser: 10 of 40.
    pub suppressed_share: f64,
    /// What is removed reaches so much further down, as a share of its box's height: there are shadows.
    pub shadow_share: f64,
    /// Share of the steps in which the network sees all of the picture while something is painted from the first step on: where the ground is and where the sky is settled
    /// then. Later it sees a window around it. On the miniature, at 0 things stand on grounds of their own more often. Where there are no adapters it sees the window from the start:
    /// guidance in sight of the whole picture is the dearest of all.
    pub painted_view_share: f64,
    /// Updates of guidance at most before a step, where there are no adapters. LMD has up to 4. On the miniature without its adapters 2 put as many things in their boxes.
    pub guidance_updates: usize,
    /// Share of the steps in which guidance is on. LMD has 0.6.
    pub guided_share: f64,
    /// Share of the steps in which an object that is moved keeps its states. LMD and SLD: 0.5, for objects painted alone; these are the picture's own, and have only to be fitted in.
    pub moved_share: f64,
    /// Share of an added object's own noise in its box at the first try; with a strength boost it has more. SLD: 0.1.
    pub own_noise: f64,
    /// What a strength boost of 0.1, a second try's, adds to that.
    pub own_noise_step: f64,
    /// Share of the steps taken again where scaled pixels were put. 0.4 to 0.5.
    pub resize_strength: f64,
    /// An object is scaled by its pixels if both of its sides change by a factor within these; else it is removed and painted anew.
    pub scaled_by: (f64, f64),
    /// Share of the steps taken, from the first on, in which the adapters are on. GLIGEN in LMD+: 0.4.
    pub grounding_share: f64,
}

/// Calls of a pass that [`EditOptions::erase_scale`] is for.
const ERASER_CALLS: f64 = 40.0;

impl EditOptions {
    /// Levels of 255 by which old and new pixels may differ where they meet without an edge being seen.
    pub const SEEN_SEAM: f64 = 6.0;

    /// s in a pass of so many calls.
    pub(super) fn erase_scale_in(&self, num_calls: usize) -> f64 {
        let scaled = self.erase_scale * num_calls as f64 / ERASER_CALLS;
        scaled.clamp(self.erase_scale.min(1.0), self.erase_scale)
    }
}

impl Default for EditOptions {
    fn default() -> Self {
        Self {
            uses_segmentation: true,
            grow_cells: 1,
            feather_cells: 1.0,
            max_seam: Self::SEEN_SEAM,
            remove_strength: 0.8,
            erase_scale: 9.0,
            suppression: 0.3,
            suppressed_share: 0.25,
            shadow_share: 0.12,
            painted_view_share: 0.15,
            guidance_updates: 2,
            guided_share: 0.4,
            moved_share: 0.8,
            own_noise: 0.1,
            own_noise_step: 0.3,
            resize_strength: 0.45,
            scaled_by: (0.7, 1.4),
            grounding_share: 0.4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_passes_are_erased_less_strongly() {
        let options = EditOptions::default();
        let found = [1, 4, 16, 40, 800].map(|calls| options.erase_scale_in(calls));
        assert_eq!(found, [1.0, 1.0, 3.6, 9.0, 9.0]);
        assert_eq!(EditOptions { erase_scale: 0.0, ..options }.erase_scale_in(40), 0.0);
    }
}
