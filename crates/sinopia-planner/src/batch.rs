//! Many captions, a bounded number at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use sinopia_layout::LayoutCache;

use crate::error::{Error, Result};
use crate::planner::{Plan, PlanContext, PlanTask, Planner};
use crate::provider::Usage;

/// A caption of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    /// The caption.
    pub caption: String,
    /// How often it occurred before, so that repeated captions get layouts of their own.
    pub occurrence: usize,
}

/// What became of a batch.
#[derive(Debug)]
pub struct BatchReport {
    /// The result of each item, in order; `None` for items that were not begun because an earlier error concerns all.
    pub results: Vec<Option<Result<Plan>>>,
    /// What the layouts cost.
    pub usage: Usage,
}

/// The captions of a text, one a line, with their occurrences. Empty lines and comments are left out.
pub fn items(text: &str) -> Vec<BatchItem> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let captions = text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_comment(line));
    let item = |caption: &str| {
        let count = seen.entry(LayoutCache::key(caption).to_owned()).or_default();
        *count += 1;
        BatchItem { caption: caption.to_owned(), occurrence: *count - 1 }
    };
    captions.map(item).collect()
}

/// Whether a line is no caption: `#` alone, or with a blank behind it. Captions begin so as well (`#1 fan mug`, `#sunset`), but without the blank.
fn is_comment(line: &str) -> bool {
    line.strip_prefix('#').is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Plans all items with at most `jobs` at once, and calls `done` with the index of each as it is finished.
///
/// An error that concerns one caption is that caption's result; after one that concerns all (a wrong key, an unknown model) no
/// further caption is begun. A planner with a memory goes on where it stopped when a batch is run again.
pub fn run(
    planner: &dyn Planner,
    items: &[BatchItem],
    jobs: usize,
    done: &(dyn Fn(usize, &Result<Plan>) + Sync),
) -> BatchReport {
    let next = AtomicUsize::new(0);
    let stopped = AtomicBool::new(false);
    let results: Mutex<Vec<Option<Result<Plan>>>> = Mutex::new(items.iter().map(|_| None).collect());
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(BatchItem { caption, occurrence }) = items.get(index) else { return };
            let task = PlanTask { occurrence: *occurrence, ..PlanTask::caption(caption) };
            let result = planner.plan(&task, &PlanContext::default());
            if result.as_ref().is_err_and(Error::is_permanent) {
                stopped.store(true, Ordering::Relaxed);
            }
            done(index, &result);
            results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
        }
    };
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut usage = Usage::default();
    for plan in results.iter().flatten().flatten() {
        usage += plan.usage;
    }
    BatchReport { results, usage }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_captions_are_counted() {
        let items = items("a cat\n\n a dog \na cat.\na cat\n");
        let told: Vec<_> = items.iter().map(|item| (item.caption.as_str(), item.occurrence)).collect();
        assert_eq!(told, [("a cat", 0), ("a dog", 0), ("a cat.", 1), ("a cat", 2)]);
    }

    #[test]
    fn comments_have_a_blank_behind_their_mark() {
        let items = items("# animals\na cat\n#\n#1 fan mug\n  #\tmore\n#sunset # red\n");
        let told: Vec<_> = items.iter().map(|item| item.caption.as_str()).collect();
        assert_eq!(told, ["a cat", "#1 fan mug", "#sunset # red"]);
    }
}
