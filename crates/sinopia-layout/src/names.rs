//! Names as people type them: known by their letters and digits alone, and the nearest one to a slip.

use strsim::osa_distance;

/// A name without what is written in many ways: case, spaces and punctuation. `+` is the word plus, however it is written: `LMD+`, `lmd_plus` and `lmd-plus`
/// are one name.
pub fn folded(name: &str) -> String {
    let name = name.replace('+', "plus");
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The one of `known` that is called `name`, as [`folded`] has it.
pub fn find<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    known.into_iter().find(|known| *known == name || (folded(known) == wanted && !wanted.is_empty()))
}

/// The one of `known` that `name` may be a slip of: a few letters wrong, its beginning, or it with something behind.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = folded(name);
    let length = wanted.chars().count();
    let allowed = match length {
        0..3 => return None,
        3..6 => 1,
        6..9 => 2,
        _ => 3,
    };
    let distance = |known: &str| match folded(known) {
        whole if whole.starts_with(&wanted) => Some(0),
        whole if whole.len() > 4 && wanted.starts_with(&whole) => Some(1),
        whole => Some(osa_distance(&wanted, &whole)).filter(|distance| *distance <= allowed),
    };
    let near = known.into_iter().filter_map(|known| Some((distance(known)?, known)));
    near.min_by_key(|(distance, known)| (*distance, known.len())).map(|(_, known)| known)
}

/// What to do about a name that is none of `known`: the nearest one, and all that there are.
pub fn choice(name: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? There are {all}"),
        None => format!("choose one of {all}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHODS: [&str; 5] = ["sd", "boxdiff", "lmd", "lmd-plus", "backward-guidance"];

    #[test]
    fn a_name_is_known_however_it_is_written() {
        for (typed, name) in [
            ("LMD+", "lmd-plus"),
            ("lmd_plus", "lmd-plus"),
            ("LMD Plus", "lmd-plus"),
            ("Lmd", "lmd"),
            ("Box-Diff", "boxdiff"),
            ("backward guidance", "backward-guidance"),
        ] {
            assert_eq!(find(typed, METHODS), Some(name), "{typed}");
        }
        for typed in ["", "-", "lmd2", "diffusion"] {
            assert_eq!(find(typed, METHODS), None, "{typed}");
        }
        assert_eq!(find("dpm-solver++", ["dpm-solver", "dpm-solver++"]), Some("dpm-solver++"));
    }

    #[test]
    fn a_slip_is_told_from_another_word() {
        for (typed, name) in [
            ("lmb", Some("lmd")),
            ("bxodiff", Some("boxdiff")),
            ("backwards_guidanse", Some("backward-guidance")),
            ("backward", Some("backward-guidance")),
            ("boxdiff by xie", Some("boxdiff")),
            ("magic", None),
            ("dd", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, METHODS), name, "{typed}");
        }
        assert_eq!(
            choice("box-dif", &METHODS),
            "did you mean `boxdiff`? There are sd, boxdiff, lmd, lmd-plus, backward-guidance"
        );
        assert_eq!(choice("magic", &["sd", "lmd"]), "choose one of sd, lmd");
    }
}
