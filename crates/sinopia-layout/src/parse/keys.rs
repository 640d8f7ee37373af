//! Keys as models write them: in any case, in any order, one of several names.

use crate::literal::Spanned;

/// Keys of an object that are looked at: no more boxes than these can be named by them.
const MAX_KEYS: usize = 300;

/// The entry of the first name that has one, in any case.
pub(super) fn find<'a>(entries: &'a [(String, Spanned)], names: &[&str]) -> Option<(&'a str, &'a Spanned)> {
    let entries = &entries[..entries.len().min(MAX_KEYS)];
    let entry = |name: &&str| entries.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
    names.iter().find_map(entry).map(|(key, value)| (key.as_str(), value))
}

/// Whether a key is one of some names.
pub(super) fn is_one_of(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| key.trim().eq_ignore_ascii_case(name))
}
