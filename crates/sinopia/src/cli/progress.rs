//! What a person sees while waiting, all of it on stderr: the layout, bars, warnings; and the Ctrl-C that ends it.

use std::io::IsTerminal;
use std::sync::Mutex;

use anyhow::Context;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sinopia_diffusion::{CancellationToken, Observer, Painting, Stage, StepReport};
use sinopia_layout::{Layout, excerpt};
use sinopia_models::hub::DownloadProgress;

use super::{output, terminal};

/// Widest column of phrases in a shown layout.
const PHRASE_COLUMN: usize = 40;

/// Most of a background or negative caption that is shown.
const SHOWN_CHARS: usize = 300;

/// Progress bars: one for everything that is under way, as objects may be painted side by side.
pub(crate) struct Bars {
    quiet: bool,
    bars: MultiProgress,
    running: Mutex<Vec<(String, ProgressBar)>>,
}

impl Bars {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, bars: MultiProgress::new(), running: Mutex::default() }
    }

    /// A line for the person waiting.
    pub(crate) fn line(&self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    /// Whether somebody may see lines as they come.
    pub(crate) fn is_watched(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// A warning, told even if progress is not.
    pub(crate) fn warn(&self, text: &str) {
        self.print(&format!("warning: {text}"));
    }

    /// Lines with the same beginning.
    pub(crate) fn lines(&self, lines: &[String], prefix: &str) {
        for line in lines {
            self.line(&format!("{prefix}{line}"));
        }
    }

    /// The layout in words.
    pub(crate) fn show_layout(&self, layout: &Layout) {
        let phrases: Vec<_> =
            layout.objects.iter().map(|object| terminal::one_line(&excerpt(&object.phrase, PHRASE_COLUMN))).collect();
        let width = phrases.iter().map(|phrase| phrase.chars().count()).max().unwrap_or(0);
        let (w, h) = (layout.canvas.width(), layout.canvas.height());
        self.line(&format!("layout on {w} × {h}, background: {}", on_a_line(&layout.background)));
        for (phrase, object) in phrases.iter().zip(&layout.objects) {
            self.line(&format!("  {phrase:<width$}  {}", object.bbox));
        }
        if !layout.negative.is_empty() {
            self.line(&format!("  not: {}", on_a_line(&layout.negative)));
        }
    }

    /// Takes all bars away.
    pub(crate) fn finish(&self) {
        self.lock().drain(..).for_each(|(_, bar)| bar.finish_and_clear());
    }

    /// Shows the picture in the terminal. The picture is on disk already, so a terminal that cannot is worth a warning only.
    /// Drawing asks the terminal questions on stdout, which would go into a pipe or file as data.
    pub(crate) fn preview(&self, painting: &Painting) {
        if !std::io::stdout().is_terminal() {
            return self.warn("`--preview` shows nothing: stdout is not a terminal");
        }
        if let Err(error) = draw(painting) {
            self.print(&format!("warning: cannot show the picture in this terminal: {error}"));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, ProgressBar)>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A step of something that has no stages of its own here, such as a painting elsewhere.
    pub(crate) fn advance(&self, name: &str, done: u64, total: u64) {
        let template = if total == 0 { "{msg}" } else { "{msg:32!} {bar:24} {pos}/{len}, {eta} left" };
        self.set(&excerpt(name, SHOWN_CHARS), done, total, template);
    }

    /// The bar called `name` with `total` steps. It takes away those that have ended, and those without steps.
    fn set(&self, name: &str, done: u64, total: u64, template: &str) {
        if self.quiet {
            return;
        }
        let name = &terminal::one_line(name);
        let mut running = self.lock();
        if !running.iter().any(|(shown, _)| shown == name) {
            running.retain(|(_, bar)| {
                let has_ended = bar.position() >= bar.length().unwrap_or(0);
                if has_ended {
                    bar.finish_and_clear();
                }
                !has_ended
            });
            let bar = self.bars.add(ProgressBar::new(total).with_message(name.to_owned()));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("━╸─"));
            }
            running.push((name.to_owned(), bar));
        }
        for (_, bar) in running.iter().filter(|(shown, _)| shown == name) {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn print(&self, text: &str) {
        let text = terminal::message(text);
        match self.lock().is_empty() {
            true => terminal::tell(&text),
            false => print_above(&self.bars, &text),
        }
    }
}

/// Draws the picture at the cursor.
#[cfg(feature = "preview")]
fn draw(painting: &Painting) -> anyhow::Result<()> {
    let config = viuer::Config { absolute_offset: false, ..viuer::Config::default() };
    let image = sinopia_studio::rgb(&painting.image)?;
    viuer::print(&image::DynamicImage::ImageRgb8(image), &config)?;
    Ok(())
}

#[cfg(not(feature = "preview"))]
fn draw(_: &Painting) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without the feature `preview`")
}

/// A line above bars, if there are any and they can be seen.
fn print_above(bars: &MultiProgress, text: &str) {
    if !std::io::stderr().is_terminal() {
        return terminal::tell(text);
    }
    // A line that cannot be put above the bars goes where it can.
    bars.println(text).unwrap_or_else(|_| terminal::tell(text));
}

fn on_a_line(text: &str) -> String {
    terminal::one_line(&excerpt(text, SHOWN_CHARS))
}

impl Observer for Bars {
    fn stage(&self, stage: &Stage) {
        self.set(&excerpt(&stage.to_string(), SHOWN_CHARS), 0, 0, "{msg}");
    }

    fn step(&self, step: &StepReport) {
        let name = step.stage.to_string();
        self.set(
            &format!("{name} "),
            step.index as u64 + 1,
            step.count as u64,
            "{msg:32!} {bar:24} {pos}/{len}, {eta} left",
        );
    }

    fn warning(&self, warning: &str) {
        self.warn(warning);
    }

    fn wants_object_images(&self) -> bool {
        false
    }
}

/// The bars of one image of several that are painted side by side. Its warnings wait for their turn.
pub(crate) struct SeedBars<'a> {
    bars: &'a Bars,
    seed: u64,
    wants_object_images: bool,
    warnings: Mutex<Vec<String>>,
}

