//! A run folder: one benchmark painted by one method with one set of options, by any number of processes, killed and resumed at will.
//!
//! ```text
//! runs/lmd/run.json               what was run: versions, model hash, options, which captions are planned
//! runs/lmd/200/img_0.png          caption 200, first repeat (the layout that the published evaluation tools read)
//! runs/lmd/200/img_0.json         what it cost, see `record`
//! runs/lmd/claims/200.lock        caption 200 is being painted: locked by the system, so it ends with its process
//! runs/lmd/scores.json            what a detector saw and how it was judged
//! ```
//!
//! An image exists when it is complete, so existence is all the bookkeeping there is: nothing is painted twice or lost.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sinopia_diffusion::{EllaId, ModelId, Sampling};
use sinopia_layout::hex;

use crate::benchmark::{Benchmark, Sample};
use crate::evaluators::EvaluatorId;
use crate::record::{Painted, PictureRecord};
use crate::{Error, Result, files};

const MANIFEST: &str = "run.json";
const LOCK: &str = "run.lock";
const CLAIMS: &str = "claims";
/// Distance of the seeds of two repeats of one caption.
const REPEAT_STRIDE: u64 = 6789;

/// What decides the images of a run. Two invocations on one folder must agree in all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// The benchmark as it was named, with its file.
    pub benchmark: String,
    /// SHA-256 of its captions, one a line.
    pub captions_sha256: String,
    /// The method.
    pub method: String,
    /// All of its options, defaults included.
    pub options: Value,
    /// The checkpoint.
    pub model: ModelId,
    /// The segmentation model of the objects, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sam: Option<ModelId>,
    /// What reads prompts besides the model's own text encoder, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ella: Option<EllaId>,
    /// How the weights were kept in memory.
    pub precision: String,
    /// Size, steps, guidance, scheduler; the seed is the offset that is added to every image's own.
    pub sampling: Sampling,
    /// Negative keywords in place of the default ones.
    pub negative: Option<String>,
    /// The cache of layouts, if the method was given one.
    pub layouts: Option<LayoutsId>,
    /// Images a caption.
    pub repeats: usize,
    /// How images are checked before they are kept, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckId>,
}

/// How images are checked before they are kept: the best of several attempts, perhaps repaired. In a run of edits, which makes no attempts, who looks for what is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckId {
    /// Paintings from other seeds at most, one after the other until one is right.
    pub attempts: u32,
    /// Whether what is wrong with the best of them is mended.
    pub repair: bool,
    /// Who looks and chooses.
    pub evaluator: EvaluatorId,
}

/// A cache of layouts, by name and content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayoutsId {
    /// The file's name.
    pub file: String,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The folder's format, [`Manifest::FORMAT`].
    pub format: u32,
    /// The version of Sinopia that paints here.
    pub sinopia: String,
    /// What decides the images.
    pub settings: RunSettings,
    /// Numbers of the captions that some invocation set out to paint; strictly, what is missing of them is a failure.
    pub planned: BTreeSet<usize>,
}

impl Manifest {
    /// The newest format.
    pub const FORMAT: u32 = 1;
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

/// SHA-256 of a benchmark's captions, joined by newlines.
pub fn captions_sha256(benchmark: &dyn Benchmark) -> String {
    let captions: Vec<&str> = benchmark.samples().iter().map(|sample| sample.caption.as_str()).collect();
    sha256(captions.join("\n").as_bytes())
}

/// The seed of an image: `index + 6789 · repeat + offset`, so that every method starts a caption from the same noise.
///
/// # Source
/// TonyLianLong/LLM-groundedDiffusion@cef2a90:generate.py; objects painted alone start at this + 123456789, which is the methods' default.
pub fn seed(index: usize, repeat: usize, offset: u64) -> u64 {
    (index as u64).wrapping_add(REPEAT_STRIDE.wrapping_mul(repeat as u64)).wrapping_add(offset)
}

/// Part `number` of `count`: every `count`-th caption, so that each part has all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    number: usize,
    count: usize,
}

impl Shard {
    /// Whether the sample at a position of the selection belongs to it.
    pub fn holds(self, position: usize) -> bool {
        position % self.count == self.number - 1
    }
}

