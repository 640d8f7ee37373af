use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::clip::ClipTextModel;
use crate::hub::NoProgress;
use crate::testing::normal;
use crate::vae::AutoencoderKl;
use crate::weights::{LowRank, WeightPatch};
use crate::{ModelSource, OpenOptions, Precision};

const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/small");

/// A copy of a tiny model, and a folder for packs.
struct Desk {
    home: tempfile::TempDir,
    options: CacheOptions,
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

impl Desk {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        copy(Path::new(SMALL), &home.path().join("model"));
        let options = CacheOptions { makes_packs: true, ..CacheOptions::new(home.path().join("cache")) };
        Self { home, options }
    }

    fn checkpoint(&self) -> Checkpoint {
        let options = OpenOptions { device: Device::Cpu, precision: Precision::Bf16, ..OpenOptions::default() };
        let source = ModelSource::Folder(self.home.path().join("model"));
        Checkpoint::open(&source, &options, &NoProgress).unwrap()
    }

    fn build(&self) -> Built<Networks> {
        build_with(&self.checkpoint(), &self.options, load).unwrap()
    }

    fn packs(&self) -> Vec<PathBuf> {
        self.options.packs().list().into_iter().map(|info| info.path).collect()
    }

    /// The one pack that there is.
    fn pack(&self) -> PathBuf {
        let [path] = <[PathBuf; 1]>::try_from(self.packs()).unwrap();
        path
    }

    /// All files in the folder of packs but its lock.
    fn files(&self) -> usize {
        let is_file = |entry: &std::io::Result<std::fs::DirEntry>| entry.as_ref().unwrap().file_name() != ".lock";
        std::fs::read_dir(self.options.packs().path()).map_or(0, |entries| entries.filter(is_file).count())
    }

