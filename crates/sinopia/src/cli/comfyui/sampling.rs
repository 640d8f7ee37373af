//! ComfyUI's names for samplers and noise levels, and this program's.

use sinopia_diffusion::schedulers::{SchedulerKind, SchedulerName, SigmaSchedule};

/// Samplers of ComfyUI, and the schedulers of the same steps.
const SAMPLERS: [(&str, SchedulerKind); 4] = [
    ("euler", SchedulerKind::Euler),
    ("euler_ancestral", SchedulerKind::EulerAncestral),
    ("ddim", SchedulerKind::Ddim),
    ("dpmpp_2m", SchedulerKind::DpmSolverPlusPlus),
];

/// This program's scheduler for a sampler of ComfyUI's; the error lists those that there are.
pub(super) fn sampler(name: &str) -> Result<SchedulerKind, String> {
    let found = SAMPLERS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
    found.ok_or_else(|| SAMPLERS.map(|(theirs, _)| theirs).join(", "))
}

/// The noise levels that ComfyUI calls a scheduler; the error lists those that there are.
pub(super) fn levels(name: &str) -> Result<SigmaSchedule, String> {
    let found = SigmaSchedule::ALL.into_iter().find(|levels| theirs(*levels) == name);
    found.ok_or_else(|| SigmaSchedule::ALL.map(theirs).join(", "))
}

/// ComfyUI's `sampler_name` and `scheduler`, if it has the sampler. Levels without a name, which the model's config spaces, are nearest to `normal`.
pub(super) fn names(scheduler: SchedulerName) -> Option<(&'static str, String)> {
    let sampler = SAMPLERS.iter().find(|(_, ours)| *ours == scheduler.kind)?.0;
    Some((sampler, theirs(scheduler.sigmas.unwrap_or(SigmaSchedule::Normal))))
}

fn theirs(levels: SigmaSchedule) -> String {
    levels.name().replace('-', "_")
}