impl std::str::FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Shard { text: text.to_owned() };
        let (number, count) = text.split_once('/').ok_or_else(wrong)?;
        let (number, count): (usize, usize) =
            (number.parse().map_err(|_| wrong())?, count.parse().map_err(|_| wrong())?);
        match number {
            1.. if number <= count => Ok(Self { number, count }),
            _ => Err(wrong()),
        }
    }
}

/// The samples of a task (or all), at most `limit` of each task.
///
/// # Errors
/// [`Error::UnknownTask`].
pub fn select<'a>(benchmark: &'a dyn Benchmark, task: Option<&str>, limit: Option<usize>) -> Result<Vec<&'a Sample>> {
    let tasks = crate::benchmark::tasks(benchmark);
    if let Some(task) = task.filter(|task| !tasks.contains(task)) {
        return Err(Error::UnknownTask {
            benchmark: benchmark.name().to_owned(),
            task: task.to_owned(),
            known: tasks.join(", "),
        });
    }
    let mut taken = std::collections::HashMap::new();
    let samples = benchmark.samples().iter().filter(|sample| task.is_none_or(|task| sample.task == task));
    let within_limit = samples.filter(|sample| {
        let count = taken.entry(&sample.task).or_insert(0);
        *count += 1;
        limit.is_none_or(|limit| *count <= limit)
    });
    Ok(within_limit.collect())
}

/// A folder with a manifest.
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
    manifest: Manifest,
}

impl RunFolder {
    /// Opens the run in `root` if it was made with the same settings, or begins one; `planned` captions join its plan.
    ///
    /// Processes that begin at the same time wait for each other here.
    ///
    /// # Errors
    /// [`Error::RunVersion`], [`Error::RunDiffers`], [`Error::ForeignFolder`]; [`Error::Read`], [`Error::Json`] or [`Error::Write`].
    pub fn begin(root: &Path, settings: &RunSettings, planned: impl IntoIterator<Item = usize>) -> Result<Self> {
        files::create_folder(root)?;
        // In this order: a process that has just begun writes its manifest before anything else.
        if has_foreign_files(root)? && !root.join(MANIFEST).exists() {
            return Err(Error::ForeignFolder { folder: root.to_owned() });
        }
        let _lock = lock(&root.join(LOCK))?;
        let manifest = match root.join(MANIFEST).exists() {
            true => Some(Self::open(root)?.manifest),
            false => None,
        };
        let mut next = match &manifest {
            Some(manifest) => {
                check_version(root, manifest)?;
                check_settings(root, &manifest.settings, settings)?;
                manifest.clone()
            }
            None => Manifest {
                format: Manifest::FORMAT,
                sinopia: env!("CARGO_PKG_VERSION").to_owned(),
                settings: settings.clone(),
                planned: BTreeSet::new(),
            },
        };
        next.planned.extend(planned);
        if manifest.as_ref() != Some(&next) {
            files::write_json(&root.join(MANIFEST), &next)?;
        }
        Ok(Self { root: root.to_owned(), manifest: next })
    }

    /// Opens the run in `root` to look at it.
    ///
    /// # Errors
    /// [`Error::NotARun`]; [`Error::RunVersion`] if its format is another; [`Error::Read`] or [`Error::Json`].
    pub fn open(root: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
            sinopia: String,
        }
        let path = root.join(MANIFEST);
        if !path.is_file() {
            return Err(Error::NotARun { folder: root.to_owned() });
        }
        let header: Header = files::read_json(&path)?;
        if header.format != Manifest::FORMAT {
            return Err(version_error(root, header.format, &header.sinopia));
        }
        Ok(Self { root: root.to_owned(), manifest: files::read_json(&path)? })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What is run here.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a caption's image is, or will be.
    pub fn image(&self, index: usize, repeat: usize) -> PathBuf {
        self.root.join(index.to_string()).join(format!("img_{repeat}.png"))
    }

    /// What a caption's image cost, if it is there and that was recorded.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Json`] for a file that is no record.
    pub fn record(&self, index: usize, repeat: usize) -> Result<Option<PictureRecord>> {
        let image = self.image(index, repeat);
        if image.is_file() { PictureRecord::beside(&image) } else { Ok(None) }
    }

    /// Waits until no other process holds the lock of this name, and holds it until the file is dropped.
    pub(crate) fn lock(&self, name: &str) -> Result<File> {
        lock(&self.root.join(name))
    }