    /// The text encoder's file, and its bytes with the sign of the last weight changed, one of the last norm.
    fn changed_file(&self) -> (PathBuf, Vec<u8>) {
        let path = self.home.path().join("model/text_encoder/model.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 0x80;
        (path, bytes)
    }
}

type Networks = (ClipTextModel, AutoencoderKl);

fn load(checkpoint: &Checkpoint) -> Result<Networks> {
    let Checkpoint { text_encoder, vae, .. } = checkpoint;
    Ok((
        ClipTextModel::load(&text_encoder.config, &text_encoder.weights)?,
        AutoencoderKl::load(&vae.config, &vae.weights)?,
    ))
}

/// What networks compute, to the bit.
fn results((text_encoder, vae): &Networks) -> Vec<u32> {
    let states = text_encoder.forward(&[vec![3, 1, 4, 1, 5]]).unwrap().last_hidden_state;
    let latents = normal(7, &[1, 4, 4, vae.config().latent_channels]).unwrap();
    let bits = |tensor: &Tensor| {
        let values = tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
    };
    [bits(&states), bits(&vae.decode(&latents).unwrap())].concat()
}

#[test]
fn results_are_the_same_bits_with_and_without_a_pack() {
    let mut desk = Desk::new();
    let expected = results(&load(&desk.checkpoint()).unwrap());
    let made = desk.build();
    assert_eq!((made.pack, made.problem.as_deref()), (PackUse::Made, None));
    assert_eq!(results(&made.networks), expected);
    desk.options.makes_packs = false;
    let used = desk.build();
    assert_eq!((used.pack, results(&used.networks)), (PackUse::Used, expected));
}

#[test]
fn what_a_pack_has_is_not_read_from_the_checkpoint() {
    let desk = Desk::new();
    let expected = results(&desk.build().networks);
    let checkpoint = desk.checkpoint();
    let pack = find(&desk.options.packs(), &key_of(&checkpoint).unwrap()).0.unwrap();
    // Only the names and shapes of the checkpoint are left.
    for file in ["text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors"] {
        let path = desk.home.path().join("model").join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let head = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[head..].fill(0);
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(results(&load(&reading(&desk.checkpoint(), pack)).unwrap()), expected);
}

#[test]
fn nothing_is_kept_unless_it_is_allowed() {
    let mut desk = Desk::new();
    desk.options.makes_packs = false;
    let built = desk.build();
    assert_eq!((built.pack, built.problem, desk.files()), (PackUse::Missing, None, 0));
    assert!(!desk.options.folder.exists());
}

#[test]
fn what_is_no_pack_is_told_and_made_anew() {
    let mut desk = Desk::new();
    let expected = results(&desk.build().networks);
    let path = desk.pack();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1; // in the index
    let other_version = [&good[..8], &[2], &good[9..]].concat();
    let foreign = b"PK\x03\x04 of somebody else".repeat(100);
    for bad in [&good[..good.len() - 1], &good[..1000], &[], &flipped, &other_version, &foreign] {
        std::fs::write(&path, bad).unwrap();
        desk.options.makes_packs = false;
        let built = desk.build();
        assert_eq!((built.pack, results(&built.networks)), (PackUse::Missing, expected.clone()));
        let problem = built.problem.unwrap();
        assert!(problem.contains("not used") && problem.contains(path.to_str().unwrap()), "{problem}");
        desk.options.makes_packs = true;
        let built = desk.build();
        assert_eq!((built.pack, built.problem), (PackUse::Made, None));
        assert_eq!(std::fs::read(&path).unwrap(), good);
    }
}

#[test]
fn a_pack_of_another_key_in_its_place_is_not_used() {
    let mut desk = Desk::new();
    desk.build();
    let path = desk.pack();
    let (path_of_weights, bytes) = desk.changed_file();
    std::fs::write(&path_of_weights, bytes).unwrap();
    desk.options.makes_packs = false;
    // Of what the checkpoint was before.
    assert_eq!(desk.build().pack, PackUse::Missing);
    let key = key_of(&desk.checkpoint()).unwrap();
    std::fs::rename(&path, desk.options.packs().place(&key)).unwrap();
    let built = desk.build();
    assert!(built.pack == PackUse::Missing && built.problem.unwrap().contains("of another model"));
}

#[test]
fn preparing_finds_bytes_that_have_changed() {
    let desk = Desk::new();
    let prepared = |desk: &Desk| prepare::<_, Error>(&desk.checkpoint(), &desk.options, load).unwrap();
    let first = prepared(&desk);
    assert_eq!((first.is_new, first.bytes), (true, std::fs::metadata(&first.path).unwrap().len()));
    assert!(!prepared(&desk).is_new);
    let good = std::fs::read(&first.path).unwrap();
    let mut flipped = good.clone();
    flipped[100] ^= 1; // in a weight
    std::fs::write(&first.path, flipped).unwrap();
    assert!(prepared(&desk).is_new);
    assert_eq!(std::fs::read(&first.path).unwrap(), good);
}

#[test]
fn two_who_make_a_pack_at_once_make_one() {
    let desk = Desk::new();
    let expected = results(&load(&desk.checkpoint()).unwrap());
    std::thread::scope(|scope| {
        let built: Vec<_> = (0..2).map(|_| scope.spawn(|| results(&desk.build().networks))).collect();
        for built in built {
            assert_eq!(built.join().unwrap(), expected);
        }
    });
    assert_eq!((desk.packs().len(), desk.files()), (1, 1));
}

#[test]
fn without_a_folder_or_room_networks_are_built_all_the_same() {
    let desk = Desk::new();
    let expected = results(&load(&desk.checkpoint()).unwrap());
    let small = CacheOptions { max_bytes: 1000, ..desk.options.clone() };
    let nowhere = CacheOptions { folder: desk.home.path().join("model/model_index.json"), ..desk.options.clone() };
    for (options, told) in [(small, "more than 1000 bytes"), (nowhere, "not kept in")] {
        let built = build_with(&desk.checkpoint(), &options, load).unwrap();
        assert_eq!((built.pack, results(&built.networks)), (PackUse::Missing, expected.clone()));
        assert!(built.problem.unwrap().contains(told));
        assert_eq!(desk.files(), 0);
        let error = prepare::<_, Error>(&desk.checkpoint(), &options, load).unwrap_err();
        assert!(matches!(error, Error::Pack { .. }), "{error}");
    }
}

/// The same with an adapter for one weight of its text encoder.
fn adapted(mut checkpoint: Checkpoint) -> Checkpoint {
    let weights = &checkpoint.text_encoder.weights;
    let name = weights.names().into_iter().find(|name| name.ends_with("q_proj.weight")).unwrap();
    let &[rows, columns] = weights.shape(&name).unwrap().as_slice() else { panic!("a matrix") };
    let mut patch = WeightPatch::new("style", 1.0);
    let delta = LowRank::new(&normal(1, &[rows, 2]).unwrap(), &normal(2, &[2, columns]).unwrap(), None).unwrap();
    patch.insert(name, delta);
    checkpoint.text_encoder.weights = weights.patched(patch).unwrap();
    checkpoint
}

#[test]
fn weights_that_an_adapter_changes_do_not_come_from_the_pack() {
    let desk = Desk::new();
    desk.build();
    let plain = results(&load(&desk.checkpoint()).unwrap());
    let checkpoint = adapted(desk.checkpoint());
    let expected = results(&load(&checkpoint).unwrap());
    let built = build_with(&checkpoint, &desk.options, load).unwrap();
    assert_ne!(plain, expected);
    assert_eq!((built.pack, results(&built.networks)), (PackUse::Used, expected));
}

#[cfg(target_os = "linux")]
#[test]
fn a_pack_in_use_is_mapped_and_stays_where_it_is() {
    let desk = Desk::new();
    let built = desk.build();
    let path = desk.pack();
    let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
    // A shared, read-only mapping of the file: all who have it have the same pages.
    let line = maps().lines().find(|line| line.ends_with(path.to_str().unwrap())).unwrap().to_owned();
    assert!(line.contains(" r--s "), "{line}");
    assert_eq!(desk.options.packs().clear(|_| true).unwrap().in_use, 1);
    drop(built);
    // Whoever reads ahead still holds it for a moment.
    while maps().contains(path.to_str().unwrap()) {
        std::thread::yield_now();
    }
    assert_eq!(desk.options.packs().clear(|_| true).unwrap().packs, 1);
}

#[test]
fn a_file_that_took_the_name_of_the_opened_one_does_not_lend_it_its_hash() {
    let desk = Desk::new();
    let opened = desk.checkpoint();
    let before = results(&load(&opened).unwrap());
    let (path, bytes) = desk.changed_file();
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    // What is mapped is the file of before: no pack of it is kept, least of all as one of the other.
    let built = build_with(&opened, &desk.options, load).unwrap();
    assert_eq!((built.pack, results(&built.networks), desk.files()), (PackUse::Missing, before.clone(), 0));
    assert!(built.problem.unwrap().contains("changed, moved or replaced"));
    let now = desk.checkpoint();
    assert_ne!(opened.content_hash().unwrap(), now.content_hash().unwrap());
    let expected = results(&load(&now).unwrap());
    assert_eq!((desk.build().pack, desk.build().pack), (PackUse::Made, PackUse::Used));
    assert!(results(&desk.build().networks) == expected && expected != before);
}

#[test]
fn a_file_that_is_written_to_while_it_is_packed_leaves_no_pack() {
    let desk = Desk::new();
    let (path, bytes) = desk.changed_file();
    let load_and_overwrite = |checkpoint: &Checkpoint| {
        let networks = load(checkpoint)?;
        std::thread::sleep(std::time::Duration::from_millis(20)); // another tick of the file system's clock
        std::fs::write(&path, &bytes).unwrap();
        Ok::<_, Error>(networks)
    };
    let built = build_with(&desk.checkpoint(), &desk.options, load_and_overwrite).unwrap();
    assert_eq!((built.pack, desk.files()), (PackUse::Missing, 0));
    assert!(built.problem.unwrap().contains("text_encoder"));
    let error = prepare::<_, Error>(&desk.checkpoint(), &desk.options, load_and_overwrite).unwrap_err();
    assert!(error.to_string().contains("changed, moved or replaced") && desk.files() == 0, "{error}");
}

#[test]
fn weights_that_an_adapter_changes_are_not_packed() {
    let desk = Desk::new();
    let checkpoint = adapted(desk.checkpoint());
    let expected = results(&load(&checkpoint).unwrap());
    let built = build_with(&checkpoint, &desk.options, load).unwrap();
    assert_eq!((built.pack, results(&built.networks), desk.files()), (PackUse::Missing, expected, 0));
    let error = prepare::<_, Error>(&checkpoint, &desk.options, load).unwrap_err();
    assert!(error.to_string().contains("adapters"), "{error}");
    assert_eq!(desk.build().pack, PackUse::Made);
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_may_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let desk = Desk::new();
    let expected = results(&desk.build().networks);
    std::fs::set_permissions(desk.options.packs().path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let built = desk.build();
    assert_eq!((built.pack, results(&built.networks), desk.packs().len()), (PackUse::Missing, expected, 1));
    assert!(built.problem.unwrap().contains("others may write"));
}

/// A process that may write only some kilobytes to a file: all that it learns of its disk is that it takes no more.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_takes_no_more_is_told_and_keeps_nothing() {
    const CACHE: &str = "SINOPIA_TEST_LIMITED_CACHE";
    if let Some(folder) = std::env::var_os(CACHE) {
        let options = CacheOptions { makes_packs: true, ..CacheOptions::new(folder) };
        let source = ModelSource::Folder(SMALL.into());
        let checkpoint = Checkpoint::open(&source, &OpenOptions::default(), &NoProgress).unwrap();
        let expected = results(&load(&checkpoint).unwrap());
        let built = build_with(&checkpoint, &options, load).unwrap();
        assert_eq!((built.pack, results(&built.networks)), (PackUse::Missing, expected));
        assert!(built.problem.unwrap().contains("not kept in"));
        assert!(prepare::<_, Error>(&checkpoint, &options, load).is_err());
        return;
    }
    let desk = Desk::new();
    let name = "packs::build::tests::a_disk_that_takes_no_more_is_told_and_keeps_nothing";
    // Writing beyond the limit is an error then, and no signal.
    let script = format!("trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact {name}");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).arg(std::env::current_exe().unwrap()).env(CACHE, &desk.options.folder);
    let output = shell.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
    assert!(desk.options.packs().path().is_dir() && desk.files() == 0);
}
