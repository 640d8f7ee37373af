//! Networks from packs, or from checkpoints, which leave packs where that is allowed.

use std::path::PathBuf;
use std::sync::Arc;

use super::folder::PackFolder;
use super::{CacheOptions, Pack, PackKey, Recorder, cache};
use crate::checkpoint::Checkpoint;
use crate::weights::PackAccess;
use crate::{Error, Result};

/// Networks, and where their weights came from.
#[derive(Debug)]
pub struct Built<T> {
    /// The networks.
    pub networks: T,
    /// What a pack had to do with it.
    pub pack: PackUse,
    /// What somebody should know of a pack that could not be used or made, in words.
    pub problem: Option<String>,
}

/// What a pack had to do with how networks were built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackUse {
    /// Nothing: this checkpoint has no packs, or nothing is kept.
    None,
    /// There was none, and none was made: it is not allowed, or it failed.
    Missing,
    /// Weights were used as they lie.
    Used,
    /// There was none; now there is, and it is used.
    Made,
}

/// A pack that is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Whether it was made now, rather than found and compared with its checksums.
    pub is_new: bool,
}

/// Builds networks from what this process [may use](super::use_cache) of their checkpoint.
///
/// # Errors
/// Those of `build` alone: without a sound pack a network is built from its checkpoint.
pub fn build<T, E>(checkpoint: &Checkpoint, build: impl Fn(&Checkpoint) -> Result<T, E>) -> Result<Built<T>, E> {
    match cache().filter(|_| checkpoint.can_be_packed()) {
        Some(options) => build_with(checkpoint, &options, build),
        None => Ok(Built { networks: build(checkpoint)?, pack: PackUse::None, problem: None }),
    }
}

fn build_with<T, E>(
    checkpoint: &Checkpoint,
    options: &CacheOptions,
    build: impl Fn(&Checkpoint) -> Result<T, E>,
) -> Result<Built<T>, E> {
    let folder = options.packs();
    // Without a pack nobody has to know before which one it would be: hashing a file takes as long as packing it.
    let key = match options.makes_packs || !folder.is_empty() {
        true => key_of(checkpoint).ok(),
        false => None,
    };
    let (found, ignored) = match &key {
        Some(key) => find(&folder, key),
        None => (None, None),
    };
    match (found, key) {
        (Some(pack), _) => {
            Ok(Built { networks: build(&reading(checkpoint, pack))?, pack: PackUse::Used, problem: None })
        }
        (None, Some(key)) if options.makes_packs && !checkpoint.is_patched() => make(checkpoint, &key, options, build),
        (None, _) => Ok(Built { networks: build(checkpoint)?, pack: PackUse::Missing, problem: ignored }),
    }
}

/// Builds networks, keeps what they packed, and builds them again from that: so they share it with others and the copy of this process is gone.
fn make<T, E>(
    checkpoint: &Checkpoint,
    key: &PackKey,
    options: &CacheOptions,
    build: impl Fn(&Checkpoint) -> Result<T, E>,
) -> Result<Built<T>, E> {
    let (networks, written) = record(checkpoint, key, options, &build)?;
    let folder = options.packs();
    let (pack, problem) = match written {
        Ok(_) => find(&folder, key),
        Err(problem) => {
            (None, Some(format!("packed weights are not kept in `{}`: {problem}", folder.path().display())))
        }
    };
    let Some(pack) = pack else { return Ok(Built { networks, pack: PackUse::Missing, problem }) };
    drop(networks);
    Ok(Built { networks: build(&reading(checkpoint, pack))?, pack: PackUse::Made, problem: None })
}

/// Makes the pack of a checkpoint unless there is a sound one, and compares it with its checksums. Networks are `build`t for that.
///
/// # Errors
/// [`Error::Pack`] if it cannot be made: nothing is packed for such weights, the folder or the disk refuses; and those of `build`.
pub fn prepare<T, E: From<Error>>(
    checkpoint: &Checkpoint,
    options: &CacheOptions,
    build: impl Fn(&Checkpoint) -> Result<T, E>,
) -> Result<Prepared, E> {
    let folder = options.packs();
    let refused = |problem: String| Error::Pack { folder: folder.path().to_owned(), problem };
    if !checkpoint.can_be_packed() {
        return Err(refused("only weights in files, for the processor, are packed".to_owned()).into());
    }
    if checkpoint.is_patched() {
        return Err(refused("adapters change some of these weights; they are packed without".to_owned()).into());
    }
    let key = key_of(checkpoint)?;
    if let (Some(pack), _) = find(&folder, &key)
        && pack.verify().is_ok()
    {
        return Ok(prepared(&pack, false));
    }
    let (networks, written) = record(checkpoint, &key, options, &build)?;
    drop(networks);
    written.map_err(refused)?;
    let (pack, problem) = find(&folder, &key);
    let pack = pack.ok_or_else(|| refused(problem.unwrap_or_else(|| "it was removed meanwhile".to_owned())))?;
    pack.verify().map_err(refused)?;
    Ok(prepared(&pack, true))
}

fn prepared(pack: &Pack, is_new: bool) -> Prepared {
    Prepared { path: pack.path().to_owned(), bytes: pack.bytes(), is_new }
}

/// Networks, and where what they packed is now or, in words, why it is not kept.
fn record<T, E>(
    checkpoint: &Checkpoint,
    key: &PackKey,
    options: &CacheOptions,
    build: &impl Fn(&Checkpoint) -> Result<T, E>,
) -> Result<(T, Result<PathBuf, String>), E> {
    let folder = options.packs();
    let told = |error: std::io::Error| error.to_string();
    let recorder = match Recorder::begin(&folder, options.max_bytes) {
        Ok(recorder) => Arc::new(recorder),
        Err(error) => return Ok((build(checkpoint)?, Err(told(error)))),
    };
    let networks = build(&checkpoint.with_pack(&PackAccess::Records(recorder.clone())))?;
    let Some(recorder) = Arc::into_inner(recorder) else {
        return Ok((networks, Err("a network still reads its weights".to_owned())));
    };
    let written = match (recorder.finish(key.clone(), checkpoint.name.clone()), checkpoint.changed_file()) {
        // A pack is of one content, and the key says which.
        (Ok(Some(_)), Some(file)) => Err(format!("`{file}` was changed, moved or replaced meanwhile")),
        (Ok(Some(part)), None) => folder.keep(part, key, options.max_bytes).map_err(told),
        (Ok(None), _) => Err("nothing is packed for weights in this precision on this machine".to_owned()),
        (Err(error), _) => Err(told(error)),
    };
    Ok((networks, written))
}

fn key_of(checkpoint: &Checkpoint) -> Result<PackKey> {
    Ok(PackKey::new(checkpoint.content_hash()?, checkpoint.unet.weights.precision()))
}

/// The pack of a key or, in words, why what is in its place is none.
fn find(folder: &PackFolder, key: &PackKey) -> (Option<Pack>, Option<String>) {
    let path = folder.place(key);
    let opened = folder.require_private().map_err(|error| error.to_string()).and_then(|()| Pack::open(&path, key));
    match opened {
        Ok(pack) => (pack, None),
        Err(problem) => (None, Some(format!("the packed weights `{}` are not used: {problem}", path.display()))),
    }
}

fn reading(checkpoint: &Checkpoint, pack: Pack) -> Checkpoint {
    checkpoint.with_pack(&PackAccess::Reads(Arc::new(pack)))
}

#[cfg(test)]
mod tests;