    fn is_complete(&self, index: usize) -> bool {
        (0..self.manifest.settings.repeats).all(|repeat| self.image(index, repeat).is_file())
    }

    /// Paints what is missing of `samples`, sharing the work with other processes on the same folder: a caption that another is
    /// painting is passed over, and waited for at the end in case that process dies.
    ///
    /// `paint` makes the PNG of a sample and repeat, and its record.
    ///
    /// # Errors
    /// [`Error::Painting`] with what `paint` said, [`Error::Write`]. Everything painted before is kept.
    pub fn paint(&self, samples: &[&Sample], paint: &mut Paint<'_>, progress: &mut dyn FnMut(&Progress)) -> Result<()> {
        let mut painting = Painting { folder: self, samples, clock: Clock::default(), paint, progress };
        let mut elsewhere = Vec::new();
        for sample in samples {
            match self.claim(sample.index, false)? {
                Claim::Done => {}
                Claim::Elsewhere => elsewhere.push(*sample),
                Claim::Ours(lock) => painting.paint(sample, lock)?,
            }
        }
        for sample in elsewhere {
            if let Claim::Ours(lock) = self.claim(sample.index, true)? {
                painting.paint(sample, lock)?;
            }
        }
        // Only goes when empty, that is when the last process is done; harmless otherwise.
        let _ = std::fs::remove_dir(self.root.join(CLAIMS));
        Ok(())
    }

    fn claim_path(&self, index: usize) -> PathBuf {
        self.root.join(CLAIMS).join(format!("{index}.lock"))
    }

    /// The claim file, made if need be, and its folder too: another process takes the folder away when it has nothing left to paint.
    fn claim_file(&self, path: &Path) -> std::io::Result<File> {
        const TRIES: usize = 100;
        for _ in 1..TRIES {
            std::fs::create_dir_all(self.root.join(CLAIMS))?;
            match File::create(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {} // it went between the two
                result => return result,
            }
        }
        File::create(path)
    }

    /// The right to paint a caption: the system's lock on its claim file, which ends with the process.
    fn claim(&self, index: usize, wait: bool) -> Result<Claim> {
        if self.is_complete(index) {
            return Ok(Claim::Done);
        }
        let path = self.claim_path(index);
        let write_error = |source| Error::Write { path: path.clone(), source };
        let file = self.claim_file(&path).map_err(write_error)?;
        if wait {
            file.lock().map_err(write_error)?;
        } else {
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Claim::Elsewhere),
                Err(TryLockError::Error(source)) => return Err(write_error(source)),
            }
        }
        // It may have been painted between the look and the lock.
        Ok(if self.is_complete(index) { Claim::Done } else { Claim::Ours(file) })
    }
}

/// What is missing of some samples, painted one after the other.
struct Painting<'a, 'b> {
    folder: &'a RunFolder,
    samples: &'a [&'a Sample],
    clock: Clock,
    paint: &'a mut Paint<'b>,
    progress: &'a mut dyn FnMut(&Progress),
}

impl Painting<'_, '_> {
    /// The missing images of a sample whose claim this process holds.
    fn paint(&mut self, sample: &Sample, lock: File) -> Result<()> {
        let folder = self.folder.root.join(sample.index.to_string());
        files::create_folder(&folder)?;
        files::remove_parts(&folder); // of a process that was killed here: the claim is ours alone
        for repeat in 0..self.folder.manifest.settings.repeats {
            let path = self.folder.image(sample.index, repeat);
            if path.is_file() {
                continue;
            }
            let start = Instant::now();
            let painted = (self.paint)(sample, repeat).map_err(|source| Error::Painting {
                index: sample.index,
                caption: sample.caption.clone(),
                source,
            })?;
            painted.record.write_beside(&path)?;
            files::write(&path, &painted.png)?;
            self.clock.add(start.elapsed());
            let progress = self.progress_after(sample, repeat);
            (self.progress)(&progress);
        }
        // While it is still locked: whoever waits for it finds the image.
        let _ = std::fs::remove_file(self.folder.claim_path(sample.index));
        drop(lock);
        Ok(())
    }

