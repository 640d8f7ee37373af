//! Any text, as a recipe: no panic, and what is read is written and read again the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_diffusion::Recipe;
use sinopia_layout::names::folded;

fuzz_target!(|text: &str| {
    let Ok(recipe) = Recipe::from_json(text) else { return };
    assert_eq!(Recipe::from_json(&recipe.to_json()).expect("a written recipe can be read"), recipe);
    let _ = recipe.request();
    if let Ok(method) = recipe.build_method() {
        assert_eq!(folded(method.name()), folded(&recipe.method)); // names are known however they are written
    }
});
