//! Figures that others published, to stand beside ours.

/// One row of a published table, in per cent; tasks in the benchmark's order, then the mean over all images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// Who wrote the layouts and what painted them.
    pub name: &'static str,
    /// The first stage (layouts) or the second (images)?
    pub is_layout: bool,
    /// Negation, numeracy, attribution, spatial.
    pub tasks: [f64; 4],
    /// The mean as published, rounded by its authors.
    pub overall: f64,
}

const fn row(name: &'static str, is_layout: bool, tasks: [f64; 4], overall: f64) -> Published {
    Published { name, is_layout, tasks, overall }
}

/// Success rates of the LMD benchmark with one image a caption; OWL-ViT, score 0.15, suppression 0.15 for each query.
///
/// # Source
/// arXiv 2305.13655 and the README of TonyLianLong/LLM-groundedDiffusion@cef2a90.
pub(crate) const LMD: &[Published] = &[
    row("layouts by GPT-3.5", true, [100.0, 97.0, 100.0, 99.0], 99.0),
    row("layouts by GPT-4", true, [100.0, 100.0, 100.0, 100.0], 100.0),
    row("Stable Diffusion 1.5", false, [28.0, 39.0, 52.0, 28.0], 36.8),
    row("MultiDiffusion, GPT-3.5", false, [100.0, 30.0, 42.0, 36.0], 52.0),
    row("Backward Guidance, GPT-3.5", false, [100.0, 42.0, 36.0, 61.0], 59.8),
    row("BoxDiff, GPT-3.5", false, [100.0, 32.0, 55.0, 62.0], 62.3),
    row("GLIGEN, GPT-3.5", false, [100.0, 57.0, 57.0, 45.0], 64.8),
    row("LMD, GPT-3.5", false, [100.0, 62.0, 65.0, 79.0], 76.5),
    row("LMD+, GPT-3.5", false, [100.0, 86.0, 69.0, 67.0], 80.5),
    row("LMD+, GPT-4", false, [100.0, 84.0, 79.0, 82.0], 86.3),
    row("LMD+, StableBeluga2", false, [88.0, 60.0, 56.0, 64.0], 67.0),
    row("LMD+, Mixtral-8x7B-Instruct-v0.1", false, [98.0, 72.0, 62.0, 78.0], 77.5),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The published means are of one image a caption, rounded to one decimal upwards at half.
    #[test]
    fn means_are_those_of_the_tasks() {
        for row in LMD {
            let mean = row.tasks.iter().sum::<f64>() / 4.0;
            assert!((mean - row.overall).abs() < 0.051, "{}: {mean} against {}", row.name, row.overall);
        }
    }
}