    /// Where the run stands after an image.
    fn progress_after(&self, sample: &Sample, repeat: usize) -> Progress {
        let done = self.samples.iter().filter(|sample| self.folder.is_complete(sample.index)).count();
        let total = self.samples.len();
        let images_left = ((total - done) * self.folder.manifest.settings.repeats) as u32;
        Progress {
            caption: sample.caption.clone(),
            index: sample.index,
            repeat,
            done,
            total,
            took: self.clock.last,
            left: self.clock.mean() * images_left,
        }
    }
}

/// What makes the PNG of a sample and repeat, and its record.
pub type Paint<'a> = dyn FnMut(&Sample, usize) -> Result<Painted, PaintError> + 'a;

/// What it may fail with.
pub type PaintError = Box<dyn std::error::Error + Send + Sync>;

enum Claim {
    Done,
    Elsewhere,
    Ours(File),
}

/// Where a run stands after an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The caption just painted.
    pub caption: String,
    /// Its number.
    pub index: usize,
    /// Which of its images, from 0.
    pub repeat: usize,
    /// Captions complete, whoever painted them.
    pub done: usize,
    /// Captions to paint in all.
    pub total: usize,
    /// How long this image took.
    pub took: Duration,
    /// How long this process alone would need for the rest, at its mean speed so far.
    pub left: Duration,
}

#[derive(Debug, Default)]
struct Clock {
    painted: u32,
    spent: Duration,
    last: Duration,
}

impl Clock {
    fn add(&mut self, took: Duration) {
        self.painted += 1;
        self.spent += took;
        self.last = took;
    }

    /// The mean time of an image so far.
    fn mean(&self) -> Duration {
        self.spent / self.painted.max(1)
    }
}

fn lock(path: &Path) -> Result<File> {
    let write_error = |source| Error::Write { path: path.to_owned(), source };
    let file = File::create(path).map_err(write_error)?;
    file.lock().map_err(write_error)?;
    Ok(file)
}

