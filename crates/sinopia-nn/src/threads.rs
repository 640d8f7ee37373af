//! How many CPU threads the operations share.

#![expect(unsafe_code, reason = "an environment variable is the only switch of the tensor library's threads")]

use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ScopedJoinHandle;

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Leaves all cores to our operations: the tensor library's own workers spin for a while after each of its additions and copies, on cores that
/// operations need. Call it first in `main`. `CANDLE_NUM_THREADS`, if set, wins.
pub fn quiet_tensor_library() {
    const VARIABLE: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: no other thread reads or writes the environment yet, as the call comes first.
        unsafe { std::env::set_var(VARIABLE, "1") }
    }
}

/// Fixes the number of worker threads for the whole process; 0 means one for each core.
///
/// Results do not depend on it. Call it before the first computation: the pool is built once.
///
/// # Errors
/// [`Error::Threads`] if the pool is already there.
pub fn set_num_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(Error::Threads)
}

/// The number of worker threads in use.
pub fn num_threads() -> usize {
    rayon::current_num_threads()
}

/// Runs `f` on `threads` worker threads of its own, beside everything else that the process does.
///
/// # Errors
/// [`Error::Threads`] if the system gives no more threads.
pub fn with_own_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build().map_err(Error::Threads)?;
    Ok(pool.install(f))
}

/// Runs `f` on a worker thread. From outside, every operation has to wake a worker and wait for it, which costs small operations more than
/// their work.
pub fn on_worker<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| f())
}

/// `f(0)..f(count)`, side by side on the worker threads; results in order. The first error of the lowest index is returned.
///
/// # Errors
/// What `f` returns.
pub fn side_by_side<T: Send, E: Send>(
    count: usize,
    f: impl Fn(usize) -> std::result::Result<T, E> + Send + Sync,
) -> std::result::Result<Vec<T>, E> {
    let results: Vec<_> = (0..count).into_par_iter().with_max_len(1).map(f).collect();
    results.into_iter().collect()
}

/// The turns of sequences of operations that [`taking_turns`] runs: tickets in the order in which they were drawn, of which as many are served at
/// once as there are worker threads.
#[derive(Debug)]
struct Turns {
    state: Mutex<Tickets>,
    returned: Condvar,
}

#[derive(Debug)]
struct Tickets {
    /// How many are served at once.
    at_once: usize,
    drawn: usize,
    returned: usize,
}

impl Tickets {
    /// Tickets below this one are served.
    fn served(&self) -> usize {
        self.at_once + self.returned
    }