impl<'a> SeedBars<'a> {
    pub(crate) fn new(bars: &'a Bars, seed: u64, wants_object_images: bool) -> Self {
        Self { bars, seed, wants_object_images, warnings: Mutex::default() }
    }

    pub(crate) fn tell_warnings(self) {
        let warnings = self.warnings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        warnings.iter().for_each(|warning| self.bars.warn(warning));
    }
}

impl Observer for SeedBars<'_> {
    fn step(&self, step: &StepReport) {
        let name = format!("seed {}, {}", self.seed, step.stage);
        self.bars.advance(&name, step.index as u64 + 1, step.count as u64);
    }

    fn warning(&self, warning: &str) {
        self.warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(warning.to_owned());
    }

    fn wants_object_images(&self) -> bool {
        self.wants_object_images
    }
}

impl DownloadProgress for Bars {
    fn update(&self, file: &str, done: u64, total: u64) {
        self.set(file, done, total, "{msg} {bar:24} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left");
    }
}

/// A switch that Ctrl-C throws: the run ends as soon as a part of a network is done, nothing half-written. A second Ctrl-C ends the program.
pub(crate) fn cancellation_on_interrupt(bars: &Bars) -> anyhow::Result<CancellationToken> {
    let cancellation = CancellationToken::default();
    let switch = cancellation.clone();
    let bars = bars.bars.clone();
    ctrlc::set_handler(move || {
        if switch.is_cancelled() {
            // A file that is being written is finished first; none is begun any more.
            let _no_write_begins = output::hold_writes();
            std::process::exit(1);
        }
        switch.cancel();
        print_above(&bars, "stopping; Ctrl-C again to quit at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(cancellation)
}