fn has_foreign_files(root: &Path) -> Result<bool> {
    let read_error = |source| Error::Read { path: root.to_owned(), source };
    for entry in std::fs::read_dir(root).map_err(read_error)? {
        let name = entry.map_err(read_error)?.file_name();
        // A process that began at the same time, or was killed while it did.
        if name != LOCK && name != MANIFEST && !files::is_part(Path::new(&name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn check_version(root: &Path, manifest: &Manifest) -> Result<()> {
    match manifest.sinopia == env!("CARGO_PKG_VERSION") {
        true => Ok(()),
        false => Err(version_error(root, manifest.format, &manifest.sinopia)),
    }
}

fn version_error(root: &Path, found: u32, writer: &str) -> Error {
    Error::RunVersion {
        folder: root.to_owned(),
        found,
        writer: writer.to_owned(),
        known: Manifest::FORMAT,
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Refuses settings that would paint other images into the same folder. Names of models and files may change, their contents not.
fn check_settings(root: &Path, was: &RunSettings, now: &RunSettings) -> Result<()> {
    let mut differences = Vec::new();
    let values = |settings: &RunSettings| serde_json::to_value(settings).unwrap_or_default();
    compare("", &values(was), &values(now), &mut differences);
    match differences.is_empty() {
        true => Ok(()),
        false => Err(Error::RunDiffers { folder: root.to_owned(), differences }),
    }
}

fn compare(name: &str, was: &Value, now: &Value, differences: &mut Vec<String>) {
    const NAMES_ONLY: [&str; 5] = ["benchmark", "model.id", "sam.id", "layouts.file", "check.evaluator.id"];
    match (was, now) {
        (Value::Object(was), Value::Object(now)) => {
            let keys: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
            for key in keys {
                let inner = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                compare(
                    &inner,
                    was.get(key).unwrap_or(&Value::Null),
                    now.get(key).unwrap_or(&Value::Null),
                    differences,
                );
            }
        }
        _ if was == now || NAMES_ONLY.contains(&name) => {}
        _ => differences.push(format!("{name} was {was}, now {now}")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use sinopia_diffusion::noise::Seed;

    use super::*;
    use crate::benchmarks;

    fn settings() -> RunSettings {
        RunSettings {
            benchmark: "lmd".to_owned(),
            captions_sha256: "c0".to_owned(),
            method: "sd".to_owned(),
            options: serde_json::json!({"ignore_negative_prompt": true}),
            model: ModelId { id: "miniature".to_owned(), hash: "00ff".to_owned() },
            sam: None,
            ella: None,
            precision: "auto".to_owned(),
            sampling: Sampling::new(Seed(0), 64, 64),
            negative: None,
            layouts: None,
            repeats: 1,
            check: None,
        }
    }

    fn picture(png: Vec<u8>) -> Painted {
        Painted { png, record: PictureRecord { work: 30, first_painting: 20, attempts: 2, ..PictureRecord::default() } }
    }

    fn begin(root: &Path, settings: &RunSettings) -> Result<RunFolder> {
        RunFolder::begin(root, settings, 0..3)
    }

    #[test]
    fn seeds_are_the_published_ones() {
        assert_eq!((seed(0, 0, 0), seed(200, 0, 0), seed(200, 2, 10)), (0, 200, 200 + 2 * 6789 + 10));
    }

    #[test]
    fn shards_share_everything_once() {
        let shards: Vec<Shard> = ["1/3", "2/3", "3/3"].map(|text| text.parse().unwrap()).to_vec();
        for position in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.holds(position)).count(), 1);
        }
        for text in ["0/3", "4/3", "1", "a/b", "1/0"] {
            assert!(text.parse::<Shard>().unwrap_err().to_string().contains("2/8"), "{text}");
        }
    }

    #[test]
    fn a_selection_takes_the_first_of_each_task() {
        let benchmark = benchmarks::open("lmd").unwrap();
        let indices = |task, limit| {
            let samples = select(benchmark.as_ref(), task, limit).unwrap();
            samples.iter().map(|sample| sample.index).collect::<Vec<_>>()
        };
        assert_eq!(indices(None, Some(2)), [0, 1, 100, 101, 200, 201, 300, 301]);
        assert_eq!(indices(Some("spatial"), Some(1)), [300]);
        assert_eq!(indices(None, None).len(), 400);
        let message = select(benchmark.as_ref(), Some("taste"), None).unwrap_err().to_string();
        assert!(message.contains("`taste`") && message.contains("negation, numeracy"), "{message}");
    }

    #[test]
    fn what_failed_is_painted_by_the_next_invocation_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let benchmark = benchmarks::open("lmd").unwrap();
        let samples: Vec<&Sample> = benchmark.samples().iter().take(3).collect();
        let painted = RefCell::new(Vec::new());
        let run = begin(&root, &settings()).unwrap();
        let mut fails_at_1 = |sample: &Sample, _| {
            if sample.index == 1 {
                return Err("no light".into());
            }
            painted.borrow_mut().push(sample.index);
            Ok(picture(vec![1, 2, 3]))
        };
        let error = run.paint(&samples, &mut fails_at_1, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "cannot paint caption 1, `A realistic photo of a scene without backpacks`");
        std::fs::write(root.join("1/.sinopia-x.part"), "half").unwrap();
        let mut progress = Vec::new();
        let run = begin(&root, &settings()).unwrap();
        let mut paints = |sample: &Sample, _| {
            painted.borrow_mut().push(sample.index);
            Ok(picture(vec![1, 2, 3]))
        };
        run.paint(&samples, &mut paints, &mut |p| progress.push((p.done, p.total))).unwrap();
        assert_eq!(*painted.borrow(), [0, 1, 2]);
        assert_eq!(progress, [(2, 3), (3, 3)]);
        let names = |path: &Path| {
            let entries =
                std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            entries.collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&root), BTreeSet::from(["0", "1", "2", "run.json", "run.lock"].map(str::to_owned)));
        assert_eq!(names(&root.join("1")), BTreeSet::from(["img_0.json", "img_0.png"].map(str::to_owned)));
        let record = run.record(1, 0).unwrap().unwrap();
        assert_eq!((record.paintings(), run.record(3, 0).unwrap()), (Some(1.5), None));
    }

    #[test]
    fn two_processes_split_the_work_and_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let benchmark = benchmarks::open("lmd").unwrap();
        let samples: Vec<&Sample> = benchmark.samples().iter().take(30).collect();
        let painted = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let run = RunFolder::begin(folder.path(), &settings(), 0..30).unwrap();
                    let mut paint = |sample: &Sample, _| {
                        std::thread::yield_now(); // to the others
                        painted.lock().unwrap().push(sample.index);
                        Ok(picture(vec![7]))
                    };
                    run.paint(&samples, &mut paint, &mut |_| {}).unwrap();
                    assert!((0..30).all(|index| run.is_complete(index)), "a worker left before the work was done");
                });
            }
        });
        let mut painted = painted.into_inner().unwrap();
        painted.sort_unstable();
        assert_eq!(painted, (0..30).collect::<Vec<_>>(), "each caption once");
    }

    #[test]
    fn other_options_versions_and_folders_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        begin(&root, &settings()).unwrap();
        let renamed = RunSettings { model: ModelId { id: "elsewhere".to_owned(), ..settings().model }, ..settings() };
        begin(&root, &renamed).unwrap();
        let mut other = settings();
        other.sampling.num_inference_steps = 20;
        other.options = serde_json::json!({"ignore_negative_prompt": false});
        let message = begin(&root, &other).unwrap_err().to_string();
        for part in
            ["options.ignore_negative_prompt was true, now false", "sampling.num_inference_steps was 50, now 20"]
        {
            assert!(message.contains(part), "{message}");
        }
        let manifest = std::fs::read_to_string(root.join(MANIFEST)).unwrap();
        let older = manifest.replace(concat!('"', env!("CARGO_PKG_VERSION"), '"'), "\"0.0.7\"");
        std::fs::write(root.join(MANIFEST), &older).unwrap();
        let message = begin(&root, &settings()).unwrap_err().to_string();
        assert!(message.contains("made by Sinopia 0.0.7") && message.contains("begin a new folder"), "{message}");
        std::fs::write(root.join(MANIFEST), "{").unwrap();
        assert!(matches!(begin(&root, &settings()), Err(Error::Json { .. })));
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        assert!(matches!(begin(folder.path(), &settings()), Err(Error::ForeignFolder { .. })));
        assert!(matches!(RunFolder::open(folder.path()), Err(Error::NotARun { .. })));
    }

    #[test]
    fn another_sam_is_refused_and_the_same_elsewhere_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let outlined = |id: &str, hash: &str| RunSettings {
            sam: Some(ModelId { id: id.to_owned(), hash: hash.to_owned() }),
            ..settings()
        };
        begin(&root, &outlined("here", "5a")).unwrap();
        begin(&root, &outlined("there", "5a")).unwrap();
        let message = begin(&root, &outlined("here", "5b")).unwrap_err().to_string();
        assert!(message.contains("sam.hash was"), "{message}");
        let message = begin(&root, &settings()).unwrap_err().to_string();
        assert!(message.contains("sam was"), "{message}");
    }

    #[test]
    fn runs_without_records_and_checks_are_read_and_another_check_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("run");
        let checked = |attempts, id: &str| RunSettings {
            check: Some(CheckId {
                attempts,
                repair: false,
                evaluator: EvaluatorId { id: id.to_owned(), hash: "d0".to_owned() },
            }),
            ..settings()
        };
        let run = begin(&root, &settings()).unwrap();
        assert!(
            !std::fs::read_to_string(root.join(MANIFEST)).unwrap().contains("check"),
            "as before there were checks"
        );
        std::fs::create_dir_all(root.join("2")).unwrap();
        std::fs::write(run.image(2, 0), "an image of before there were records").unwrap();
        assert_eq!(run.record(2, 0).unwrap(), None);
        let message = begin(&root, &checked(4, "here")).unwrap_err().to_string();
        assert!(message.contains("check was null"), "{message}");
        let other = folder.path().join("checked");
        begin(&other, &checked(4, "here")).unwrap();
        begin(&other, &checked(4, "there")).unwrap();
        let message = begin(&other, &checked(2, "here")).unwrap_err().to_string();
        assert!(message.contains("check.attempts was 4, now 2"), "{message}");
    }

    #[test]
    fn plans_grow() {
        let folder = tempfile::tempdir().unwrap();
        RunFolder::begin(folder.path(), &settings(), [5, 1]).unwrap();
        let run = RunFolder::begin(folder.path(), &settings(), [2, 5]).unwrap();
        assert_eq!(run.manifest().planned, BTreeSet::from([1, 2, 5]));
        assert_eq!(RunFolder::open(folder.path()).unwrap().manifest(), run.manifest());
    }
}