    fn has_waiting(&self) -> bool {
        self.drawn > self.served()
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Tickets> {
        // Counters that are written one at a time cannot have been left half-written by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn.
    fn enter(&self) -> Turn<'_> {
        let mut tickets = self.lock();
        tickets.drawn += 1;
        let ticket = tickets.drawn - 1;
        while tickets.served() <= ticket {
            tickets = self.returned.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

/// The turn of one of several sequences of operations; it ends when it is dropped.
#[derive(Debug)]
pub struct Turn<'a>(&'a Turns);

impl Turn<'_> {
    /// Lets others go first, if any wait, and waits for the next turn.
    pub fn pass(&self) {
        if self.0.lock().has_waiting() {
            self.end();
            std::mem::forget(self.0.enter());
        }
    }

    fn end(&self) {
        self.0.lock().returned += 1;
        self.0.returned.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// `f(0, turn)..f(count, turn)`, long sequences of operations each too short to be worth sharing: side by side, each with worker threads of its own,
/// together as many as there are here. If there are fewer, sequences [pass](Turn::pass) their turns to each other, so that three on two
/// threads take one and a half times as long as one of them and not twice. Results in order; the first error of the lowest index is returned.
///
/// # Errors
/// [`Error::Threads`] if the system gives no more threads; within, what `f` returns.
pub fn taking_turns<T: Send, E: Send>(
    count: usize,
    f: impl Fn(usize, &Turn<'_>) -> std::result::Result<T, E> + Send + Sync,
) -> Result<std::result::Result<Vec<T>, E>> {
    let threads = num_threads();
    let turns =
        Turns { state: Mutex::new(Tickets { at_once: threads, drawn: 0, returned: 0 }), returned: Condvar::default() };
    if threads == 1 || count <= 1 {
        return Ok((0..count).map(|index| f(index, &turns.enter())).collect());
    }
    let run = |index: usize| {
        let share = threads / count + usize::from(index < threads % count);
        with_own_threads(share.max(1), || f(index, &turns.enter()))
    };
    std::thread::scope(|scope| {
        let run = &run;
        let sequences: Vec<_> = (0..count).map(|index| scope.spawn(move || run(index))).collect();
        let join = |sequence: ScopedJoinHandle<'_, _>| sequence.join().unwrap_or_else(|panic| resume_unwind(panic));
        let results: Vec<_> = sequences.into_iter().map(join).collect();
        let results = results.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(results.into_iter().collect())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use candle_core::Tensor;

    use super::{num_threads, taking_turns, with_own_threads};
    use crate::check::noise;
    use crate::error::Error;
    use crate::{Conv2d, Conv2dOptions, GroupNorm, LayerNorm, Linear, Padding, Result, activation, attention, vjp};

    #[test]
    fn turns_are_taken_in_order_and_by_no_more_than_there_are_threads() {
        for (threads, count) in [(1, 3), (2, 3), (2, 1), (3, 7), (4, 3)] {
            let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let steps = Mutex::new(vec![0; count]);
            let run = |index: usize, turn: &super::Turn<'_>| {
                let share = if threads == 1 || count == 1 { threads } else { (threads / count).max(1) };
                assert!((share..=share + 1).contains(&num_threads()));
                for step in 0..20 {
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    steps.lock().unwrap()[index] = step;
                    running.fetch_sub(1, Ordering::SeqCst);
                    turn.pass();
                }
                Ok::<_, Error>(10 * index)
            };
            let found = with_own_threads(threads, || taking_turns(count, run)).unwrap().unwrap().unwrap();
            assert_eq!(found, (0..count).map(|index| 10 * index).collect::<Vec<_>>());
            assert!(most.into_inner() <= threads && steps.into_inner().unwrap() == vec![19; count]);
        }
    }

    #[test]
    fn whoever_fails_or_panics_gives_its_turn_back() {
        let run = |index: usize, _: &super::Turn<'_>| match index {
            1 | 3 => {
                Err(Error::Option { op: "turn", what: "index", expected: String::new(), found: index.to_string() })
            }
            _ => Ok(index),
        };
        let found = with_own_threads(2, || taking_turns(5, run)).unwrap().unwrap();
        assert!(matches!(found, Err(Error::Option { found, .. }) if found == "1"));
        let panics = |index: usize, _: &super::Turn<'_>| {
            assert!(index != 0, "the first panics");
            Ok::<_, Error>(())
        };
        let all = || with_own_threads(2, || taking_turns(5, panics));
        assert!(std::panic::catch_unwind(all).is_err());
    }

    /// Sizes at which every operation hands work to other threads, forward and backward.
    fn everything(x: &[Tensor]) -> Result<Vec<Tensor>> {
        let (b, h, w, c) = x[0].dims4()?;
        let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        let conv = Conv2d::new(&noise(1, &[c, c, 3, 3]), None, options)?;
        let group_norm = GroupNorm::new(&noise(2, &[c]), &noise(3, &[c]), 8, 1e-5)?;
        let layer_norm = LayerNorm::new(&noise(2, &[c]), &noise(3, &[c]), 1e-5)?;
        let linear = Linear::new(&noise(4, &[2 * c, c]), Some(&noise(5, &[2 * c])))?;
        let hidden = conv.forward(&group_norm.forward_silu(&x[0])?)?;
        let tokens = layer_norm.forward(&hidden.reshape((b, h * w, c))?)?;
        let gated = activation::geglu(&linear.forward(&tokens)?)?;
        let mixed = attention::attention(&gated, &tokens, &gated, 4, false)?;
        let (recorded, probs) =
            attention::attention_recorded(&mixed, &tokens.narrow(1, 0, 77)?, &mixed.narrow(1, 0, 77)?, 4)?;
        let conv_down = Conv2d::new(&noise(6, &[c, c, 3, 3]), None, Conv2dOptions { stride: 2, ..options })?;
        let down = conv_down.forward(&recorded.reshape((b, h, w, c))?)?;
        let conv_int8 = Conv2d::int8(&noise(7, &[c, c, 3, 3]), None, options)?;
        let linear_int8 = Linear::int8(&noise(8, &[c, c]), Some(&noise(5, &[c])))?;
        let bytes = linear_int8.forward(&conv_int8.forward(&x[0])?)?;
        Ok(vec![crate::upsample::nearest_2x(&down)?, probs, bytes])
    }

    #[test]
    fn results_are_the_same_bits_for_any_number_of_threads() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let x = noise(9, &[2, 32, 30, 32]);
                let outputs = everything(std::slice::from_ref(&x)).unwrap();
                let cotangents: Vec<_> = outputs.iter().map(|y| Some(noise(10, y.dims()))).collect();
                let gradient = vjp(&[x], everything, &cotangents).unwrap();
                let bits = |x: &Tensor| -> Vec<u32> {
                    let values = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    values.into_iter().map(f32::to_bits).collect()
                };
                outputs.iter().chain(&gradient).map(bits).collect::<Vec<_>>()
            })
        };
        let one = run(1);
        for threads in [2, 3, 5] {
            assert!(run(threads) == one, "{threads} threads give other bits than one");
        }
    }
}
