//! What is kept of models from one process to the next: weights packed once, and hashes of files that did not change.
//!
//! A network is built from its checkpoint by converting each weight and putting it in the order that a kernel reads. A pack keeps what comes out:
//! a file of one checkpoint's packed weights, which the next process maps and uses as they lie. Nothing is converted, copied or cleared, and
//! processes that paint with one model share its memory. [`build`] is how networks are built from either.
//!
//! # What a pack is good for
//! Its [`PackKey`] says from which files it was made (by their content), in which precision, by which edition of this program, and for which instructions. All of
//! that has to be the same; what differs in anything is not used. Weights that an adapter changes are read from the checkpoint: a patch knows
//! which they are, and the others are as they were packed.
//!
//! # What is trusted
//! On opening, a pack's head, its index (by checksum) and its length are compared, and every part has to lie inside. The gigabytes of weights are not
//! read for that, which would take as long as packing them: they were compared with their checksums when the pack was made ([`prepare`]), it was
//! written beside its place, brought to the disk and renamed, and it lies in a folder that only its owner may write. Bytes that a disk changed
//! later are found by [`prepare`]; as numbers they can spoil a picture and nothing else. A checkpoint itself is trusted no further. A folder that others may
//! write to is not used.
//!
//! # Which bytes a pack is made of
//! A checkpoint is hashed as it is mapped, not by its name, and a pack is kept only if each of its files is afterwards what it was when it was mapped.
//!
//! # What is removed
//! What is ours, by its first bytes or its name: the packs used longest ago when room is needed, those of earlier versions when a model is prepared, what
//! processes left that ended while they wrote. Never what a process uses, what is somebody else's, or, unasked, a later version's.
//!
//! # Whose settings
//! Whether anything is kept, and where, is the program's to say, once for the whole process ([`use_cache`]); without it nothing is kept.

mod build;
mod file;
mod folder;
mod format;
pub(crate) mod hashes;
mod key;
mod no_pack;
mod recorder;
mod writer;

use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

pub use build::{Built, PackUse, Prepared, build, prepare};
pub(crate) use file::Pack;
pub use folder::{PackFolder, PackInfo, Removed};
#[doc(hidden)]
pub use format::{check, sealed};
pub use key::PackKey;
pub use no_pack::NoPack;
pub(crate) use recorder::Recorder;

/// The folder of packs in the program's cache.
const PACKS: &str = "packed";
/// The file of hashes beside it.
const HASHES: &str = "hashes";

/// Bytes of all packs together, if nobody says: seven of Stable Diffusion 1.5 in 16 bits.
pub const DEFAULT_MAX_BYTES: u64 = 20_000_000_000;

/// What is kept from one process to the next, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// The program's own folder for files that can be made again.
    pub folder: PathBuf,
    /// Whether a model that is loaded without a pack leaves one.
    pub makes_packs: bool,
    /// Bytes of all packs together; those used longest ago go first.
    pub max_bytes: u64,
}

impl CacheOptions {
    /// A folder from which packs are used; none are made unless that is asked for.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), makes_packs: false, max_bytes: DEFAULT_MAX_BYTES }
    }

    /// Where packs are.
    pub fn packs(&self) -> PackFolder {
        PackFolder::new(self.folder.join(PACKS))
    }
}

static CACHE: RwLock<Option<CacheOptions>> = RwLock::new(None);

/// Lets all models that this process loads from now on use what is kept.
pub fn use_cache(options: CacheOptions) {
    *CACHE.write().unwrap_or_else(PoisonError::into_inner) = Some(options);
}

/// What this process may use, if anything.
pub fn cache() -> Option<CacheOptions> {
    CACHE.read().unwrap_or_else(PoisonError::into_inner).clone()
}
